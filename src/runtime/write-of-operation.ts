import type { createPlaces } from '../detect/object-place.ts';
import type { Operation } from '../domain/operation.ts';
import type { StoredWrite } from '../io/store/write-evidence.ts';

/** What an operation says of a write to an object; undefined where it says nothing of one. */
export function writeOf(operation: Operation, places: ReturnType<typeof createPlaces>): StoredWrite | undefined {
  const { facts, kind } = operation;
  const isWrite = kind === 'write' || kind === 'append' || kind === 'delete' || kind === 'compensate';
  if (!isWrite && !(kind === 'publish' && operation.failed)) return undefined;
  const objectType = facts === undefined || facts.objectType === '' ? operation.target : facts.objectType;
  const objectKey = facts === undefined || facts.objectKey === '' ? (operation.key ?? '') : facts.objectKey;
  if (objectType === '' || objectKey === '') return undefined;
  const place = places(objectType, facts?.domain ?? '');
  // Writes to objects that nobody compares explain nothing, and there is no bound on how many there are.
  if (place.collection === undefined) return undefined;
  return {
    collection: place.collection,
    objectKey,
    kind: kind === 'publish' ? 'publish-failed' : (kind as StoredWrite['kind']),
    version: facts?.version,
    versionBase: facts?.versionBase,
    hlc: facts?.hlc ?? '',
    valueDigest: facts?.valueDigest ?? '',
    replicaId: facts?.replicaId ?? '',
    service: operation.service,
    traceId: operation.traceId,
    spanId: operation.spanId,
    spanIndex: operation.index,
    failed: operation.failed,
    outcome: facts?.transactionOutcome ?? (operation.failed ? 'aborted' : 'committed'),
    atUs: operation.endUs,
  };
}
