import type { Anomaly } from '../domain/anomaly.ts';
import type { Collection } from '../domain/collection.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import { canonicalText } from '../domain/row-encoding.ts';
import type { WriteEvidence } from '../domain/write-evidence.ts';
import { listAnomaliesOfTraces, listAnomaliesOnObjects } from '../io/store/anomalies.ts';
import type { Queryable } from '../io/store/database.ts';
import { listWritesToObjects, type StoredWrite } from '../io/store/write-evidence.ts';

/** Keys of a case that are looked up: a cause that these do not show, more would not. */
const keysLookedUp = 200;
/** Writes of one key: the newest tell what its row should be; older ones were overwritten. */
const writesPerKey = 8;
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

/** What traces say about a case's keys: the writes to them, and the finding that explains why replicas differ, if one does. */
export async function explainCase(
  db: Queryable,
  collection: Collection,
  keys: readonly Key[],
  nowMs: number,
): Promise<{ readonly writes: readonly WriteEvidence[]; readonly cause: Anomaly | undefined }> {
  const keyOf = new Map<string, Key>();
  for (const key of keys.slice(0, keysLookedUp)) for (const text of objectKeysOf(collection.key, key)) keyOf.set(text, key);
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
  return { writes, cause: chooseCause([...onObjects, ...onTraces]) };
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
