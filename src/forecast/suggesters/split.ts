import { sha256Hex } from '../../base/hash.ts';
import type { Suggestion } from '../../domain/suggestion.ts';
import { type ComingLoad, comingLoad } from '../coming-load.ts';
import { splitCommands } from '../commands.ts';
import { exampleSubject } from '../example-subject.ts';
import { slots, slotsOfBucket } from '../key-slot.ts';
import { hottestKeyLoad, isYoung, type RangeLoad, rangesOf, recentHigh, sayPercent, sayRate, sumOf, sumOfLists } from '../range-load.ts';
import { curveOf, gainInterval } from '../replay.ts';
import { capacityOf } from '../slo.ts';
import { bestReactive, costMoved, costSplit, costUnsplit, pricesFor, type SplitPrices } from '../split-replay.ts';
import type { Subject, Suggester } from '../suggester.ts';

/** A key with more than this share of a half's load goes wherever the half goes: splitting cannot help, `cache-or-salt` can. */
const hotKeyShare = 0.5;
/** How much dearer than the best rule tuned in hindsight a lasting split may be. */
const reactiveSlack = 1.05;
/** What lies beyond the forecast is taken to be like its last step, for as many steps as a move has to pay back in. */
const paybackSteps = 36;

/**
 * Split a hot range in two at the bucket boundary that balances it: onto a second range, or, where a cluster says who serves what, onto
 * its least loaded node. Suggested when the load above which a range hurts (declared, or learned from its own past) is reached or
 * forecast, the gain replayed over the past and the coming hour is positive at 95 %, and no reactive rule would have been cheaper.
 */
export const split: Suggester = {
  id: 'split',
  title: 'Split a hot range',
  sentence: 'Cuts a key range in two where its load outgrows what one range was seen to carry.',
  suggest: (subject) => {
    if (isYoung(subject)) return [];
    const ranges = rangesOf(subject);
    const steps = subject.latencyP95Ms.length;
    const [hot, ...others] = ranges.toSorted((a, b) => recentHigh(b.total, subject.stepMs) - recentHigh(a.total, subject.stepMs));
    if (hot === undefined || hot.buckets.size < 2) return [];
    const capacity =
      subject.cluster?.target.nodeOperationsPerSecond ??
      capacityOf(
        hot.total.map((operations, i) => ({
          operations,
          latencyP95Ms: subject.latencyP95Ms[i] ?? 0,
          conflicts: subject.conflicts[i] ?? 0,
        })),
      );
    if (capacity === null) return [];
    const cool = others.at(-1);
    if (subject.cluster !== undefined && (cool === undefined || hot.stretch === null)) return [];

    const cut = balancedCut(hot, cool?.total ?? []);
    if (cut === null) return [];
    const [left, right] = halves(hot, cut, steps);
    if (sumOf(hottestKeyLoad(subject)?.load ?? []) > hotKeyShare * Math.max(sumOf(left), sumOf(right))) return [];
    const coming = comingLoad(subject, subject.cluster === undefined ? null : new Set(hot.buckets.keys()));
    const high = recentHigh(hot.total, subject.stepMs);
    const forecastHigh = Math.max(0, ...(coming?.high ?? []));
    if (Math.max(high, forecastHigh) <= capacity) return [];

    const prices = pricesFor(capacity, subject.stepMs);
    const idle = costUnsplit(hot.total, prices);
    const reactive = bestReactive(left, right, prices);
    const withSplit = cool === undefined ? costSplit(left, right, prices) : costMoved(left, right, cool.total, prices);
    const ahead = gainAhead(coming, sumOf(left) / Math.max(1e-9, sumOf(hot.total)), cool?.total.at(-1) ?? 0, prices);
    // Rushes that come rarely are cheaper met one by one: then a lasting split is not what pays, unless what comes is new.
    if (sumOf(withSplit) + prices.move - ahead.low > reactiveSlack * reactive.total) return [];
    const interval = gainInterval(
      idle.map((cost, i) => cost - (withSplit[i] ?? 0)),
      prices.move,
      Math.max(12, Math.round(3_600_000 / subject.stepMs)),
      subject.rng,
    );
    const [gainLow, gainHigh] = [interval.low + ahead.low, interval.high + ahead.high];
    if (!(gainLow > 0)) return [];
    return [
      suggestionOf(subject, {
        hot,
        cool,
        cut,
        left,
        right,
        capacity,
        high,
        coming,
        idle,
        withSplit,
        reactiveTotal: reactive.total,
        prices,
        gainLow,
        gainHigh,
        ahead,
      }),
    ];
  },
  get example() {
    return exampleSubject();
  },
  get twin() {
    const subject = exampleSubject();
    return { ...subject, latencyP95Ms: subject.latencyP95Ms.map(() => 8) };
  },
};

interface Found {
  readonly hot: RangeLoad;
  readonly cool: RangeLoad | undefined;
  readonly cut: number;
  readonly left: readonly number[];
  readonly right: readonly number[];
  readonly capacity: number;
  readonly high: number;
  readonly coming: ComingLoad | null;
  readonly idle: readonly number[];
  readonly withSplit: readonly number[];
  readonly reactiveTotal: number;
  readonly prices: SplitPrices;
  readonly gainLow: number;
  readonly gainHigh: number;
  readonly ahead: { readonly low: number; readonly high: number; readonly idle: number; readonly split: number };
}

