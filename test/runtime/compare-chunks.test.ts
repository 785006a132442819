import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { Failure } from '../../src/base/failure.ts';
import { everyKey } from '../../src/domain/key-range.ts';
import type { Shape } from '../../src/domain/row.ts';
import type { Pressure, ReplicaConnection } from '../../src/io/replicas/replica.ts';
import { type Chunk, ChunkWalk } from '../../src/runtime/compare-chunks.ts';

const shape: Shape = { key: ['id'], columns: [{ name: 'id', type: 'int', nullable: false }] };
const signal = AbortSignal.timeout(10_000);

/** Keys 1 to `rows`. */
function store(rows: number, busy: readonly Pressure[] = []): { readonly connection: ReplicaConnection; asked: number } {
  const result = { asked: 0, connection: {} as ReplicaConnection };
  const left = [...busy];
  const port: Pick<ReplicaConnection, 'boundary' | 'estimatedRows' | 'pressure'> & { readonly replica: { readonly id: string } } = {
    replica: { id: 'us' },
    boundary: (_shape, range, count) => {
      result.asked += 1;
      const at = Number(range.after?.['id'] ?? 0) + count;
      return Promise.resolve(at < rows ? { id: String(at) } : undefined);
    },
    estimatedRows: () => Promise.resolve(rows),
    pressure: () => Promise.resolve(left.shift() ?? { statements: 0, lagMs: undefined }),
  };
  return Object.assign(result, { connection: port as unknown as ReplicaConnection });
}

function clockOf(): Clock & { now: number } {
  const clock = { now: 0, nowMs: () => clock.now, monotonicMs: () => clock.now };
  return clock;
}

/** Walks to the end; `work` says how long a chunk takes, or throws. */
async function walk(rows: number, singleRows: number | undefined, work: (chunk: Chunk) => number): Promise<readonly string[]> {
  const clock = clockOf();
  const chunks = await ChunkWalk.open(
    { shape, stores: [store(rows).connection, store(rows).connection], range: everyKey, clock, signal },
    singleRows,
  );
  const told: string[] = [];
  for (let chunk = await chunks.next(); chunk !== undefined; chunk = await chunks.next()) {
    const name = `${chunk.range.after?.['id'] ?? ''}..${chunk.range.upTo?.['id'] ?? ''}`;
    try {
      clock.now += work(chunk);
      told.push(name);
    } catch (error) {
      if (!(await chunks.shrink(error))) throw error;
      told.push(`${name} failed`);
    }
  }
  return told;
}

const tooSlow = new Failure('statement-timeout', 'too slow', 'later');

test('a small table is one chunk, and nothing is asked for it', async () => {
  expect(await walk(5_000_000, undefined, () => 4_000)).toEqual(['..']);
});

test('chunks grow and shrink towards their time', async () => {
  const seen = await walk(50_000_000, undefined, (chunk) => chunk.rows / 500);
  // A million rows took two seconds: the next has four times as many, then as many as take ten seconds.
  expect(seen.slice(0, 3)).toEqual(['..1000000', '1000000..5000000', '5000000..10000000']);
  expect(seen.at(-1)).toMatch(/\.\.$/);
});

test('a chunk that a time limit ends is tried smaller, from where it began, and nothing is left out', async () => {
  const seen = await walk(100_000, undefined, (chunk) => {
    const upTo = Number(chunk.range.upTo?.['id'] ?? 100_000);
    if (upTo - Number(chunk.range.after?.['id'] ?? 0) > 30_000) throw tooSlow;
    return 10_000;
  });
  expect(seen[0]).toBe('.. failed');
  const done = seen.filter((one) => !one.endsWith('failed')).map((one) => one.split('..'));
  expect(done[0]?.[0]).toBe('');
  expect(done.at(-1)?.[1]).toBe('');
  for (const [at, [from]] of done.entries()) if (at > 0) expect(from).toBe(done[at - 1]?.[1]);
});

test('where even the smallest chunk takes too long, the failure is told', async () => {
  await expect(
    walk(100_000, undefined, () => {
      throw tooSlow;
    }),
  ).rejects.toThrow('too slow');
});

test('other failures are not tried again', async () => {
  await expect(
    walk(100_000, undefined, () => {
      throw new Failure('replica-down', 'gone', 'later');
    }),
  ).rejects.toThrow('gone');
});

test('a store without order is one chunk, whatever its size', async () => {
  const clock = clockOf();
  const redis = { ...store(1).connection, boundary: undefined } as unknown as ReplicaConnection;
  const chunks = await ChunkWalk.open({ shape, stores: [store(90_000_000).connection, redis], range: everyKey, clock, signal });
  expect(await chunks.next()).toMatchObject({ range: everyKey });
  expect(await chunks.next()).toBeUndefined();
});

describe('before a chunk', () => {
  const busy: Pressure = { statements: 26, lagMs: undefined };
  const behind: Pressure = { statements: 0, lagMs: 12_000 };
  const free: Pressure = { statements: 25, lagMs: 10_000 };

  test('a server that runs much of others, and one whose replication is behind, is given a rest, and why is told', async () => {
    const told: string[] = [];
    const stores = [store(100, [free, free]).connection, store(100, [behind, busy, free]).connection];
    const clock = clockOf();
    const chunks = await ChunkWalk.open({
      shape,
      stores,
      range: everyKey,
      clock,
      signal,
      throttle: { maxLagMs: 10_000, maxStatements: 25, maxPauseMs: 5_000 },
      onPause: (says) => told.push(says),
    });
    expect(await chunks.next()).toMatchObject({ range: everyKey });
    expect(told).toEqual(['replication of us is 12 s behind', 'us runs 26 statements of others']);
  });

  test('who stays behind is compared all the same, in chunks that get smaller; without pauses nobody is asked', async () => {
    const clock = clockOf();
    const onPause = (): void => void (clock.now += 2_000);
    const walkWith = async (maxPauseMs: number): Promise<readonly number[]> => {
      const always = Array.from({ length: 1_000 }, () => behind);
      const stores = [store(1_000_000, always).connection, store(1_000_000).connection];
      const throttle = { maxLagMs: 1_000, maxStatements: 25, maxPauseMs };
      const chunks = await ChunkWalk.open({ shape, stores, range: everyKey, clock, signal, throttle, onPause }, 100_000);
      const rows: number[] = [];
      for (let chunk = await chunks.next(); chunk !== undefined && rows.length < 3; chunk = await chunks.next()) {
        rows.push(chunk.rows);
        clock.now += 10_000;
      }
      return rows;
    };
    expect(await walkWith(1)).toEqual([50_000, 25_000, 12_500]);
    expect(await walkWith(0)).toEqual([100_000, 100_000, 100_000]);
  });
});
