import type { Anomaly } from '../domain/anomaly.ts';
import type { Measurement } from '../domain/measurement.ts';
import { durationWords } from './findings.ts';

/**
 * How far copies were behind, by their own metrics: what turns "may have been stale" into "was 3.2 s behind at that moment, usually 40 ms".
 * Keeps the last points of each copy, and the number of copies bounded; asking costs a scan of one copy's points.
 */
export interface LagBook {
  observe(measurements: readonly Measurement[]): void;
  /** Lag of a host or replica near a moment, and what is usual there; undefined where nothing was measured near it. */
  lagOf(name: string, atUs: number): { readonly ms: number; readonly usualMs: number } | undefined;
  /** The finding with what was measured where it read, in facts and words; unchanged where nothing was. */
  explain(anomaly: Anomaly): Anomaly;
}

interface Copy {
  readonly names: ReadonlySet<string>;
  readonly atUs: number[];
  readonly ms: number[];
}

/** Points of a copy: four hours of one a minute. */
const pointsKept = 240;
const copiesKept = 2_000;
/** A measurement further away says nothing about a moment: receivers scrape every 10 to 60 s. */
const nearUs = 90_000_000;
/** Fewer points do not say what is usual. */
const leastForUsual = 5;

export function createLagBook(): LagBook {
  const copies = new Map<string, Copy>();
  const observe: LagBook['observe'] = (measurements) => {
    for (const one of measurements) {
      if (one.kind !== 'replication-lag-ms' || one.value < 0) continue;
      const subject = one.subject === '' ? one.instance : one.subject;
      const key = `${one.system}\0${subject}\0${one.replica}`;
      let copy = copies.get(key);
      if (copy === undefined) {
        if (copies.size >= copiesKept) continue;
        copy = { names: new Set([subject, one.replica].filter((name) => name !== '').map((name) => name.toLowerCase())), atUs: [], ms: [] };
        copies.set(key, copy);
      }
      // What a restart reads again is known already.
      if (copy.atUs.includes(one.atUs)) continue;
      copy.atUs.push(one.atUs);
      copy.ms.push(one.value);
      if (copy.atUs.length > pointsKept) {
        copy.atUs.shift();
        copy.ms.shift();
      }
    }
  };
  const lagOf: LagBook['lagOf'] = (name, atUs) => {
    const found = [...copies.values()].filter((copy) => isNamed(copy.names, name));
    // Two copies on one host: which of them was read, the span does not say.
    const [copy, another] = found;
    if (copy === undefined || another !== undefined) return undefined;
    let nearest = -1;
    for (const [i, us] of copy.atUs.entries())
      if (nearest < 0 || Math.abs(us - atUs) < Math.abs((copy.atUs[nearest] ?? 0) - atUs)) nearest = i;
    if (nearest < 0 || Math.abs((copy.atUs[nearest] ?? 0) - atUs) > nearUs) return undefined;
    const ms = copy.ms[nearest] ?? 0;
    const sorted = copy.ms.toSorted((a, b) => a - b);
    return { ms, usualMs: sorted.length < leastForUsual ? ms : (sorted[sorted.length >> 1] ?? ms) };
  };
  return {
    observe,
    lagOf,
    explain: (anomaly) => {
      const { readHost, replica, gapMs } = anomaly.facts;
      const name = [readHost, replica].find((one) => typeof one === 'string' && one !== '');
      const lag = typeof name === 'string' ? lagOf(name, anomaly.lastSeenUs) : undefined;
      if (lag === undefined || typeof name !== 'string') return anomaly;
      return {
        ...anomaly,
        explanation: `${anomaly.explanation} ${lagWords(name, lag, typeof gapMs === 'number' ? gapMs : undefined)}`,
        facts: { ...anomaly.facts, lagMs: Math.round(lag.ms), usualLagMs: Math.round(lag.usualMs) },
      };
    },
  };
}

/** Past this many times what is usual, and a second, replication itself is what went wrong. */
const unusualFactor = 5;
const unusualMs = 1_000;

function lagWords(name: string, lag: { readonly ms: number; readonly usualMs: number }, gapMs: number | undefined): string {
  const behind = `By its own metrics ${name} was ${durationWords(lag.ms * 1000)} behind at that time`;
  if (gapMs !== undefined)
    return lag.ms > gapMs ? `${behind}, so the change had not arrived yet.` : `${behind}, so the change had probably arrived.`;
  const usual = durationWords(lag.usualMs * 1000);
  return lag.ms > unusualMs && lag.ms > lag.usualMs * unusualFactor
    ? `${behind}, and usually is ${usual}: replication was late.`
    : `${behind}, which is usual there (${usual}): such reads will come again.`;
}

const bareHost = (name: string): string => name.replace(/:\d+$/, '');

/** The same text, or the same host where one of the two has no port. */
function isNamed(names: ReadonlySet<string>, name: string): boolean {
  const wanted = name.toLowerCase();
  if (names.has(wanted)) return true;
  const bare = bareHost(wanted);
  for (const one of names) if (bareHost(one) === bare && (one === bare || wanted === bare)) return true;
  return false;
}
