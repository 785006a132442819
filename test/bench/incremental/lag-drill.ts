/**
 * A leader that is written all the time, a follower that built-in logical replication keeps up through a proxy that holds it back, and
 * differences that are really there, made one after another. Rows that go back and forth, are deleted and made anew, or have not
 * arrived yet look different all the time and must not be confirmed; every real one must be, soon after the follower has passed it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { createRng } from '../../../src/base/rng.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { Collection } from '../../../src/domain/collection.ts';
import { readChooseRepairPrompt } from '../../../src/io/llm/prompt-file.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { openDatabase } from '../../../src/io/store/database.ts';
import { migrate } from '../../../src/io/store/migrate.ts';
import { createMetrics } from '../../../src/io/telemetry/metrics.ts';
import { openAgentMailbox } from '../../../src/runtime/agent-mailbox.ts';
import { startChangeLoop } from '../../../src/runtime/change-loop.ts';
import type { RuntimeContext } from '../../../src/runtime/context.ts';
import { metricHelp } from '../../../src/runtime/metric-names.ts';
import { createReplicaPool } from '../../../src/runtime/replica-pool.ts';
import { startScanLoop } from '../../../src/runtime/scan-loop.ts';
import { domainOf } from '../../integration/estate.ts';
import { startPostgres } from '../../servers/postgres.ts';
import { type DelayProxy, startDelayProxy } from './delay-proxy.ts';

export interface LagDrill {
  readonly seconds: number;
  readonly maxLagMs: number;
  readonly writesPerSecond: number;
  readonly injectEveryMs: number;
  readonly log: (line: string) => void;
}

export interface LagDrillResult {
  readonly writesPerSecond: number;
  readonly injected: number;
  /** Keys that were confirmed at any time. */
  readonly confirmed: number;
  readonly precision: number;
  readonly recall: number;
  /** From a difference to its confirmation, without the lag that there was: the 95th percentile. */
  readonly overLagP95Ms: number;
  readonly wrong: readonly string[];
  readonly missed: readonly string[];
}

interface Injected {
  readonly kind: string;
  readonly atMs: number;
  readonly lagMs: number;
}

/** Rows of their own for each kind of life: back and forth, deleted and made anew, written now and then, and ours. */
const toggled = { from: 1, count: 50 };
const churned = { from: 10_001, count: 2_000 };
const written = { from: 1_001, count: 8_000 };
const ours = { from: 100, count: 900 };
const newFrom = 1_000_000;
const oursNewFrom = 500_000;

export async function runLagDrill(drill: LagDrill): Promise<LagDrillResult> {
  const [store, up, down] = await Promise.all([startPostgres(), startPostgres(), startPostgres()]);
  const proxy = await startDelayProxy(Number(new URL(up.url).port));
  const clients = {
    writer: new pg.Client({ connectionString: up.url }),
    leader: new pg.Client({ connectionString: up.url }),
    follower: new pg.Client({ connectionString: down.url }),
  };
  const database = openDatabase(store.url);
  const agents = openAgentMailbox(database, systemClock);
  const collection = collectionOf(up.url, down.url);
  const collections = { [collection.name]: collection };
  const replicas = createReplicaPool(collections, openReplica);
  try {
    await migrate(database);
    await Promise.all(Object.values(clients).map((client) => client.connect()));
    for (const client of [clients.leader, clients.follower]) {
      await client.query('CREATE TABLE things (id bigint PRIMARY KEY, v text, n int)');
      for (const { from, count } of [toggled, churned, written, ours])
        await client.query(`INSERT INTO things SELECT i, 'a', 0 FROM generate_series($1::int, $2::int) i`, [from, from + count - 1]);
    }
    await clients.leader.query(`CREATE PUBLICATION estate FOR TABLE things`);
    await clients.leader.query(`SELECT pg_replication_origin_create('lost')`);
    await clients.leader.query(`SELECT pg_replication_origin_session_setup('lost')`);
    const { username, password, pathname } = new URL(up.url);
    await clients.follower.query(
      `CREATE SUBSCRIPTION estate CONNECTION 'host=127.0.0.1 port=${proxy.port} user=${username} password=${password} dbname=${pathname.slice(1)}'
         PUBLICATION estate WITH (copy_data = false, origin = none)`,
    );
    const context: RuntimeContext = {
      database,
      agents,
      // A budget far below the lag: what is confirmed is confirmed by position.
      domains: { drill: domainOf('drill', { stalenessMs: 500, repair: { mode: 'off' } }) },
      collections,
      clock: systemClock,
      log: (level, says) => level !== 'info' && drill.log(says),
      metrics: createMetrics(metricHelp),
      replicas,
      policies: undefined,
      llm: undefined,
      promptTemplate: readChooseRepairPrompt(),
      hmacKey: new Uint8Array(32),
    };
    const scans = startScanLoop(context);
    const changes = startChangeLoop(context);
    try {
      for (let told = 0; told < 2; await delay(50)) told = (await database.query('select from replica_changes where is_told')).rows.length;
      const stopped = new AbortController();
      const startMs = performance.now();
      const writing = writeLoad(clients.writer, drill.writesPerSecond, stopped.signal);
      const injected = await inject(drill, clients, proxy);
      // As long as the last of them may take, and until all that may be wrong has shown itself.
      await delay(lagAt(drill, drill.seconds * 1000) + 3_000);
      stopped.abort();
      const writes = await writing;
      return await judge(database, injected, writes / ((performance.now() - startMs) / 1000));
    } finally {
      await Promise.all([scans.close(), changes.close()]);
    }
  } finally {
    await Promise.all([replicas.close(), agents.close(), ...Object.values(clients).map((client) => client.end())]);
    await Promise.all([database.close(), proxy.close()]);
    await Promise.all([store.close(), up.close(), down.close()]);
  }
}

