import type { Rng } from '../../src/base/rng.ts';
import type { CoordinatedOperation } from '../../src/forecast/replica-legs.ts';

/** A register of three replicas as its clients see it, beside what they do not see: each way of each message. */
export interface Asked {
  readonly operations: readonly CoordinatedOperation[];
  readonly ways: readonly Ways[];
}

interface Ways {
  readonly write: readonly Way[];
  readonly read: readonly Way[];
}

/** Milliseconds. */
interface Way {
  readonly there: number;
  readonly back: number;
}

/**
 * `count` writes of one replica each and, so long after the first acknowledgement, a read. Writes are so far apart that none is on its way
 * when the next begins: what a replica shows hangs on the last one alone.
 */
export function askAll(count: number, afterMs: number, way: (replica: number) => Way, rng: Rng): Asked {
  const ways = Array.from({ length: count }, () => ({ write: [0, 1, 2].map(way), read: [0, 1, 2].map(way) }));
  const operations = ways.flatMap(({ write, read }, i): readonly CoordinatedOperation[] => {
    const startMs = 10_000 * i + rng.int(1_000);
    const readMs = Math.min(...write.map(({ there, back }) => there + back)) + afterMs;
    const of = (kind: 'read' | 'write', atMs: number, all: readonly Way[], version: (replica: number) => bigint): CoordinatedOperation => ({
      collection: 'orders',
      kind,
      within: String(i),
      startUs: 1_000 * (startMs + atMs),
      trips: all.map(({ there, back }, k) => ({ replica: 'abc'[k] ?? '', sentMs: 0, tripMs: there + back, version: version(k) })),
    });
    const shows = (k: number): boolean => readMs + (read[k]?.there ?? 0) >= (write[k]?.there ?? 0);
    return [of('write', 0, write, () => BigInt(i + 1)), of('read', readMs, read, (k) => BigInt(shows(k) ? i + 1 : i))];
  });
  return { operations, ways };
}

/** The share of reads that are fresh where they are sent with the W-th acknowledgement, and go by the first R answers. */
export function freshOf({ ways, operations }: Asked, r: number, w: number): number {
  const after = (operations[1]?.startUs ?? 0) - (operations[0]?.startUs ?? 0);
  const lateMs = after / 1_000 - Math.min(...(ways[0]?.write ?? []).map(tripOf));
  const fresh = ways.filter(({ write, read }) => {
    const readMs = (write.map(tripOf).toSorted((a, b) => a - b)[w - 1] ?? 0) + lateMs;
    const answers = read.map((way, k) => ({ way, k })).toSorted((a, b) => tripOf(a.way) - tripOf(b.way));
    return answers.slice(0, r).some(({ way, k }) => readMs + way.there >= (write[k]?.there ?? 0));
  });
  return fresh.length / ways.length;
}

const tripOf = ({ there, back }: Way): number => there + back;
