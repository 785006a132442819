import type { Anomaly } from '../domain/anomaly.ts';
import type { CaseOrigin } from '../domain/case.ts';
import type { Divergence } from '../domain/divergence.ts';
import type { Row } from '../domain/row.ts';
import type { WriteEvidence } from '../domain/write-evidence.ts';
import { type Explained, isOfTime } from './explain-case.ts';

/** How one row of a case came to differ, as far as traces tell. */
export interface TracedRow {
  readonly key: Divergence['key'];
  /** The write that a replica has not got. */
  readonly write: WriteEvidence;
  /** Replicas that went without; empty where nothing tells which of them got it. */
  readonly without: readonly string[];
  /** The message of the write that never left, where a span shows it. */
  readonly unsent: WriteEvidence | undefined;
  /** What was found at this very write, where something was. */
  readonly finding?: Pick<Anomaly, 'fingerprint' | 'kind' | 'grade' | 'title'>;
  /** `time`: no span names the row; its trace is the only one that wrote so at the time of its clock. */
  readonly by: 'key' | 'time';
}

export interface TracedCase {
  readonly rows: readonly TracedRow[];
  /** "3 rows are missing on us: ..."; undefined where no write explains any row. */
  readonly says: string | undefined;
}

/** What traces tell of a case, as `explainCase` finds it. */
type TracesOfCase = Pick<Explained, 'writes' | 'cause'> & Partial<Pick<Explained, 'sightings' | 'clocks'>>;

/** What is asked of a divergence here. */
type Differing = Pick<Divergence, 'key' | 'is' | 'replicas'>;

/** A publish is tried again for so long after its write, microseconds. */
const unsentWithinUs = 120_000_000;

/**
 * From each divergence back to the write that caused it: by key, then by version, and by time where there is none. A row is traced to the
 * newest committed write that one side has and another has not, and to the failed publish of that write, in its trace or after it. A row
 * that no write explains is left out, and the sentence says of how many it speaks. Where a finding was seen at that write it is named; and
 * where the write itself is not kept any more, or names no row, the sighting stands for it.
 */
export function traceBack(divergences: readonly Differing[], { writes, cause, sightings = [], clocks = [] }: TracesOfCase): TracedCase {
  const ofKey = Map.groupBy(writes, (write) => JSON.stringify(write.key));
  const seenOf = Map.groupBy(sightings, ({ key }) => JSON.stringify(key));
  const rows: TracedRow[] = [];
  for (const divergence of divergences) {
    const own = ofKey.get(JSON.stringify(divergence.key)) ?? [];
    const seen = seenOf.get(JSON.stringify(divergence.key)) ?? [];
    const newest =
      originOf(own.filter((write) => write.kind === 'write' && write.outcome === 'committed')) ??
      (own.length === 0 ? originOf(seen.map(({ write }) => write)) : undefined);
    if (newest === undefined) continue;
    const lacking = Object.entries(divergence.replicas)
      .filter(([replica, row]) => replica !== newest.replica && lacks(row, newest, divergence, clocks))
      .map(([replica]) => replica)
      // A write of the same version that a span shows on the replica itself did arrive; then something else changed the row.
      .filter((replica) => !own.some((write) => write.replica === replica && write !== newest && byAge(write, newest) >= 0));
    if (lacking.length === 0) continue;
    // Some replica has what was committed. Where the span does not say which, and neither do versions and clocks, nobody does.
    const without = newest.replica === null && lacking.length === Object.keys(divergence.replicas).length ? [] : lacking;
    const unsent = own.find(
      (write) =>
        write.kind === 'publish-failed' &&
        (write.span.traceId === newest.span.traceId || (write.atUs >= newest.atUs && write.atUs - newest.atUs <= unsentWithinUs)),
    );
    const atWrite = seen.filter(({ write }) => write.span.traceId === newest.span.traceId);
    const told =
      atWrite.find(({ finding }) => finding.fingerprint === cause?.fingerprint) ??
      atWrite.find(({ finding }) => finding.grade === 'proven') ??
      atWrite[0];
    rows.push({
      key: divergence.key,
      write: newest,
      without: without.toSorted(),
      unsent,
      ...(told === undefined ? {} : { finding: findingOf(told.finding) }),
      by: atWrite.some(({ by }) => by === 'time') ? 'time' : 'key',
    });
  }
  return { rows, says: sayWhy(rows, divergences.length, cause) };
}

