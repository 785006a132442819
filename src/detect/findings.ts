import { sha256Hex } from '../base/hash.ts';
import type { Anomaly, SpanRef } from '../domain/anomaly.ts';
import type { Sighting } from '../domain/sighting.ts';
import { type DetectionContext, type Detector, type Finding, spanOf } from './detector.ts';
import { keyOf, targetOf } from './trace-view.ts';

/** A witness is small enough to read; a longer one only where a cycle is longer. Of later cases a span each, the first few and the latest. */
const exampleSpansMax = 5;
/** Occurrences remembered per finding, so that a replay or a re-sent batch is not counted again. */
const occurrencesMax = 4096;
/** Writes of one sighting that are kept. */
const writesMax = 8;
/** Sightings that wait to be taken; beyond it the oldest go. */
const sightingsMax = 10_000;
/** Findings remembered. Beyond it the one that was seen longest ago is forgotten, and counted again from one if it returns. */
const findingsMax = 200_000;

interface Tally {
  readonly detector: Detector;
  readonly first: Finding;
  readonly words: { readonly title: string; readonly explanation: string; readonly fix?: string };
  readonly fingerprint: string;
  readonly occurrences: Set<string>;
  readonly spans: SpanRef[];
  count: number;
  realised: number;
  /** Up to here an earlier process has counted. */
  readonly countedUs: number;
  complete: boolean;
  firstSeenUs: number;
  lastSeenUs: number;
  share: number;
}

/** What an earlier process has told of a finding: a replay of the same past must not count it again, nor a restart forget it. */
export interface ToldFinding {
  readonly fingerprint: string;
  readonly count: number;
  readonly realised: number;
  readonly firstSeenUs: number;
  readonly lastSeenUs: number;
}

/** A rate from a few seconds would be a guess at an hour. */
const leastRateUs = 60_000_000;

/**
 * Merges what detectors say: one anomaly per place, with its count, first and last time and example traces. `told` is what earlier
 * processes said, by fingerprint: their counts go on, and what happened before their last time is taken as counted.
 */
export function createFindings(
  told: readonly ToldFinding[] = [],
  placeOf?: DetectionContext['placeOf'],
): {
  add(detector: Detector, finding: Finding, share: number): void;
  /** Sightings since the last call at writes of configured collections. */
  takeSightings(): readonly Sighting[];
  /** What is new or has changed since the last call, in the order in which it first appeared. */
  take(): readonly Anomaly[];
  readonly size: number;
  readonly forgotten: number;
} {
  const tallies = new Map<string, Tally>();
  const changed = new Set<Tally>();
  let forgotten = 0;
  const earlier = new Map(told.map((finding) => [finding.fingerprint, finding]));
  /** Realised cases that came before the structural finding that they are cases of. */
  const early = new Map<string, number>();

  let sightings: Sighting[] = [];
  const noteWrites = ({ fingerprint, count }: Tally, { writes = [] }: Finding): void => {
    for (const [number, write] of writes.entries()) {
      if (number === writesMax) break;
      // Rows that nobody compares come to no difference that is seen.
      const collection = placeOf?.(targetOf(write), write.facts?.domain ?? '').collection;
      if (collection === undefined) continue;
      sightings.push({
        fingerprint,
        nth: count,
        write: number,
        collection,
        objectKey: keyOf(write),
        version: write.facts?.version?.toString() ?? '',
        service: write.service,
        span: spanOf(write),
        atUs: write.endUs,
      });
    }
    if (sightings.length > sightingsMax) sightings = sightings.slice(-sightingsMax / 2);
  };

  const realise = (key: string): void => {
    const tally = tallies.get(key);
    if (tally === undefined) {
      if (early.size < findingsMax) early.set(key, (early.get(key) ?? 0) + 1);
      return;
    }
    tally.realised += 1;
    changed.add(tally);
  };

  return {
    add(detector, finding, share) {
      const key = `${detector.id}\0${finding.grade}\0${finding.model ?? ''}\0${finding.place}`;
      const occurrence = finding.spans.map((span) => span.spanId).join('') + (finding.spans[0]?.traceId ?? '');
      const known = tallies.get(key);
      const realised = finding.realises === undefined ? undefined : `${detector.id}\0structural\0\0${finding.realises}`;
      if (known === undefined) {
        if (tallies.size >= findingsMax) {
          const oldest = tallies.keys().next();
          if (oldest.done !== true) tallies.delete(oldest.value);
          forgotten += 1;
        }
        const fingerprint = sha256Hex(key).slice(0, 32);
        const before = earlier.get(fingerprint);
        const isNew = before === undefined || finding.atUs > before.lastSeenUs;
        const tally: Tally = {
          detector,
          first: finding,
          words: finding.tell(),
          fingerprint,
          occurrences: new Set([occurrence]),
          spans: [...finding.spans],
          count: (before?.count ?? 0) + (isNew ? 1 : 0),
          realised: (before?.realised ?? 0) + (early.get(key) ?? 0),
          countedUs: before?.lastSeenUs ?? Number.NEGATIVE_INFINITY,
          complete: finding.complete,
          firstSeenUs: Math.min(finding.atUs, before?.firstSeenUs ?? Number.POSITIVE_INFINITY),
          lastSeenUs: Math.max(finding.atUs, before?.lastSeenUs ?? 0),
          share,
        };
        early.delete(key);
        tallies.set(key, tally);
        changed.add(tally);
        if (realised !== undefined && isNew) realise(realised);
        if (isNew) noteWrites(tally, finding);
        return;
      }
      if (known.occurrences.has(occurrence)) return;
      if (known.occurrences.size < occurrencesMax) known.occurrences.add(occurrence);
      if (finding.atUs > known.countedUs) {
        known.count += 1;
        if (realised !== undefined) realise(realised);
        noteWrites(known, finding);
      }
      known.complete &&= finding.complete;
      known.share = Math.min(known.share, share);
      if (finding.atUs < known.firstSeenUs) known.firstSeenUs = finding.atUs;
      if (finding.atUs > known.lastSeenUs) known.lastSeenUs = finding.atUs;
      const example = finding.spans[0];
      if (example !== undefined && !known.spans.some((span) => span.traceId === example.traceId)) {
        if (known.spans.length < exampleSpansMax) known.spans.push(example);
        // The latest is always among them: what goes on is looked into where it was seen last.
        else if (known.spans.length > known.first.spans.length) known.spans[known.spans.length - 1] = example;
      }
      changed.add(known);
    },
    take() {
      const anomalies = [...changed].map(anomalyOf);
      changed.clear();
      return anomalies;
    },
    takeSightings() {
      const taken = sightings;
      sightings = [];
      return taken;
    },
    get size() {
      return tallies.size;
    },
    get forgotten() {
      return forgotten;
    },
  };
}

