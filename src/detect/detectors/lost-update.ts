import type { SpanRef } from '../../domain/anomaly.ts';
import type { ConsistencyFacts, Operation, Version } from '../../domain/operation.ts';
import { type Finding, type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { noRecord } from '../earlier-operations.ts';
import { exampleOperations } from '../example.ts';
import { VersionRecords } from '../object-records.ts';
import { objectWords, versionWords } from '../version-order.ts';
import { type Marks, type SharedMarks, sharedMarks, WriteMarks } from '../write-marks.ts';

/** Bases remembered per object. A second write from a base that is older than this many is judged against nothing. */
const basesMax = 128;
/** Writes from one base that are remembered beside the first, and bases of which they are: those that were overwritten last. */
const othersMax = 4;
const overwrittenMax = 256;

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
    const marks = new WriteMarks();
    /** Later writes from the same base, newest first: where the first was rolled back, they are what was overwritten. */
    const others = new Map<number, readonly Other[]>();
    const seen = new VersionRecords(basesMax, (row) => others.delete(row));
    const { earlier } = seen.records;
    return {
      // The other writes of a base take some 500 bytes.
      bytes: () => seen.bytes + marks.bytes + others.size * 500,
      forget: (object) => seen.forget(object),
      step(step, report) {
        const { operation, facts } = step;
        if (facts.versionBase === undefined || !step.isCommittedWrite) return;
        if (facts.version !== undefined && facts.version === facts.versionBase) return;
        const base = facts.versionBase;
        const first = seen.find(step, base);
        if (first === noRecord) {
          marks.set(seen.keep(step), facts);
          return;
        }
        // What came back was made by another write than the one that the first was derived from.
        if (step.versions.isBack(base)) return;
        // What was deleted while the first was still written was its row, perhaps.
        if (base === '' && (earlier.startUsOf(first) <= step.goneUs || isUniqueInsert(operation))) return;
        const firstVersion = earlier.versionOf(first);
        const span = earlier.spanOf(first);
        if (span.spanId === operation.spanId && span.traceId === operation.traceId) return;
        if (isSameEffect(marks.sharedWith(first, facts), firstVersion, earlier.replicaOf(first), facts)) return;
        const place = context.placeOf(facts.objectType, facts.domain);
        const findingOf = (before: Before, otherwise: Finding | undefined): Finding => ({
          place: `${facts.objectType}\0${facts.objectKey}\0${String(base)}`,
          grade: 'proven',
          atUs: operation.endUs,
          complete: true,
          spans: [before.span, spanOf(operation)],
          restsOn: [
            { span: before.span, endUs: before.endUs, byUs: Number.MAX_VALUE },
            { span: spanOf(operation), endUs: operation.endUs, byUs: Number.MAX_VALUE },
          ],
          otherwise,
          domain: place.domainName,
          collection: place.collection ?? facts.objectType,
          objectKey: facts.objectKey,
          service: operation.service,
          facts: { base: String(base), firstVersion: String(before.version ?? ''), secondVersion: String(facts.version ?? '') },
          tell: () => ({
            title: `Two writes to ${objectWords(operation)} from one version`,
            explanation: `${before.service} wrote ${objectWords(operation)} as ${versionWords(before.version)} from ${base === '' ? 'nothing' : versionWords(base)}, and ${operation.service} wrote it as ${versionWords(facts.version)} from the same: whichever came second was computed without the other and replaced it. Both committed.`,
          }),
        });
        const later = others.get(first) ?? [];
        const rest = later.reduceRight<Finding | undefined>((otherwise, other) => {
          return isSameEffect(sharedMarks(other, facts), other.version, other.replicaId, facts) ? otherwise : findingOf(other, otherwise);
        }, undefined);
        report(findingOf({ version: firstVersion, service: earlier.serviceOf(first), span, endUs: earlier.endUsOf(first) }, rest));
        others.delete(first);
        others.set(first, [otherOf(operation, facts), ...later].slice(0, othersMax));
        const [oldest] = others.keys();
        if (others.size > overwrittenMax && oldest !== undefined) others.delete(oldest);
      },
    };
  },
);

/** A key takes a second insert only once its row is gone: who deleted it is not always seen. */
function isUniqueInsert({ statement }: Operation): boolean {
  return statement?.verb === 'insert' && !statement.hasOnConflict;
}

/** The write that another was derived without. */
interface Before {
  readonly version: Version | undefined;
  readonly service: string;
  readonly span: SpanRef;
  readonly endUs: number;
}

type Other = Before & Marks & Pick<ConsistencyFacts, 'replicaId'>;

/** A copy of what is asked of a write later: operations themselves are not to be kept. */
function otherOf(operation: Operation, facts: ConsistencyFacts): Other {
  const { version, replicaId, transactionId, idempotencyKey, valueDigest } = facts;
  const { service, endUs } = operation;
  return { version, service, span: spanOf(operation), endUs, replicaId, transactionId, idempotencyKey, valueDigest };
}

/** One write seen twice (two spans of one transaction, a retry under its key, a change applied on another replica) is not two. */
function isSameEffect(shared: SharedMarks, version: Version | undefined, replicaId: string, facts: ConsistencyFacts): boolean {
  if (shared.transaction === true || shared.idempotency === true) return true;
  if (version === undefined || version !== facts.version) return false;
  if (shared.digest !== undefined) return shared.digest || replicaId !== facts.replicaId;
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
