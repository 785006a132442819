import { sha256Hex } from '../../base/hash.ts';
import type { Suggestion } from '../../domain/suggestion.ts';
import { comingLoad } from '../coming-load.ts';
import { exampleSubject } from '../example-subject.ts';
import { isYoung, type RangeLoad, rangesOf, sayPercent, sayRate, sumOf } from '../range-load.ts';
import { curveOf, gainInterval } from '../replay.ts';
import { capacityOf } from '../slo.ts';
import { pricesFor } from '../split-replay.ts';
import type { Subject, Suggester } from '../suggester.ts';

/** Half of what makes a range split: between the two nothing is moved, so a load that swings does not move ranges to and fro. */
const mergeShare = 0.5;
/** A day and a half at five minutes: a merge needs to have seen a whole day, and the same hours again. */
const leastWindowSteps = 432;

/**
 * Give a node's range to another where both together stayed below half of what one carries, over everything that is remembered and all
 * that is forecast. Saves what holding a node costs; the maximum over the whole window decides, never the present.
 */
export const merge: Suggester = {
  id: 'merge',
  title: 'Merge idle ranges',
  sentence: 'Gives the key range of one node to another where both together never came near half of what one carries.',
  suggest: (subject) => {
    const { cluster } = subject;
    if (cluster === undefined || cluster.nodes.length < 3 || isYoung(subject)) return [];
    const steps = subject.latencyP95Ms.length;
    if (steps < leastWindowSteps) return [];
    const ranges = rangesOf(subject).filter(({ stretch }) => stretch !== null);
    const whole = ranges.toSorted((a, b) => sumOf(a.total) - sumOf(b.total));
    const [idlest, next] = whole;
    const busiest = whole.at(-1);
    if (idlest === undefined || next === undefined || busiest === undefined || idlest.stretch === null) return [];
    const capacity =
      cluster.target.nodeOperationsPerSecond ??
      capacityOf(
        busiest.total.map((operations, i) => ({
          operations,
          latencyP95Ms: subject.latencyP95Ms[i] ?? 0,
          conflicts: subject.conflicts[i] ?? 0,
        })),
      );
    if (capacity === null) return [];
    const joint = idlest.total.map((value, i) => value + (next.total[i] ?? 0));
    const coming = comingLoad(subject, new Set([...idlest.buckets.keys(), ...next.buckets.keys()]));
    const most = Math.max(...joint, ...(coming?.high ?? []));
    if (most >= mergeShare * capacity) return [];

    const prices = pricesFor(capacity, subject.stepMs);
    const saved = joint.map((load) => prices.hold - Math.max(0, load - capacity));
    const interval = gainInterval(saved, prices.move, Math.max(12, Math.round(3_600_000 / subject.stepMs)), subject.rng);
    if (!(interval.low > 0)) return [];
    return [suggestionOf(subject, idlest, next, { capacity, most, steps, hold: prices.hold, move: prices.move, joint, ...interval })];
  },
  get example() {
    return clusterSubject(0.2);
  },
  get twin() {
    return clusterSubject(0.9);
  },
};

function suggestionOf(
  subject: Subject,
  idlest: RangeLoad,
  next: RangeLoad,
  found: {
    readonly capacity: number;
    readonly most: number;
    readonly steps: number;
    readonly hold: number;
    readonly move: number;
    readonly joint: readonly number[];
    readonly low: number;
    readonly high: number;
  },
): Suggestion {
  const seconds = subject.stepMs / 1000;
  const [fromSlot, toSlot] = idlest.stretch ?? [0, 0];
  const without = found.hold * found.steps;
  return {
    id: `merge-${sha256Hex(`${subject.collection.name}\n${idlest.node}\n${next.node}`).slice(0, 12)}`,
    kind: 'merge',
    domain: subject.domain.name,
    collection: subject.collection.name,
    says: `Give slots ${fromSlot} to ${toSlot} of ${idlest.says} to ${next.says}: together they never passed ${sayRate(found.most)}, and one node carries ${sayRate(found.capacity)}.`,
    because: `Over ${found.steps} recorded steps the second node stood idle at a price of ${sayPercent(found.hold, found.capacity)} of its capacity a step, and moving it costs ${(found.move / found.hold).toFixed(0)} such steps once. A range is split at its capacity and merged only below half of it, so this is not undone by the same load.`,
    replay: {
      unit: 'operations of idle capacity',
      costWithout: without * seconds,
      costWith: found.move * seconds,
      gainLow: found.low * seconds,
      gainHigh: found.high * seconds,
      moves: 1,
      curveWithout: curveOf(found.joint.map(() => found.hold)),
      curveWith: curveOf(found.joint.map((load) => Math.max(0, load - found.capacity))),
    },
    action: {
      kind: 'move-slots',
      target: subject.cluster?.target.name ?? '',
      parameters: { fromSlot, toSlot, fromNode: idlest.node, toNode: next.node },
      commands: [
        `redis-cli --cluster reshard ${next.says} --cluster-from ${idlest.node} --cluster-to ${next.node} --cluster-slots ${toSlot - fromSlot + 1} --cluster-yes`,
      ],
    },
    rollback: `Slots ${fromSlot} to ${toSlot} go back to ${idlest.says} the same way; nothing is lost by it.`,
    state: 'open',
    createdAtMs: subject.nowMs,
  };
}

/** Four nodes, of which two carry next to nothing; `share` of what the busiest carries. */
function clusterSubject(share: number): Subject {
  const subject = exampleSubject();
  return {
    ...subject,
    history: subject.history.map((row) => ({
      ...row,
      operations: row.operations.map((value) => (row.bucket < 4 ? 2 * value : share * value)),
    })),
    cluster: {
      target: {
        kind: 'redis-cluster',
        name: 'cache',
        url: 'redis://cache:6379',
        collections: ['orders'],
        keysPerSecond: 2_000,
        nodeOperationsPerSecond: 60,
      },
      nodes: [0, 1, 2, 3].map((i) => ({ id: `node-${i}`, says: `10.0.0.${i}:6379`, slots: [[i * 4_096, (i + 1) * 4_096 - 1]] })),
    },
  };
}