const findingOf = ({ fingerprint, kind, grade, title }: Anomaly): NonNullable<TracedRow['finding']> => ({
  fingerprint,
  kind,
  grade,
  title,
});

/** The way on which most of the rows got lost; null where none is known. */
export function originOfCase({ rows }: TracedCase): CaseOrigin | null {
  const lost = rows.filter(({ without }) => without.length > 0);
  const ways = Map.groupBy(lost, ({ write, without }) => JSON.stringify([write.service, write.replica, without]));
  const [most] = [...ways.values()].toSorted((a, b) => b.length - a.length);
  const [first] = most ?? [];
  if (first === undefined) return null;
  const { write, without } = first;
  return { service: write.service, from: write.replica, without, traceId: write.span.traceId };
}

/** The newest write; of those that carried the same version from place to place, the first. */
function originOf(writes: readonly WriteEvidence[]): WriteEvidence | undefined {
  const newest = writes.toSorted(byAge).at(-1);
  if (newest?.version === undefined) return newest;
  return writes.filter((write) => write.version === newest.version).toSorted((a, b) => a.atUs - b.atUs)[0];
}

/** Older than the write: no row at all, or a lower version where both have one, or simply another row. */
function lacks(row: Row | null, write: WriteEvidence, divergence: Differing, clocks: readonly string[]): boolean {
  if (row === null) return true;
  const has = row['version'];
  if (write.version !== undefined && typeof has === 'string' && /^\d+$/.test(has) && /^\d+$/.test(write.version))
    return BigInt(has) < BigInt(write.version);
  return divergence.is !== 'missing' && !isOfTime(row, clocks, write.atUs);
}

/** Versions order writes where both are integers; then the time of the spans. */
function byAge(a: WriteEvidence, b: WriteEvidence): number {
  if (a.version !== undefined && b.version !== undefined && /^\d+$/.test(a.version) && /^\d+$/.test(b.version)) {
    const [one, two] = [BigInt(a.version), BigInt(b.version)];
    if (one !== two) return one < two ? -1 : 1;
  }
  return a.atUs - b.atUs;
}

function sayWhy(rows: readonly TracedRow[], all: number, cause: Anomaly | undefined): string | undefined {
  const [first] = rows;
  if (first === undefined) return undefined;
  const places = [...new Set(rows.flatMap((row) => row.without))].toSorted().join(' and ');
  const services = [...new Set(rows.map((row) => row.write.service))].toSorted().join(' and ');
  const newest = rows.toSorted((a, b) => byAge(a.write, b.write)).at(-1) ?? first;
  const unsent = rows.filter((row) => row.unsent !== undefined);
  const [lost] = unsent;
  const many = rows.length === 1 ? 'One row differs' : `${rows.length} rows differ`;
  const version = newest.write.version === undefined ? '' : ` as version ${newest.write.version}`;
  const where = newest.write.replica === null ? '' : ` on ${newest.write.replica}`;
  const of = rows.length < all ? ` (of ${all})` : '';
  const last = `${rows.length === 1 ? 'it' : 'the last of them'} was written${version} in trace ${newest.write.span.traceId}`;
  const sentences = [
    places === ''
      ? `${many}${of} since ${services} wrote ${rows.length === 1 ? 'it' : 'them'}: ${last}. Which replicas got it, no span says.`
      : `${many}${of} because ${places} never got what ${services} wrote${where}: ${last}, and no span shows it arrive.`,
  ];
  if (lost?.unsent !== undefined)
    sentences.push(
      `${unsent.length === rows.length ? 'The' : `Of ${unsent.length} of them the`} message failed to leave: span ${lost.unsent.span.spanId} of trace ${lost.unsent.span.traceId}.`,
    );
  else if (cause !== undefined && cause.grade !== 'risk') {
    // What is proven is proven of each write by itself.
    const atWrite = rows.filter(({ finding }) => finding?.kind === cause.kind && finding.grade === cause.grade).length;
    const where =
      atWrite === 0 || rows.length === 1 ? '' : ` (seen at the write of ${atWrite === rows.length ? 'each' : `${atWrite} of them`})`;
    sentences.push(`${cause.grade === 'proven' ? 'It happened' : 'The code permits it'}: ${cause.title}${where}.`);
  }
  return sentences.join(' ');
}
