import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { defaultConfig } from '../../src/config.ts';
import type { PlacementTarget } from '../../src/domain/placement-target.ts';
import { type Api, startApi } from '../../src/edge/api/server.ts';
import { quorum } from '../../src/forecast/suggesters/quorum.ts';
import { openPostgresQueue } from '../../src/io/queue/bullmq.ts';
import { getSuggestion, saveSuggestions, type StoredSuggestion } from '../../src/io/store/suggestions.ts';
import { openTarget } from '../../src/io/targets/registry.ts';
import type { Target } from '../../src/io/targets/target.ts';
import { type Loops, startLoops } from '../../src/runtime/start-loops.ts';
import { openSuggestionPlaces } from '../../src/runtime/suggestion-places.ts';
import { people } from '../edge/ledger-estate.ts';
import { startReplication, type TestReplication } from '../servers/postgres-standbys.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

let replication: TestReplication;
let estate: Estate;
let target: Target;
let declared: PlacementTarget;
let api: Api;
let loops: Loops;
let dataDir: string;
let primary: pg.Client;
beforeAll(async () => {
  [replication, estate, dataDir] = await Promise.all([
    startReplication(['north', 'south']),
    startEstate({ regions: ['eu', 'us'], domain: domainOf('shop') }),
    mkdtemp(join(tmpdir(), 'homeostat-quorum-')),
  ]);
  declared = {
    kind: 'postgres-quorum',
    name: 'primary',
    url: replication.url,
    collections: ['profiles'],
    standbys: ['north', 'south'],
    commitP99Ms: 250,
    observeMs: 500,
    freshShare: 0.99,
    faults: 0,
  };
  target = openTarget(declared);
  const context = { ...estate.context, targets: { primary: target } };
  const metrics = async (): Promise<string> => context.metrics.render();
  const config = { ...defaultConfig(), people: Object.values(people) };
  api = await startApi({ context, metrics, host: '127.0.0.1', port: 0, dataDir, config });
  loops = await startLoops(context, await openPostgresQueue(estate.storeUrl, () => undefined), {
    isOnlyProcess: true,
    sweeper: { everyMs: 300, quietMs: 500 },
  });
  primary = new pg.Client({ connectionString: replication.url });
  await primary.connect();
}, 120_000);
afterAll(async () => {
  await primary.end();
  await api.close();
  await loops.close(5_000);
  await target.close();
  await Promise.all([estate.close(), replication.close(), rm(dataDir, { recursive: true, force: true })]);
});

const call = async (who: keyof typeof people, verb: string, id: string, body: unknown): Promise<number> => {
  const response = await fetch(`${api.url}/api/v1/suggestions/${id}/${verb}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${people[who].token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return response.status;
};
const reaches = (id: string, state: StoredSuggestion['state']): Promise<StoredSuggestion> =>
  until(async () => {
    const now = await getSuggestion(estate.database, id);
    return now !== null && now.state === state && now;
  }, `${id} is ${state}`);
const inForce = async (): Promise<string> =>
  (await primary.query<{ value: string }>(`select current_setting('synchronous_standby_names') as value`)).rows[0]?.value ?? '';

let suggested: StoredSuggestion;

test('a quorum is suggested from the lags of real standbys, carried out, verified, and taken back when asked', async () => {
  await primary.query('create table ticks (n int)');
  let isOver = false;
  const load = (async () => {
    // A lag is told only while something is written.
    while (!isOver) await primary.query('insert into ticks values (1)');
  })();
  const places = openSuggestionPlaces(
    [declared],
    { primary: target },
    estate.database,
    (error) => {
      throw error;
    },
    5,
  );
  const lags = await until(async () => {
    const { standbys } = (await places.look(0, new AbortController().signal)).get('profiles')?.of ?? {};
    return standbys !== undefined && (standbys.lags[0]?.replayMs.length ?? 0) >= 320 && standbys;
  }, 'enough lags are known');
  isOver = true;
  await load;
  await places.close();
  const [collection] = Object.values(estate.collections);
  if (collection === undefined) expect.fail('the estate has a collection');
  const subject = { ...quorum.example, collection, domain: domainOf('shop'), standbys: lags, rng: createRng('quorum'), nowMs: Date.now() };
  const [suggestion] = quorum.suggest(subject);
  if (suggestion === undefined) expect.fail('nothing was suggested');
  expect(suggestion.action).toMatchObject({ target: 'primary', parameters: { standbys: 2, of: 'north,south' } });
  await estate.database.transaction((tx) => saveSuggestions(tx, [suggestion], ['profiles'], Date.now()));
  const stored = await getSuggestion(estate.database, suggestion.id);
  if (stored === null) expect.fail('it is kept');
  suggested = stored;
  const { id, digest } = stored;

  expect(await inForce()).toBe('');
  expect(await call('alice', 'approve', id, { digest })).toBe(200);
  expect(await inForce()).toBe('');
  expect(await call('olga', 'apply', id, { digest })).toBe(200);
  const applied = await reaches(id, 'applied');
  expect(applied.outcome).toContain('is in force');
  expect(await inForce()).toBe('ANY 2 ("north", "south")');
  expect(await call('olga', 'undo', id, { reason: 'a drill' })).toBe(200);
  await reaches(id, 'rolled-back');
  expect(await inForce()).toBe('');
}, 120_000);

test('the same change goes back by itself where a standby has become slow since it was approved', async () => {
  const again = { ...suggested, id: 'quorum-again', state: 'open' as const };
  await estate.database.transaction((tx) => saveSuggestions(tx, [again], [], Date.now()));
  expect(await call('alice', 'approve', again.id, { digest: suggested.digest })).toBe(200);
  await replication.slowDown('south', 900);
  expect(await call('olga', 'apply', again.id, { digest: suggested.digest })).toBe(200);
  const back = await reaches(again.id, 'rolled-back');
  expect(back.outcome).toContain('in force again');
  expect(await inForce()).toBe('');
  await replication.slowDown('south', 0);
}, 120_000);
