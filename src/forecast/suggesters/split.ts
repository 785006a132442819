import { sha256Hex } from '../../base/hash.ts';
import { createRng } from '../../base/rng.ts';
import type { Suggestion } from '../../domain/suggestion.ts';
import { splitCommands } from '../commands.ts';
import { slots, slotsOfBucket } from '../key-slot.ts';
import { curveOf, gainInterval } from '../replay.ts';
import { capacityOf } from '../slo.ts';
import { bestReactive, costSplit, costUnsplit, pricesFor } from '../split-replay.ts';
import type { BucketHistory, Subject, Suggester } from '../suggester.ts';

/** A key with more than this share of a half's load goes wherever the half goes: splitting cannot help, `cache-or-salt` can. */
const hotKeyShare = 0.5;
/** A range this young is left alone, against splitting what was just merged. */
const leastSteps = 48;
/** How much dearer than the best rule tuned in hindsight a lasting split may be. */
const reactiveSlack = 1.05;

/**
 * Split a hot range in two at the bucket boundary that balances it. Suggested when the range's own past shows a load above which
 * it hurts, that load is reached or forecast, the replayed gain is positive at 95 %, and no reactive rule would have been cheaper.
 */
export const split: Suggester = {
  id: 'split',
  title: 'Split a hot range',
  sentence: 'Cuts a key range in two where its load outgrows what one range was seen to carry.',
  suggest: (subject) => {
    const steps = subject.latencyP95Ms.length;
    if (steps < leastSteps) return [];
    const byBucket = sumRegions(subject, steps);
    if (byBucket.size < 2) return [];
    const load = totalOf([...byBucket.values()], steps);
    const capacity = capacityOf(
      load.map((operations, i) => ({ operations, latencyP95Ms: subject.latencyP95Ms[i] ?? 0, conflicts: subject.conflicts[i] ?? 0 })),
    );
    if (capacity === null) return [];

    const cut = balancedCut(byBucket);
    if (cut === null) return [];
    const left = totalOf(
      [...byBucket].filter(([bucket]) => bucket < cut).map(([, values]) => values),
      steps,
    );
    const right = totalOf(
      [...byBucket].filter(([bucket]) => bucket >= cut).map(([, values]) => values),
      steps,
    );
    if (hottestKeyLoad(subject) > hotKeyShare * Math.max(sumOf(left), sumOf(right))) return [];

    const ahead = subject.forecasts.find(({ series }) => series.bucket === -1 && series.metric === 'operations');
    const forecastHigh = ahead?.maximum[ahead.levels.findIndex((level) => level >= 0.9)] ?? 0;
    const recentHigh = Math.max(...load.slice(-Math.max(12, Math.round(86_400_000 / subject.stepMs))));
    if (Math.max(forecastHigh, recentHigh) <= capacity) return [];

    const prices = pricesFor(capacity, subject.stepMs);
    const idle = costUnsplit(load, prices);
    const reactive = bestReactive(left, right, prices);
    const withSplit = costSplit(left, right, prices);
    // Rushes that come rarely are cheaper met one by one: then a lasting split is not what pays.
    if (sumOf(withSplit) + prices.move > reactiveSlack * reactive.total) return [];
    const interval = gainInterval(
      idle.map((cost, i) => cost - (withSplit[i] ?? 0)),
      prices.move,
      Math.max(12, Math.round(3_600_000 / subject.stepMs)),
      subject.rng,
    );
    if (!(interval.low > 0)) return [];

    const cutSlot = slotsOfBucket(cut, subject.buckets)[0];
    const share = Math.round((100 * sumOf(left)) / Math.max(1e-9, sumOf(left) + sumOf(right)));
    const suggestion: Suggestion = {
      id: `split-${sha256Hex(`${subject.collection.name}\n${cutSlot}`).slice(0, 12)}`,
      kind: 'split',
      domain: subject.domain.name,
      collection: subject.collection.name,
      says: `Split ${subject.collection.name} at slot ${cutSlot} of ${slots}: it hurts above ${rate(capacity)}, and was at ${rate(recentHigh)}${forecastHigh > 0 ? `, with up to ${rate(forecastHigh)} forecast for the next ${ahead?.values.length ?? 0} steps` : ''}.`,
      because: `Replayed over ${steps} recorded steps, the two halves (${share} % and ${100 - share} % of the load) would have cost ${percent(sumOf(withSplit) + prices.move, sumOf(idle))} of what doing nothing did; the best reactive rule, tuned in hindsight, ${percent(reactive.total, sumOf(idle))}.`,
      replay: {
        costWithout: sumOf(idle) * (subject.stepMs / 1000),
        costWith: (sumOf(withSplit) + prices.move) * (subject.stepMs / 1000),
        gainLow: interval.low * (subject.stepMs / 1000),
        gainHigh: interval.high * (subject.stepMs / 1000),
        moves: 1,
        curveWithout: curveOf(idle),
        curveWith: curveOf(withSplit),
      },
      action: {
        kind: 'split',
        parameters: { collection: subject.collection.name, fromSlot: 0, cutSlot, toSlot: slots - 1 },
        commands: splitCommands(subject.collection, cutSlot),
      },
      rollback: `Merge the halves again: move slots ${cutSlot} to ${slots - 1} back; nothing is lost by it.`,
      state: 'open',
      createdAtMs: subject.nowMs,
    };
    return [suggestion];
  },
  get example() {
    return exampleSubject();
  },
};

