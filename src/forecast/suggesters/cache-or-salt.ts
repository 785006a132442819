import { sha256Hex } from '../../base/hash.ts';
import { exampleSubject } from '../example-subject.ts';
import { slotsOfBucket } from '../key-slot.ts';
import { hottestKeyLoad, isYoung, rangesOf, recentHigh, sayPercent, sayRate, sumOf } from '../range-load.ts';
import { curveOf, gainInterval } from '../replay.ts';
import { capacityOf } from '../slo.ts';
import type { Subject, Suggester } from '../suggester.ts';

/** A key with less of its range's load than this is not what makes the range hot. */
const hotShare = 0.3;
/** What a cache in front of a key, or eight copies of it, leaves of its load. */
const leftShare = 1 / 8;

/**
 * One key makes the load: no boundary can be drawn through it. Says so, since splitting is what people try first; reads are answered
 * from a cache, or writes are spread over salted copies.
 */
export const cacheOrSalt: Suggester = {
  id: 'cache-or-salt',
  title: 'Cache or salt a hot key',
  sentence: 'Says where one key makes a range hot: a split cannot help it, a cache or a salted key can.',
  suggest: (subject) => {
    if (isYoung(subject)) return [];
    const [hot] = rangesOf(subject).toSorted((a, b) => recentHigh(b.total, subject.stepMs) - recentHigh(a.total, subject.stepMs));
    const key = hottestKeyLoad(subject);
    if (hot === undefined || key === null || !hot.buckets.has(key.bucket)) return [];
    if (sumOf(key.load) < hotShare * sumOf(hot.total)) return [];
    const capacity =
      subject.cluster?.target.nodeOperationsPerSecond ??
      capacityOf(
        hot.total.map((operations, i) => ({
          operations,
          latencyP95Ms: subject.latencyP95Ms[i] ?? 0,
          conflicts: subject.conflicts[i] ?? 0,
        })),
      );
    if (capacity === null || recentHigh(hot.total, subject.stepMs) <= capacity) return [];
    const over = (load: number): number => Math.max(0, load - capacity);
    const idle = hot.total.map(over);
    const relieved = hot.total.map((load, i) => over(load - (1 - leftShare) * (key.load[i] ?? 0)));
    const interval = gainInterval(
      idle.map((cost, i) => cost - (relieved[i] ?? 0)),
      0,
      Math.max(12, Math.round(3_600_000 / subject.stepMs)),
      subject.rng,
    );
    if (!(interval.low > 0)) return [];
    const row = subject.history.find(({ bucket }) => bucket === key.bucket);
    const writeShare = sumOf(row?.writes ?? []) / Math.max(1e-9, sumOf(row?.operations ?? []));
    const isRead = writeShare < 0.5;
    const [fromSlot, toSlot] = slotsOfBucket(key.bucket, subject.buckets);
    const seconds = subject.stepMs / 1000;
    const keyShare = sayPercent(sumOf(key.load), sumOf(hot.total));
    return [
      {
        id: `cache-or-salt-${sha256Hex(`${subject.collection.name}\n${key.bucket}`).slice(0, 12)}`,
        kind: 'cache-or-salt',
        domain: subject.domain.name,
        collection: subject.collection.name,
        says: `${isRead ? 'Cache' : 'Salt'} the hottest key of ${subject.collection.name} in slots ${fromSlot} to ${toSlot}: it alone is ${keyShare} of the load of its range, and a split cannot divide it.`,
        because: `The range hurts above ${sayRate(capacity)}; ${sayPercent(writeShare, 1)} of the operations there write, so ${isRead ? 'a cache in front of the key answers most of them' : 'spreading the key over eight salted copies, summed when read, takes most of the load off'}. Replayed with an eighth of the key's load left, ${sayPercent(sumOf(relieved), sumOf(idle))} of what came above capacity would have remained.`,
        replay: {
          unit: 'operations beyond capacity',
          costWithout: sumOf(idle) * seconds,
          costWith: sumOf(relieved) * seconds,
          gainLow: interval.low * seconds,
          gainHigh: interval.high * seconds,
          moves: 0,
          curveWithout: curveOf(idle),
          curveWith: curveOf(relieved),
        },
        action: { kind: 'cache-or-salt', parameters: { collection: subject.collection.name, fromSlot, toSlot }, commands: [] },
        rollback: 'Take the cache out again, or sum the copies into the one key; no data is moved by it.',
        state: 'open',
        createdAtMs: subject.nowMs,
      },
    ];
  },
  get example() {
    return hotKeySubject(0.9);
  },
  get twin() {
    return hotKeySubject(0.1);
  },
};

function hotKeySubject(share: number): Subject {
  const subject = exampleSubject();
  return {
    ...subject,
    history: subject.history.map((row, i) => ({
      ...row,
      operations: row.operations.map((value) => (i === 3 ? value * 6 : value * 0.3)),
      hottestKeyShare: row.hottestKeyShare.map(() => (i === 3 ? share : 0.05)),
    })),
  };
}