function collectionOf(up: string, down: string): Collection {
  const replica = { engine: 'postgres', table: 'things', columnNames: {} } as const;
  return {
    name: 'things',
    domain: 'drill',
    key: ['id'],
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    changes: { maxRetainedBytes: 4 * 2 ** 30, isDurable: false },
    replicas: [
      { ...replica, id: 'up', url: up, region: 'up', role: 'leader' },
      { ...replica, id: 'down', url: down, region: 'down', role: 'follower' },
    ],
    // Scans beside it: what they confirm has to be right too.
    scanEveryMs: 3_000,
  };
}

/** Up to the most and down again, from nothing to nothing; the second half of the time is the way down. */
function lagAt(drill: LagDrill, atMs: number): number {
  const share = atMs / (drill.seconds * 1000);
  return Math.max(0, Math.min(1, share < 0.1 ? 0 : share < 0.5 ? (share - 0.1) / 0.4 : (0.95 - share) / 0.45)) * drill.maxLagMs;
}

async function writeLoad(client: pg.Client, perSecond: number, signal: AbortSignal): Promise<number> {
  const random = createRng(7);
  const start = performance.now();
  let writes = 0;
  let nextNew = newFrom;
  while (!signal.aborted) {
    const aheadMs = (writes / perSecond) * 1000 - (performance.now() - start);
    if (aheadMs > 0) await delay(aheadMs);
    writes += 1;
    const dice = random.int(10);
    if (dice < 2) {
      const id = toggled.from + random.int(toggled.count);
      await client.query(`UPDATE things SET v = CASE v WHEN 'a' THEN 'b' ELSE 'a' END WHERE id = $1`, [id]);
    } else if (dice < 4) {
      const id = churned.from + random.int(churned.count);
      await client.query(
        `WITH gone AS (DELETE FROM things WHERE id = $1 RETURNING id) INSERT INTO things SELECT $1, 'a', 0 WHERE NOT EXISTS (SELECT FROM gone)`,
        [id],
      );
    } else if (dice < 9) {
      await client.query('UPDATE things SET n = n + 1 WHERE id = $1', [written.from + random.int(written.count)]);
    } else {
      await client.query(`INSERT INTO things VALUES ($1, 'new', 0)`, [nextNew]);
      nextNew += 1;
    }
  }
  return writes;
}

/** Differences that are really there: writes to the follower, and writes to the leader that replication loses. */
const kinds: readonly { readonly kind: string; readonly on: 'leader' | 'follower'; readonly isNew: boolean; readonly text: string }[] = [
  { kind: 'rogue update', on: 'follower', isNew: false, text: `UPDATE things SET v = 'rogue' WHERE id = $1` },
  { kind: 'lost update', on: 'leader', isNew: false, text: `UPDATE things SET v = 'lost' WHERE id = $1` },
  { kind: 'rogue delete', on: 'follower', isNew: false, text: 'DELETE FROM things WHERE id = $1' },
  { kind: 'lost delete', on: 'leader', isNew: false, text: 'DELETE FROM things WHERE id = $1' },
  { kind: 'rogue insert', on: 'follower', isNew: true, text: `INSERT INTO things VALUES ($1, 'rogue', 0)` },
  { kind: 'lost insert', on: 'leader', isNew: true, text: `INSERT INTO things VALUES ($1, 'lost', 0)` },
];

async function inject(
  drill: LagDrill,
  clients: { readonly leader: pg.Client; readonly follower: pg.Client },
  proxy: DelayProxy,
): Promise<ReadonlyMap<string, Injected>> {
  const injected = new Map<string, Injected>();
  const start = performance.now();
  let beforeMs = 0;
  for (let n = 0; performance.now() - start < drill.seconds * 1000; n += 1) {
    const lagMs = lagAt(drill, performance.now() - start);
    proxy.setDelay(lagMs);
    const one = kinds[n % kinds.length];
    if (one === undefined) break;
    const id = one.isNew ? oursNewFrom + n : ours.from + n;
    await clients[one.on].query(one.text, [id]);
    // What was sent before the lag fell comes first, as late as it was.
    injected.set(String(id), { kind: one.kind, atMs: Date.now(), lagMs: Math.max(lagMs, beforeMs) });
    beforeMs = lagMs;
    await delay(drill.injectEveryMs);
  }
  return injected;
}

async function judge(
  database: ReturnType<typeof openDatabase>,
  injected: ReadonlyMap<string, Injected>,
  writesPerSecond: number,
): Promise<LagDrillResult> {
  const { rows } = await database.query<{ id: string; at: number }>(
    `select key->>'id' as id, min(confirmed_at_ms) as at from divergences where confirmed_at_ms is not null group by 1`,
  );
  const confirmed = new Map(rows.map((row) => [row.id, row.at]));
  const wrong = [...confirmed.keys()].filter((id) => !injected.has(id));
  const missed = [...injected].filter(([id]) => !confirmed.has(id)).map(([id, { kind }]) => `${kind} ${id}`);
  const over = [...injected].flatMap(([id, { atMs, lagMs }]) => {
    const at = confirmed.get(id);
    return at === undefined ? [] : [at - atMs - lagMs];
  });
  const sorted = over.toSorted((a, b) => a - b);
  return {
    writesPerSecond,
    injected: injected.size,
    confirmed: confirmed.size,
    precision: confirmed.size === 0 ? 0 : 1 - wrong.length / confirmed.size,
    recall: 1 - missed.length / injected.size,
    overLagP95Ms: sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.95))] ?? Number.NaN,
    wrong,
    missed,
  };
}
