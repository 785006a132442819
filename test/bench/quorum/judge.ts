import type { Rng } from '../../../src/base/rng.ts';
import { freshAsSeen, type Look } from '../../../src/forecast/fresh-as-seen.ts';
import { standbyOdds, waysOf } from '../../../src/forecast/standby-odds.ts';
import type { StandbyLags } from '../../../src/forecast/suggester.ts';

/** What one turn of work was seen to be. */
export interface StandbyRecord {
  readonly looks: readonly (Look & { readonly tookMs: number })[];
  readonly lags: readonly StandbyLags[];
}

/** Commits wait for so many standbys; reads come at once after them, or within the millisecond after so many. */
export interface RealSetting {
  readonly waitsFor: number;
  readonly afterMs: number;
}

/** Share of stale reads, and its 95 % interval. */
export interface Told {
  readonly stale: number;
  readonly low: number;
  readonly high: number;
}

export interface Judged extends RealSetting {
  /** Counted share of stale reads, and how many were made. */
  readonly counted: number;
  readonly reads: number;
  /** Standard error of the count, points. */
  readonly errorPoints: number;
  /** From reads of a system that waits for as many. */
  readonly asItIs: Told;
  /** From reads of one that waits for another number. */
  readonly asItWouldBe: readonly (Told & { readonly waitedFor: number })[];
  /** From what the primary measures of the standbys and how long reads take, without a look at what reads return. */
  readonly lagsAlone: Told;
  /** From the lags as they are. */
  readonly rawLag: Told;
}

interface Case extends RealSetting {
  readonly stale: number[];
  readonly reads: number[];
  readonly told: Map<string, Told[]>;
}

const spell = 32;
/** Predictions made before the count, one a turn, and the counts. */
export function judge(settings: readonly RealSetting[], errorPoints: number, leastTurns: number, rng: Rng) {
  const records = new Map<number, StandbyRecord>();
  const cases: readonly Case[] = settings.map((one) => ({ ...one, stale: [0, 0], reads: [0, 0], told: new Map() }));
  const tell = (of: Case, name: string, told: Told): void => {
    const list = of.told.get(name) ?? [];
    list.push(told);
    of.told.set(name, list);
  };
  const errorOf = ({ stale, reads }: Case): number => {
    const variances = stale.map((count, s) => {
      const n = reads[s] ?? 0;
      return n === 0 ? 1 : ((count / n) * (1 - count / n)) / n;
    });
    return (100 * Math.sqrt(variances.reduce((sum, value) => sum + value, 0))) / variances.length;
  };
  const predict = (of: Case): void => {
    const at = timesOf(of.afterMs);
    for (const [waitedFor, record] of records) {
      const seen = freshAsSeen(record.looks, record.lags, { at, waitedFor, waitsFor: of.waitsFor, spell }, rng);
      tell(of, `seen ${waitedFor}`, staleOf(seen.fresh, seen.low, seen.high));
    }
    const own = records.get(of.waitsFor);
    if (own === undefined) return;
    const legs = own.lags.map(({ writeMs }, s) =>
      waysOf(
        writeMs,
        own.looks.filter(({ standby }) => standby === s).map(({ tookMs }) => tookMs),
      ),
    );
    const middle = at[at.length >> 1] ?? 0;
    const lagsAlone = standbyOdds(own.lags, { afterMs: [middle, ...at], legs, waitsForReplay: true, spell }, rng)[of.waitsFor];
    if (lagsAlone !== undefined) tell(of, 'lags', staleOf(meanOf(lagsAlone.fresh.slice(1)), lagsAlone.freshLow, lagsAlone.freshHigh));
    const raw = standbyOdds(own.lags, { afterMs: [of.afterMs], legs: [], waitsForReplay: true, spell }, rng)[of.waitsFor];
    if (raw !== undefined) tell(of, 'raw', staleOf(raw.fresh[0] ?? 0, raw.freshLow, raw.freshHigh));
  };

  return {
    record: (waitsFor: number, record: StandbyRecord): void => {
      records.set(waitsFor, record);
    },
    unsure: (): readonly Case[] => cases.filter((one) => (one.told.get('raw')?.length ?? 0) < leastTurns || errorOf(one) > errorPoints),
    predict: (of: Case): void => {
      if (records.has(of.waitsFor)) predict(of);
    },
    count: (of: Case, looks: readonly Look[]): void => {
      if (of.told.size === 0) return;
      for (const { standby, isFresh } of looks) {
        of.reads[standby] = (of.reads[standby] ?? 0) + 1;
        if (!isFresh) of.stale[standby] = (of.stale[standby] ?? 0) + 1;
      }
    },
    results: (): readonly Judged[] =>
      cases.map((one) => ({
        waitsFor: one.waitsFor,
        afterMs: one.afterMs,
        counted: meanOf(one.stale.map((count, s) => count / Math.max(1, one.reads[s] ?? 0))),
        reads: one.reads.reduce((sum, n) => sum + n, 0),
        errorPoints: errorOf(one),
        asItIs: meanTold(one.told.get(`seen ${one.waitsFor}`)),
        asItWouldBe: [...records.keys()]
          .filter((waitedFor) => waitedFor !== one.waitsFor)
          .map((waitedFor) => ({ waitedFor, ...meanTold(one.told.get(`seen ${waitedFor}`)) })),
        lagsAlone: meanTold(one.told.get('lags')),
        rawLag: meanTold(one.told.get('raw')),
      })),
  };
}

const timesOf = (afterMs: number): readonly number[] =>
  afterMs === 0 ? [0] : Array.from({ length: 50 }, (_, i) => afterMs + (i + 0.5) / 50);
const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
const staleOf = (fresh: number, low: number, high: number): Told => ({ stale: 1 - fresh, low: 1 - high, high: 1 - low });

function meanTold(list: readonly Told[] = []): Told {
  if (list.length === 0) return { stale: 0, low: 0, high: 1 };
  return {
    stale: meanOf(list.map(({ stale }) => stale)),
    low: meanOf(list.map(({ low }) => low)),
    high: meanOf(list.map(({ high }) => high)),
  };
}
