import type { Operation, Version } from '../../domain/operation.ts';
import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { isWriteKind, objectWords, versionWords } from '../version-order.ts';

/** Versions remembered per object. */
const versionsMax = 128;

type State = Map<Version, Operation>;

/** One version of an object has two contents. */
export const versionFork = keyedDetector(
  {
    id: 'version-fork',
    scope: 'object',
    grades: ['proven'],
    title: 'One version, two contents',
    sentence: 'Two replicas hold the same version of an object with different contents.',
    fix: 'Let one place give out versions (the leader, a sequence), or make versions of what is written (vector clock, content hash) so that concurrent writes cannot share one.',
    needs: 'consistency.object.type, .object.key, .version, .value.digest, .replica.id',
    options: {},
    example: () => history('aa', 'bb'),
    twin: () => history('aa', 'aa'),
  },
  (_settings, context): KeyedFold<State> => ({
    start: () => new Map(),
    step(state, operation, _versions, report) {
      const facts = operation.facts;
      if (facts === undefined || operation.failed || facts.transactionOutcome !== 'committed') return;
      if (facts.version === undefined || facts.version === '' || facts.valueDigest === '') return;
      if (operation.kind !== 'read' && !isWriteKind(operation)) return;
      const first = state.get(facts.version);
      if (first === undefined) {
        if (state.size >= versionsMax) {
          const oldest = state.keys().next();
          if (oldest.done !== true) state.delete(oldest.value);
        }
        state.set(facts.version, operation);
        return;
      }
      const other = first.facts;
      if (other === undefined || other.valueDigest === facts.valueDigest || other.replicaId === facts.replicaId) return;
      const place = context.placeOf(facts.objectType, facts.domain);
      report({
        place: `${facts.objectType}\0${facts.objectKey}\0${String(facts.version)}`,
        grade: 'proven',
        atUs: operation.endUs,
        complete: true,
        spans: [spanOf(first), spanOf(operation)],
        domain: place.domainName,
        collection: place.collection ?? facts.objectType,
        objectKey: facts.objectKey,
        service: operation.service,
        facts: { version: String(facts.version), replica: other.replicaId, otherReplica: facts.replicaId },
        tell: () => ({
          title: `${objectWords(operation)} has two contents for ${versionWords(facts.version)}`,
          explanation:
            `${versionWords(facts.version)} of ${objectWords(operation)} has digest ${other.valueDigest} on ${replicaWords(other.replicaId)} (${first.service}) and ${facts.valueDigest} on ${replicaWords(facts.replicaId)} (${operation.service}): they were written apart.`.replace(
              /^v/,
              'V',
            ),
        }),
      });
    },
  }),
);

function replicaWords(replica: string): string {
  return replica === '' ? 'a replica without a name' : `replica ${replica}`;
}

function history(eu: string, us: string) {
  const object = { objectType: 'profile', objectKey: '7', version: 5n };
  return exampleOperations([
    { kind: 'write', at: 0, trace: 'a', target: 'profile', facts: { ...object, replicaId: 'eu', valueDigest: eu } },
    { kind: 'read', at: 90, trace: 'b', target: 'profile', facts: { ...object, replicaId: 'us', valueDigest: us } },
  ]);
}
