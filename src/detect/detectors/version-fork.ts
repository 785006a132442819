import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { noRecord } from '../earlier-operations.ts';
import { exampleOperations } from '../example.ts';
import { VersionRecords } from '../object-records.ts';
import { objectWords, versionWords } from '../version-order.ts';

/** Versions remembered per object. */
const versionsMax = 128;

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
  (_settings, context): KeyedFold => {
    const digests = new Map<number, string>();
    const seen = new VersionRecords(versionsMax, (row) => digests.delete(row));
    const { earlier } = seen.records;
    return {
      // A digest of 32 characters and its place in the map take some 120 bytes.
      bytes: () => seen.bytes + digests.size * 120,
      forget: (object) => seen.forget(object),
      step(step, report) {
        const { operation, facts } = step;
        if (operation.failed || facts.transactionOutcome !== 'committed') return;
        if (facts.version === undefined || facts.version === '' || facts.valueDigest === '') return;
        if (operation.kind !== 'read' && !step.isWrite) return;
        // What was deleted and made again may count its versions anew.
        if (step.order <= step.goneOrder) return;
        const first = seen.find(step, facts.version);
        if (first === noRecord) {
          digests.set(seen.keep(step), facts.valueDigest);
          return;
        }
        const digest = digests.get(first) ?? '';
        const replica = earlier.replicaOf(first);
        if (digest === facts.valueDigest || replica === facts.replicaId) return;
        const service = earlier.serviceOf(first);
        const place = context.placeOf(facts.objectType, facts.domain);
        report({
          place: `${facts.objectType}\0${facts.objectKey}\0${String(facts.version)}`,
          grade: 'proven',
          atUs: operation.endUs,
          complete: true,
          spans: [earlier.spanOf(first), spanOf(operation)],
          domain: place.domainName,
          collection: place.collection ?? facts.objectType,
          objectKey: facts.objectKey,
          service: operation.service,
          facts: { version: String(facts.version), replica: replica, otherReplica: facts.replicaId },
          tell: () => ({
            title: `${objectWords(operation)} has two contents for ${versionWords(facts.version)}`,
            explanation:
              `${versionWords(facts.version)} of ${objectWords(operation)} has digest ${digest} on ${replicaWords(replica)} (${service}) and ${facts.valueDigest} on ${replicaWords(facts.replicaId)} (${operation.service}): they were written apart.`.replace(
                /^v/,
                'V',
              ),
          }),
        });
      },
    };
  },
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
