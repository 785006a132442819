import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import type { Suggestion } from '../../src/domain/suggestion.ts';
import { askingAll, clientQuorum } from '../../src/forecast/client-quorum.ts';
import type { CoordinatedOperation } from '../../src/forecast/replica-legs.ts';
import type { Subject } from '../../src/forecast/suggester.ts';
import { askAll } from './asked-replicas.ts';

type Clients = NonNullable<Subject['clients']>;
type Target = Clients['target'];
const base = askingAll(0.99);

/** What is suggested to clients of a, b and c, which wait as `target` says. */
function suggested(
  operations: readonly CoordinatedOperation[],
  target: Partial<Target>,
  more: { readonly strict?: boolean; readonly leftOut?: Partial<Clients['leftOut']> } = {},
): Suggestion | undefined {
  const { clients } = base;
  if (clients === undefined) throw new Error('the example is of clients');
  return clientQuorum({
    ...base,
    rng: createRng('asked'),
    domain: { ...base.domain, consistency: more.strict === true ? 'strict' : 'eventual' },
    clients: {
      target: { ...clients.target, replicas: ['a', 'b', 'c'], freshShare: null, readP99Ms: null, writeP99Ms: null, faults: 0, ...target },
      operations,
      leftOut: { alone: 0, failed: 0, repeated: 0, ...more.leftOut },
      madeWay: 0,
    },
  })[0];
}

const rng = createRng('asked-replicas');
const exponential = (mean: number): number => -mean * Math.log(1 - rng.next());
/** One is near and two are far: waiting for two costs. */
const uneven = askAll(
  1_500,
  0,
  (i) => ({ there: 1 + exponential(i === 0 ? 1 : 8), back: 1 + exponential(i === 0 ? 1 : 8) }),
  rng,
).operations;
/** Now and then a write is late at the replica that is first to answer. */
const missing = askAll(
  1_500,
  0,
  (i) => ({ there: 1 + exponential(rng.next() < 0.3 ? 12 : 1), back: 1 + i + exponential(1) }),
  rng,
).operations;
const unnumbered = (operations: readonly CoordinatedOperation[]): readonly CoordinatedOperation[] =>
  operations.map((one) => ({ ...one, trips: one.trips.map((trip) => ({ ...trip, version: undefined })) }));

describe('a quorum of clients', () => {
  it('is raised where reads are staler than promised, with what was counted beside what is predicted', () => {
    const suggestion = suggested(missing, { read: 1, write: 1, freshShare: 0.999 });
    const { read, write } = suggestion?.action.parameters ?? {};
    expect(Number(read) + Number(write)).toBeGreaterThan(2);
    expect(suggestion?.says).toMatch(/now at most [\d.]+ % of reads are fresh, 99.9 % are promised/);
    expect(suggestion?.action).not.toHaveProperty('target');
    const { predicted, predictedLow, predictedHigh, observed, reads } = suggestion?.stale ?? expect.fail('it is told');
    expect(predictedLow).toBeLessThanOrEqual(predicted);
    expect(predictedHigh).toBeGreaterThanOrEqual(predicted);
    expect(reads).toBe(1_500);
    // Each of these reads came right after a commit: what was counted is what is predicted.
    expect(observed).toBeGreaterThan(predictedLow);
    expect(observed).toBeLessThan(predictedHigh);
    expect(suggestion?.because).toContain('by 1500 reads of what their own trace had just written');
  });

  it('is left as it is where the record cannot tell that the promise is broken', () => {
    // Spans without versions show trips, and these may have been lost on the way back.
    expect(suggested(unnumbered(missing), { read: 1, write: 1, freshShare: 0.999 })).toBeUndefined();
  });

  it('is lowered where operations wait for what no promise asks for', () => {
    const suggestion = suggested(uneven, { read: 3, write: 3 });
    expect(suggestion?.says).toMatch(/operations would wait [\d.]+ ms instead of [\d.]+ ms, and every promise is kept/);
    // Without a promise to readers none may become staler: reads and writes still meet.
    const { read, write } = suggestion?.action.parameters ?? {};
    expect(Number(read) + Number(write)).toBe(4);
    expect(suggestion?.replay.gainLow).toBeGreaterThan(0);
  });

  it('never lets reads become staler where nothing is promised, nor miss what was written in a strict domain', () => {
    for (let read = 1; read <= 3; read += 1)
      for (let write = 1; write <= 3; write += 1) {
        const { parameters } = suggested(uneven, { read, write })?.action ?? {};
        if (parameters !== undefined && Number(parameters['read']) + Number(parameters['write']) <= 3)
          expect([Number(parameters['read']) >= read, Number(parameters['write']) >= write]).toEqual([true, true]);
        const strict = suggested(uneven, { read, write, freshShare: 0.1 }, { strict: true })?.action.parameters;
        if (strict !== undefined) expect(Number(strict['read']) + Number(strict['write'])).toBeGreaterThan(3);
      }
  });

  it('goes up before it goes down, each step in the words of the system', () => {
    const commands = suggested(uneven, { read: 3, write: 1, writeP99Ms: 1_000, readP99Ms: 15 })?.action.commands ?? [];
    expect(commands.map((command) => command.replace(/,? in the driver.*/, ''))).toEqual([
      'First, Cassandra: CONSISTENCY ALL for reads and CONSISTENCY ALL for writes',
      'Once all clients do, Cassandra: CONSISTENCY ONE for reads and CONSISTENCY ALL for writes',
      'homeostat.yaml: targets.orders-ring: read: 1, write: 3, once all clients do',
    ]);
    const riak = suggested(uneven, { read: 3, write: 3, system: 'riak' });
    expect(riak?.action.commands[0]).toMatch(/^Riak: riak admin bucket-type update/);
    expect(riak?.rollback).toContain('{"props":{"r":3,"w":3}}');
  });

  it('keeps replicas that may be lost out of it', () => {
    const suggestion = suggested(uneven, { read: 1, write: 3, faults: 1 });
    expect(suggestion?.says).toContain('1 lost replica would stop writes');
    expect(suggestion?.action.parameters).toMatchObject({ read: 2, write: 2 });
  });

  it('is not told from operations that are few, or beside too many that failed or went to some replicas only', () => {
    const asked = { read: 3, write: 3 };
    expect(suggested(uneven, asked)).toBeDefined();
    expect(suggested(uneven.slice(0, 500), asked)).toBeUndefined();
    expect(suggested(uneven, asked, { leftOut: { failed: 400 } })).toBeUndefined();
    expect(suggested(uneven, asked, { leftOut: { alone: 4_000 } })).toBeDefined();
    const some = uneven.map((one, i) => (i % 6 < 2 ? { ...one, trips: one.trips.slice(1) } : one));
    expect(suggested(some, asked)).toBeUndefined();
  });

  it('has a name that stays while the same is suggested, and an approval that is for nothing else', () => {
    const [one, other] = [0, 1].map((part) =>
      suggested(uneven.slice(1_400 * part, 1_400 * part + 1_400), { read: 3, write: 3, faults: 1 }),
    );
    expect(one?.id).toBe(other?.id);
    expect(one?.action).toEqual(other?.action);
  });
});