function anomalyOf(tally: Tally): Anomaly {
  const { first, words, detector } = tally;
  const perHour = rateOf(tally);
  return {
    kind: detector.id,
    ...(first.model === undefined ? {} : { model: first.model }),
    grade: first.grade,
    fingerprint: tally.fingerprint,
    title: words.title,
    explanation: words.explanation + basis(tally),
    fix: words.fix ?? detector.fix,
    ...(first.domain === undefined || first.domain === '' ? {} : { domain: first.domain }),
    ...(first.collection === undefined || first.collection === '' ? {} : { collection: first.collection }),
    ...(first.objectKey === undefined || first.objectKey === '' ? {} : { objectKey: first.objectKey }),
    ...(first.service === undefined || first.service === '' ? {} : { service: first.service }),
    count: tally.count,
    ...(tally.realised === 0 ? {} : { realised: tally.realised }),
    ...(perHour === undefined ? {} : { perHour }),
    complete: tally.complete,
    sampledShare: tally.share,
    firstSeenUs: tally.firstSeenUs,
    lastSeenUs: tally.lastSeenUs,
    spans: [...tally.spans],
    facts: first.facts,
  };
}

/** What the sentences rest on. */
function basis(tally: Tally): string {
  let text = '';
  const spanUs = tally.lastSeenUs - tally.firstSeenUs;
  if (tally.count > 1) {
    text += ` Seen ${tally.count} times${spanUs > 0 ? ` in ${durationWords(spanUs)}` : ''}`;
    const perHour = rateOf(tally);
    text += perHour === undefined ? '.' : ` (${roundTo3(perHour)} an hour).`;
  }
  if (tally.realised > 0)
    text += ` In ${tally.realised === 1 ? 'one of them' : `${tally.realised} of them`} one half happened and the other really failed.`;
  if (!tally.complete) text += ' Spans are missing from at least one of the traces it was computed from.';
  if (tally.share < 1)
    text += ` Computed on a sample of ${roundTo3(tally.share * 100)} % of the keys: about ${Math.round(tally.count / tally.share)} in all.`;
  return text;
}

/** Times an hour over the time in which it was seen, scaled up where keys are sampled; undefined where that time is too short. */
function rateOf(tally: Tally): number | undefined {
  const spanUs = tally.lastSeenUs - tally.firstSeenUs;
  if (spanUs < leastRateUs || tally.count < 2) return undefined;
  // The first and the last time bound count - 1 intervals.
  return Number(((tally.count - 1) / tally.share / (spanUs / 3_600_000_000)).toPrecision(4));
}

export function durationWords(us: number): string {
  if (us < 1000) return `${Math.round(us)} us`;
  if (us < 1_000_000) return `${roundTo3(us / 1000)} ms`;
  if (us < 120_000_000) return `${roundTo3(us / 1_000_000)} s`;
  if (us < 7_200_000_000) return `${roundTo3(us / 60_000_000)} min`;
  return `${roundTo3(us / 3_600_000_000)} h`;
}

function roundTo3(value: number): string {
  return String(Number(value.toPrecision(3)));
}