function sumRegions(subject: Subject, steps: number): Map<number, number[]> {
  const byBucket = new Map<number, number[]>();
  for (const { bucket, operations } of subject.history) {
    if (bucket < 0) continue;
    const sum = byBucket.get(bucket) ?? Array.from({ length: steps }, () => 0);
    for (let i = 0; i < steps; i += 1) sum[i] = (sum[i] ?? 0) + (operations[i] ?? 0);
    byBucket.set(bucket, sum);
  }
  return byBucket;
}

/** The first bucket of the right half, so that both halves carry as equal a load as bucket boundaries allow. */
function balancedCut(byBucket: ReadonlyMap<number, readonly number[]>): number | null {
  const order = [...byBucket.keys()].toSorted((a, b) => a - b);
  const total = order.reduce((sum, bucket) => sum + sumOf(byBucket.get(bucket) ?? []), 0);
  let before = 0;
  let best: { cut: number; off: number } | null = null;
  for (const [i, bucket] of order.entries()) {
    if (i > 0) {
      const off = Math.abs(before - total / 2);
      if (best === null || off < best.off) best = { cut: bucket, off };
    }
    before += sumOf(byBucket.get(bucket) ?? []);
  }
  return best?.cut ?? null;
}

function hottestKeyLoad(subject: Subject): number {
  let most = 0;
  for (const { bucket, operations, hottestKeyShare } of subject.history) {
    if (bucket < 0) continue;
    most = Math.max(
      most,
      operations.reduce((sum, value, i) => sum + value * (hottestKeyShare[i] ?? 0), 0),
    );
  }
  return most;
}

function totalOf(lists: readonly (readonly number[])[], steps: number): number[] {
  return Array.from({ length: steps }, (_, i) => lists.reduce((sum, list) => sum + (list[i] ?? 0), 0));
}

const sumOf = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0);
const rate = (perSecond: number): string => `${perSecond >= 100 ? Math.round(perSecond) : perSecond.toPrecision(2)} operations/s`;
const percent = (part: number, whole: number): string => `${whole > 0 ? Math.min(100, Math.round((100 * part) / whole)) : 0} %`;

/** Two days of a shop whose evening rush doubles what one range carries. */
function exampleSubject(): Subject {
  const rng = createRng('split-example');
  const steps = 576;
  const buckets = 8;
  const load = Array.from({ length: steps }, (_, i) => 60 + 50 * Math.max(0, Math.sin((2 * Math.PI * i) / 288)) + 4 * rng.normal());
  const history: BucketHistory[] = Array.from({ length: buckets }, (_, bucket) => ({
    bucket,
    region: 'eu',
    operations: load.map((value) => value / buckets),
    writes: load.map((value) => value / buckets / 4),
    hottestKeyShare: load.map(() => 0.05),
  }));
  return {
    collection: {
      name: 'orders',
      domain: 'shop',
      key: ['id'],
      columnClasses: {},
      excludedColumns: [],
      invariants: [],
      replicas: [],
      scanEveryMs: 60_000,
    },
    domain: {
      name: 'shop',
      consistency: 'eventual',
      stalenessMs: 30_000,
      residency: ['eu'],
      risk: 'low',
      repair: { mode: 'auto', approvals: 1, rowsPerHour: 500, undoHours: 24, approvalExpiryMinutes: 60 },
      llm: { enabled: false, rawValues: false, tokensPerDay: 0 },
    },
    stepMs: 300_000,
    nowMs: 1_700_000_000_000,
    buckets,
    history,
    latencyP95Ms: load.map((value) => (value > 80 ? 40 : 8)),
    conflicts: load.map(() => 0),
    forecasts: [],
    rng,
  };
}
