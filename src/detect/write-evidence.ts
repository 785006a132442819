import type { Operation } from '../domain/operation.ts';
import type { Key } from '../domain/row.ts';
import type { WriteEvidence } from '../domain/write-evidence.ts';
import { isWriteKind } from './version-order.ts';

/** A write of one object that a span showed, for the divergences of that object. */
export interface ObjectWrite {
  readonly objectType: string;
  readonly objectKey: string;
  readonly evidence: WriteEvidence;
}

/**
 * What an operation says of a write to an object, or undefined where it is no write or names no object. `keyColumns` are those of the
 * collection that `objectType` belongs to; a composite key is written as a JSON array or joined by `|`.
 */
export function writeEvidence(operation: Operation, keyColumns: readonly string[] = ['id']): ObjectWrite | undefined {
  const facts = operation.facts;
  if (facts === undefined || facts.objectKey === '' || !isWriteKind(operation)) return undefined;
  const key = keyOfText(facts.objectKey, keyColumns);
  if (key === undefined) return undefined;
  return {
    objectType: facts.objectType,
    objectKey: facts.objectKey,
    evidence: {
      key,
      kind: operation.kind === 'delete' ? 'delete' : 'write',
      replica: facts.replicaId === '' ? null : facts.replicaId,
      ...(facts.version === undefined ? {} : { version: String(facts.version) }),
      ...(facts.versionBase === undefined ? {} : { versionBase: String(facts.versionBase) }),
      ...(facts.hlc === '' ? {} : { hlc: facts.hlc }),
      ...(facts.valueDigest === '' ? {} : { valueDigest: facts.valueDigest }),
      outcome: operation.failed ? 'aborted' : facts.transactionOutcome,
      atUs: operation.endUs,
      service: operation.service,
      span: { traceId: operation.traceId, spanId: operation.spanId },
    },
  };
}

function keyOfText(text: string, columns: readonly string[]): Key | undefined {
  const [only] = columns;
  if (columns.length === 1 && only !== undefined) return { [only]: text };
  let values: readonly string[] = text.split('|');
  if (text.startsWith('[')) {
    try {
      const parsed: unknown = JSON.parse(text);
      if (Array.isArray(parsed)) values = parsed.map(String);
    } catch {
      return undefined;
    }
  }
  if (values.length !== columns.length) return undefined;
  return Object.fromEntries(columns.map((column, i) => [column, values[i] ?? '']));
}
