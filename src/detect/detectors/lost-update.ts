import type { Operation, Version } from '../../domain/operation.ts';
import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { isCommittedWrite, objectWords, versionWords } from '../version-order.ts';

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
  (_settings, context): KeyedFold<Map<Version, Operation>> => ({
    start: () => new Map(),
    step(state, operation, _versions, report) {
      const facts = operation.facts;
      if (facts === undefined || facts.versionBase === undefined || !isCommittedWrite(operation)) return;
      if (facts.version !== undefined && facts.version === facts.versionBase) return;
      const base = facts.versionBase;
      const first = state.get(base);
      if (first === undefined) {
        if (state.size >= basesMax) {
          const oldest = state.keys().next();
          if (oldest.done !== true) state.delete(oldest.value);
        }
        state.set(base, operation);
        return;
      }
      if (isSameEffect(first, operation)) return;
      const place = context.placeOf(facts.objectType, facts.domain);
      report({
        place: `${facts.objectType}\0${facts.objectKey}\0${String(base)}`,
        grade: 'proven',
        atUs: operation.endUs,
        complete: true,
        spans: [spanOf(first), spanOf(operation)],
        domain: place.domainName,
        collection: place.collection ?? facts.objectType,
        objectKey: facts.objectKey,
        service: operation.service,
        facts: { base: String(base), firstVersion: String(first.facts?.version ?? ''), secondVersion: String(facts.version ?? '') },
        tell: () => ({
          title: `Two writes to ${objectWords(operation)} from one version`,
          explanation: `${first.service} wrote ${objectWords(operation)} as ${versionWords(first.facts?.version)} from ${base === '' ? 'nothing' : versionWords(base)}, and ${operation.service} wrote it as ${versionWords(facts.version)} from the same: whichever came second was computed without the other and replaced it. Both committed.`,
        }),
      });
    },
  }),
);

/** One write seen twice (two spans of one transaction, a retry under its key, a change applied on another replica) is not two. */
function isSameEffect(a: Operation, b: Operation): boolean {
  if (a.traceId === b.traceId && a.spanId === b.spanId) return true;
  const factsA = a.facts;
  const factsB = b.facts;
  if (factsA === undefined || factsB === undefined) return false;
  if (factsA.transactionId !== '' && factsA.transactionId === factsB.transactionId) return true;
  if (factsA.idempotencyKey !== '' && factsA.idempotencyKey === factsB.idempotencyKey) return true;
  if (factsA.version === undefined || factsA.version !== factsB.version) return false;
  if (factsA.valueDigest !== '' && factsB.valueDigest !== '')
    return factsA.valueDigest === factsB.valueDigest || factsA.replicaId !== factsB.replicaId;
  return factsA.replicaId !== factsB.replicaId || (factsA.version !== '' && typeof factsA.version === 'string');
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
