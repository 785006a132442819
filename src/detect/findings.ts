import { sha256Hex } from '../base/hash.ts';
import type { Anomaly, SpanRef } from '../domain/anomaly.ts';
import type { Detector, Finding } from './detector.ts';

/** A witness is small enough to read; a longer one only where a cycle is longer. */
const exampleSpansMax = 5;
/** Occurrences remembered per finding, so that a replay or a re-sent batch is not counted again. */
const occurrencesMax = 4096;
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
  complete: boolean;
  firstSeenUs: number;
  lastSeenUs: number;
  share: number;
}

/** Merges what detectors say: one anomaly per place, with its count, first and last time and example traces. */
export function createFindings(): {
  add(detector: Detector, finding: Finding, share: number): void;
  /** What is new or has changed since the last call, in the order in which it first appeared. */
  take(): readonly Anomaly[];
  readonly size: number;
  readonly forgotten: number;
} {
  const tallies = new Map<string, Tally>();
  const changed = new Set<Tally>();
  let forgotten = 0;
  return {
    add(detector, finding, share) {
      const key = `${detector.id}\0${finding.grade}\0${finding.model ?? ''}\0${finding.place}`;
      const occurrence = finding.spans.map((span) => span.spanId).join('') + (finding.spans[0]?.traceId ?? '');
      const known = tallies.get(key);
      if (known === undefined) {
        if (tallies.size >= findingsMax) {
          const oldest = tallies.keys().next();
          if (oldest.done !== true) tallies.delete(oldest.value);
          forgotten += 1;
        }
        const tally: Tally = {
          detector,
          first: finding,
          words: finding.tell(),
          fingerprint: sha256Hex(key).slice(0, 32),
          occurrences: new Set([occurrence]),
          spans: [...finding.spans],
          count: 1,
          complete: finding.complete,
          firstSeenUs: finding.atUs,
          lastSeenUs: finding.atUs,
          share,
        };
        tallies.set(key, tally);
        changed.add(tally);
        return;
      }
      if (known.occurrences.has(occurrence)) return;
      if (known.occurrences.size < occurrencesMax) known.occurrences.add(occurrence);
      known.count += 1;
      known.complete &&= finding.complete;
      known.share = Math.min(known.share, share);
      if (finding.atUs < known.firstSeenUs) known.firstSeenUs = finding.atUs;
      if (finding.atUs > known.lastSeenUs) known.lastSeenUs = finding.atUs;
      const example = finding.spans[0];
      if (example !== undefined && known.spans.length < exampleSpansMax && !known.spans.some((span) => span.traceId === example.traceId))
        known.spans.push(example);
      changed.add(known);
    },
    take() {
      const anomalies = [...changed].map(anomalyOf);
      changed.clear();
      return anomalies;
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
    // A rate from a few seconds would be a guess at an hour.
    text += spanUs >= 60_000_000 ? ` (${roundTo3(tally.count / (spanUs / 3_600_000_000))} an hour).` : '.';
  }
  if (!tally.complete) text += ' Spans are missing from at least one of the traces it was computed from.';
  if (tally.share < 1)
    text += ` Computed on a sample of ${roundTo3(tally.share * 100)} % of the keys: about ${Math.round(tally.count / tally.share)} in all.`;
  return text;
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