function suggestionOf(subject: Subject, found: Found): Suggestion {
  const { hot, cool, cut, left, right, capacity, high, coming, idle, withSplit, prices, ahead } = found;
  const seconds = subject.stepMs / 1000;
  const cutSlot = slotsOfBucket(cut, subject.buckets)[0];
  const lastSlot = hot.stretch?.[1] ?? slots - 1;
  const share = Math.round((100 * sumOf(left)) / Math.max(1e-9, sumOf(left) + sumOf(right)));
  const forecastHigh = Math.max(0, ...(coming?.high ?? []));
  const place =
    cool === undefined
      ? `${subject.collection.name} at slot ${cutSlot} of ${slots}`
      : `${hot.says}: move slots ${cutSlot} to ${lastSlot} of ${subject.collection.name} to ${cool.says}`;
  const without = sumOf(idle) + ahead.idle;
  return {
    id: `split-${sha256Hex(`${subject.collection.name}\n${hot.node}\n${cutSlot}`).slice(0, 12)}`,
    kind: 'split',
    domain: subject.domain.name,
    collection: subject.collection.name,
    says: `Split ${place}: it hurts above ${sayRate(capacity)}, and was at ${sayRate(high)}${forecastHigh > 0 ? `, with up to ${sayRate(forecastHigh)} forecast for the next ${coming?.high.length ?? 0} steps` : ''}.`,
    because: `Replayed over ${idle.length} recorded steps${ahead.idle > 0 ? ' and what is forecast' : ''}, the two halves (${share} % and ${100 - share} % of the load) would have cost ${sayPercent(sumOf(withSplit) + prices.move + ahead.split, without)} of what doing nothing did. The best reactive rule, tuned in hindsight on the recorded part, would have cost ${sayPercent(found.reactiveTotal, sumOf(idle))} of it there.`,
    ...(coming === null ? {} : { forecast: { ...coming, limit: capacity } }),
    replay: {
      unit: 'operations beyond capacity',
      costWithout: without * seconds,
      costWith: (sumOf(withSplit) + prices.move + ahead.split) * seconds,
      gainLow: found.gainLow * seconds,
      gainHigh: found.gainHigh * seconds,
      moves: 1,
      curveWithout: curveOf(idle),
      curveWith: curveOf(withSplit),
    },
    action:
      cool === undefined || subject.cluster === undefined
        ? {
            kind: 'split',
            parameters: { collection: subject.collection.name, fromSlot: 0, cutSlot, toSlot: slots - 1 },
            commands: splitCommands(subject.collection, cutSlot),
          }
        : {
            kind: 'move-slots',
            target: subject.cluster.target.name,
            parameters: { fromSlot: cutSlot, toSlot: lastSlot, fromNode: hot.node, toNode: cool.node },
            commands: [
              `redis-cli --cluster reshard ${cool.says} --cluster-from ${hot.node} --cluster-to ${cool.node} --cluster-slots ${lastSlot - cutSlot + 1} --cluster-yes`,
            ],
          },
    rollback:
      cool === undefined
        ? `Merge the halves again: move slots ${cutSlot} to ${lastSlot} back; nothing is lost by it.`
        : `Slots ${cutSlot} to ${lastSlot} go back to ${hot.says} the same way; nothing is lost by it.`,
    state: 'open',
    createdAtMs: subject.nowMs,
  };
}

/** What not splitting and splitting cost over the coming steps, for the low and the high side of the forecast. */
function gainAhead(coming: ComingLoad | null, leftShare: number, cool: number, prices: SplitPrices): Found['ahead'] {
  if (coming === null) return { low: 0, high: 0, idle: 0, split: 0 };
  const at = (loads: readonly number[], h: number): number => loads[Math.min(h, loads.length - 1)] ?? 0;
  const sumSteps = (loads: readonly number[], cost: (load: number) => number): number => {
    let sum = 0;
    for (let h = prices.delaySteps; h < paybackSteps; h += 1) sum += cost(at(loads, h));
    return sum;
  };
  const over = (load: number): number => Math.max(0, load - prices.capacity);
  const split = (load: number): number => over(load * leftShare) + over(load * (1 - leftShare) + cool) + prices.hold;
  const gain = (loads: readonly number[]): number => sumSteps(loads, over) - sumSteps(loads, split);
  return {
    low: Math.min(gain(coming.low), gain(coming.high)),
    high: Math.max(gain(coming.low), gain(coming.high)),
    idle: sumSteps(coming.middle, over),
    split: sumSteps(coming.middle, split),
  };
}

function halves(range: RangeLoad, cut: number, steps: number): readonly [readonly number[], readonly number[]] {
  const side = (isLeft: boolean): number[] =>
    sumOfLists(
      [...range.buckets].filter(([bucket]) => bucket < cut === isLeft).map(([, values]) => values),
      steps,
    );
  return [side(true), side(false)];
}

/** The first bucket of the right half, so that what stays and what the other then carries are as equal as bucket boundaries allow. */
function balancedCut(range: RangeLoad, other: readonly number[]): number | null {
  const order = [...range.buckets.keys()].toSorted((a, b) => a - b);
  const target = (sumOf(range.total) + sumOf(other)) / 2;
  let before = 0;
  let best: { cut: number; off: number } | null = null;
  for (const [i, bucket] of order.entries()) {
    if (i > 0) {
      const off = Math.abs(before - target);
      if (best === null || off < best.off) best = { cut: bucket, off };
    }
    before += sumOf(range.buckets.get(bucket) ?? []);
  }
  return best?.cut ?? null;
}
