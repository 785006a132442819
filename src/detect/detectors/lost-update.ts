import type { ConsistencyFacts, Version } from '../../domain/operation.ts';
import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { noRecord } from '../earlier-operations.ts';
import { exampleOperations } from '../example.ts';
import { VersionRecords } from '../object-records.ts';
import { objectWords, versionWords } from '../version-order.ts';

/** What tells that two writes are one. */
type Marks = Pick<ConsistencyFacts, 'transactionId' | 'idempotencyKey' | 'valueDigest'>;

const noMarks: Marks = { transactionId: '', idempotencyKey: '', valueDigest: '' };

/** Bases remembered per object. A second write from a base that is older than this many is judged against nothing. */
const basesMax = 128;

/** Two committed writes derived from one version: the second was computed without the first and replaced it. */
export const lostUpdate = keyedDetector(
  {
    id: 'lost-update',
    scope: 'object',
    grades: ['proven'],
    title: 'Lost update',
    sentence: 'Two committed writes were derived from the same version, so one of them was overwritten unseen.',
    fix: 'Write with a condition on the version that was read (`UPDATE ... WHERE id = ? AND version = ?`), lock the row when reading (`SELECT ... FOR UPDATE`), or let the database compute the new value (`SET n = n + 1`).',
    needs: 'consistency.object.type, .object.key, .version, .version.base',
    options: {},
    example: () => history(4n, 6n),
    twin: () => history(5n, 6n),
  },
  (_settings, context): KeyedFold => {
    const marks = new Map<number, Marks>();
    const seen = new VersionRecords(basesMax, (row) => marks.delete(row));
    const { earlier } = seen.records;
    return {
      // Marks with a text or two and their place in the map take some 200 bytes.
      bytes: () => seen.bytes + marks.size * 200,
      forget: (object) => seen.forget(object),
      step(step, report) {
        const { operation, facts } = step;
        if (facts.versionBase === undefined || !step.isCommittedWrite) return;
        if (facts.version !== undefined && facts.version === facts.versionBase) return;
        const base = facts.versionBase;
        const first = seen.find(step, base);
        if (first === noRecord) {
          const row = seen.keep(step);
          if (facts.transactionId !== '' || facts.idempotencyKey !== '' || facts.valueDigest !== '')
            marks.set(row, { transactionId: facts.transactionId, idempotencyKey: facts.idempotencyKey, valueDigest: facts.valueDigest });
          return;
        }
        const firstVersion = earlier.versionOf(first);
        const span = earlier.spanOf(first);
        if (span.spanId === operation.spanId && span.traceId === operation.traceId) return;
        if (isSameEffect(marks.get(first) ?? noMarks, firstVersion, earlier.replicaOf(first), facts)) return;
        const service = earlier.serviceOf(first);
        const place = context.placeOf(facts.objectType, facts.domain);
        report({
          place: `${facts.objectType}\0${facts.objectKey}\0${String(base)}`,
          grade: 'proven',
          atUs: operation.endUs,
          complete: true,
          spans: [span, spanOf(operation)],
          restsOn: [
            { span, endUs: earlier.endUsOf(first), byUs: Number.MAX_VALUE },
            { span: spanOf(operation), endUs: operation.endUs, byUs: Number.MAX_VALUE },
          ],
          domain: place.domainName,
          collection: place.collection ?? facts.objectType,
          objectKey: facts.objectKey,
          service: operation.service,
          facts: { base: String(base), firstVersion: String(firstVersion ?? ''), secondVersion: String(facts.version ?? '') },
          tell: () => ({
            title: `Two writes to ${objectWords(operation)} from one version`,
            explanation: `${service} wrote ${objectWords(operation)} as ${versionWords(firstVersion)} from ${base === '' ? 'nothing' : versionWords(base)}, and ${operation.service} wrote it as ${versionWords(facts.version)} from the same: whichever came second was computed without the other and replaced it. Both committed.`,
          }),
        });
      },
    };
  },
);

/** One write seen twice (two spans of one transaction, a retry under its key, a change applied on another replica) is not two. */
function isSameEffect(first: Marks, version: Version | undefined, replicaId: string, facts: ConsistencyFacts): boolean {
  if (first.transactionId !== '' && first.transactionId === facts.transactionId) return true;
  if (first.idempotencyKey !== '' && first.idempotencyKey === facts.idempotencyKey) return true;
  if (version === undefined || version !== facts.version) return false;
  if (first.valueDigest !== '' && facts.valueDigest !== '') return first.valueDigest === facts.valueDigest || replicaId !== facts.replicaId;
  return replicaId !== facts.replicaId || (version !== '' && typeof version === 'string');
}

function history(secondBase: bigint, secondVersion: bigint) {
  const object = { objectType: 'account', objectKey: 'A1' };
  return exampleOperations([
    { kind: 'read', at: 0, trace: 'a', target: 'account', facts: { ...object, version: 4n } },
    { kind: 'read', at: 1, trace: 'b', target: 'account', facts: { ...object, version: 4n } },
    { kind: 'write', at: 5, trace: 'a', target: 'account', facts: { ...object, version: 5n, versionBase: 4n } },
    { kind: 'write', at: 9, trace: 'b', target: 'account', facts: { ...object, version: secondVersion, versionBase: secondBase } },
  ]);
}
