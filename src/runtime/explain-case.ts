import type { Anomaly } from '../domain/anomaly.ts';
import type { Collection } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';
import { type Key, keyText, type Row, type Shape } from '../domain/row.ts';
import { canonicalText } from '../domain/row-encoding.ts';
import type { WriteEvidence } from '../domain/write-evidence.ts';
import { listAnomaliesByFingerprint, listAnomaliesOfTraces, listAnomaliesOnObjects } from '../io/store/anomalies.ts';
import type { Queryable } from '../io/store/database.ts';
import { listKeylessSightings, listSightings, type StoredSighting } from '../io/store/sightings.ts';
import { listWritesToObjects, type StoredWrite } from '../io/store/write-evidence.ts';

/** Keys of a case that are looked up: a cause that these do not show, more would not. */
const keysLookedUp = 200;
/** Writes of one key: the newest tell what its row should be; older ones were overwritten. */
const writesPerKey = 8;
/** Sightings at the writes of one case. */
const sightingsLookedUp = 2_000;
/** A row's clock is set a moment before its write, on another machine at times. */
const clockWithinUs = 1_000_000;
/** How far before its divergence a cause can lie. */
const causeWindowMs = 24 * 3_600_000;

/** Ways in which spans write the key of an object: the value; values joined by `/` or `|`; a JSON array. */
export function objectKeysOf(keyColumns: readonly string[], key: Key): readonly string[] {
  const values = keyColumns.map((column) => key[column] ?? '');
  const [only] = values;
  return values.length === 1 && only !== undefined ? [only] : [values.join('/'), values.join('|'), keyText(keyColumns, key)];
}

/** The key that a span means; undefined where its text fits no key of this collection. Values are made canonical. */
export function parseObjectKey(shape: Shape, text: string): Key | undefined {
  const values = shape.key.length === 1 ? [text] : splitObjectKey(text);
  if (values.length !== shape.key.length) return undefined;
  const key: Record<string, string> = {};
  for (const [index, column] of shape.key.entries()) {
    const type = shape.columns.find(({ name }) => name === column)?.type;
    if (type === undefined) return undefined;
    try {
      key[column] = canonicalText(type, values[index] ?? '');
    } catch {
      // What a service writes into a span is input: text that is no value of the column names no row.
      return undefined;
    }
  }
  return key;
}

function splitObjectKey(text: string): readonly string[] {
  if (!text.startsWith('[')) return text.split(text.includes('|') ? '|' : '/');
  try {
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) ? parsed.map(String) : [];
  } catch {
    return [];
  }
}

/** What traces tell of a case. */
export interface Explained {
  readonly writes: readonly WriteEvidence[];
  /** The finding that explains why replicas differ, if one does. */
  readonly cause: Anomaly | undefined;
  /** Findings at the very writes of its rows. */
  readonly sightings: readonly SeenAtWrite[];
  /** Columns of class `clock`. */
  readonly clocks: readonly string[];
}

/** A finding that was seen at a write of a row. */
export interface SeenAtWrite {
  readonly key: Key;
  readonly finding: Anomaly;
  readonly write: WriteEvidence;
  /** `time`: the span does not name the row; it is the only such write near the row's own clock. No repair may rest on it. */
  readonly by: 'key' | 'time';
}

type Member = Pick<Divergence, 'key' | 'replicas'>;

/** What traces say about a case's rows: the writes to them, the findings at these writes, and the one that explains most. */
export async function explainCase(db: Queryable, collection: Collection, members: readonly Member[], nowMs: number): Promise<Explained> {
  const keyOf = new Map<string, Key>();
  const looked = members.slice(0, keysLookedUp);
  for (const { key } of looked) for (const text of objectKeysOf(collection.key, key)) keyOf.set(text, key);
  const objectKeys = [...keyOf.keys()];
  const stored = await listWritesToObjects(db, collection.name, objectKeys, writesPerKey);
  const sinceUs = (nowMs - causeWindowMs) * 1000;
  const onObjects = await listAnomaliesOnObjects(db, collection.name, objectKeys, sinceUs);
  const traces = [...new Set(stored.map((write) => write.traceId))];
  const onTraces = traces.length === 0 ? [] : await listAnomaliesOfTraces(db, traces, sinceUs);
  const writes = stored.flatMap((write) => {
    const key = keyOf.get(write.objectKey);
    return key === undefined ? [] : [toEvidence(write, key, collection)];
  });
  const ofTrace = new Map(stored.map((write) => [write.traceId, keyOf.get(write.objectKey)]));
  const byKey = (await listSightings(db, collection.name, objectKeys, traces, sightingsLookedUp)).flatMap((sighting) => {
    const key = keyOf.get(sighting.objectKey) ?? (sighting.objectKey === '' ? ofTrace.get(sighting.span.traceId) : undefined);
    return key === undefined ? [] : [{ key, sighting, by: 'key' as const }];
  });
  const named = new Set([...writes, ...byKey].map(({ key }) => keyText(collection.key, key)));
  const byTime = await seenNearClock(
    db,
    collection,
    looked.filter(({ key }) => !named.has(keyText(collection.key, key))),
  );
  const seen = [...byKey, ...byTime];
  const found = await listAnomaliesByFingerprint(db, [...new Set(seen.map(({ sighting }) => sighting.fingerprint))]);
  const findings = new Map(found.map((finding) => [finding.fingerprint, finding]));
  const sightings = seen.flatMap(({ key, sighting, by }): SeenAtWrite[] => {
    const finding = findings.get(sighting.fingerprint);
    return finding === undefined ? [] : [{ key, finding, write: ofSighting(sighting, key), by }];
  });
  const cause = chooseCause([...onObjects, ...onTraces, ...sightings.map(({ finding }) => finding)]);
  return { writes, sightings, cause, clocks: clocksOf(collection) };
}

/** Rows whose writes no span names, by their clocks: where exactly one trace wrote without a key about then, that one. */
async function seenNearClock(
  db: Queryable,
  collection: Collection,
  members: readonly Member[],
): Promise<readonly { readonly key: Key; readonly sighting: StoredSighting; readonly by: 'time' }[]> {
  const timed = members.flatMap(({ key, replicas }) => {
    const atUs = newestClockUs(collection, replicas);
    return atUs === undefined ? [] : [{ key, atUs }];
  });
  if (timed.length === 0) return [];
  const near = await listKeylessSightings(
    db,
    collection.name,
    timed.map(({ atUs }) => atUs),
    clockWithinUs,
    sightingsLookedUp,
  );
  // A list that was cut short may lack the other one that makes a time ambiguous.
  if (near.length === sightingsLookedUp) return [];
  return timed.flatMap(({ key, atUs }) => {
    const own = near.filter((sighting) => Math.abs(sighting.atUs - atUs) <= clockWithinUs);
    const isOne = new Set(own.map(({ span }) => span.traceId)).size === 1;
    return isOne ? own.map((sighting) => ({ key, sighting, by: 'time' as const })) : [];
  });
}

function clocksOf(collection: Collection): readonly string[] {
  return Object.entries(collection.columnClasses).flatMap(([column, columnClass]) => (columnClass === 'clock' ? [column] : []));
}

/** Whether a row's clock says that it was written when a span wrote. */
export function isOfTime(row: Row, clocks: readonly string[], atUs: number): boolean {
  return clocks.some((column) => Math.abs(clockUs(row[column] ?? '') - atUs) <= clockWithinUs);
}

/** The newest time in the clock columns of a row's copies, microseconds; undefined where they hold none. */
function newestClockUs(collection: Collection, replicas: Member['replicas']): number | undefined {
  const clocks = clocksOf(collection);
  const times = Object.values(replicas).flatMap((row) =>
    row === null ? [] : clocks.map((column) => clockUs(row[column] ?? '')).filter(Number.isFinite),
  );
  return times.length === 0 ? undefined : Math.max(...times);
}

/** Canonical text of a time (`src/domain/row-encoding.ts`; without a zone: UTC), or milliseconds since 1970; NaN for anything else. */
function clockUs(text: string): number {
  if (/^\d{13}$/.test(text)) return Number(text) * 1000;
  if (!/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+00)?$/.test(text)) return Number.NaN;
  return Date.parse(`${text.replace('+00', '').replace(' ', 'T')}Z`) * 1000;
}

function ofSighting(sighting: StoredSighting, key: Key): WriteEvidence {
  return {
    key,
    kind: 'write',
    replica: null,
    ...(sighting.version === '' ? {} : { version: sighting.version }),
    outcome: 'committed',
    atUs: sighting.atUs,
    service: sighting.service,
    span: sighting.span,
  };
}

/** The finding that says most: proven before structural before risk; then the one that more of the keys share; then the latest. */
function chooseCause(anomalies: readonly Anomaly[]): Anomaly | undefined {
  const gradeOrder = { proven: 0, structural: 1, risk: 2 } as const;
  const byFinding = Map.groupBy(anomalies, (anomaly) => anomaly.fingerprint);
  const ofKind = Map.groupBy(anomalies, (anomaly) => anomaly.kind);
  return [...byFinding.values()]
    .flatMap((same) => same.slice(0, 1))
    .toSorted(
      (a, b) =>
        gradeOrder[a.grade] - gradeOrder[b.grade] ||
        (ofKind.get(b.kind)?.length ?? 0) - (ofKind.get(a.kind)?.length ?? 0) ||
        b.lastSeenUs - a.lastSeenUs ||
        (a.fingerprint < b.fingerprint ? -1 : 1),
    )[0];
}

function toEvidence(write: StoredWrite, key: Key, collection: Collection): WriteEvidence {
  return {
    key,
    kind: write.kind === 'delete' ? 'delete' : write.kind === 'publish-failed' ? 'publish-failed' : 'write',
    replica: collection.replicas.some((replica) => replica.id === write.replicaId) ? write.replicaId : null,
    ...(write.version === undefined ? {} : { version: write.version.toString() }),
    ...(write.versionBase === undefined ? {} : { versionBase: write.versionBase.toString() }),
    ...(write.hlc === '' ? {} : { hlc: write.hlc }),
    ...(write.valueDigest === '' ? {} : { valueDigest: write.valueDigest }),
    outcome: write.outcome,
    atUs: write.atUs,
    service: write.service,
    span: { traceId: write.traceId, spanId: write.spanId },
  };
}
