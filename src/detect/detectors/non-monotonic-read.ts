import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { sessionOf } from '../session.ts';
import { objectWords, versionWords } from '../version-order.ts';

/** A session read a version, and later an older one. */
export const nonMonotonicRead = keyedDetector(
  {
    id: 'non-monotonic-read',
    scope: 'session',
    grades: ['proven'],
    title: 'Time went backwards for a reader',
    sentence: 'A session read an object and later got an older version of it.',
    fix: 'Keep a session on one replica (sticky routing), or carry the highest version read along and read elsewhere only where it has arrived.',
    needs: 'consistency.object.type, .object.key, .version (and .session.id across traces)',
    options: {
      skewMs: { is: 'number', unit: 'ms', default: 100, min: 0, max: 60_000, says: 'How far the clocks of two services may differ.' },
      retainMs: {
        is: 'number',
        unit: 'ms',
        default: 600_000,
        min: 1000,
        max: 86_400_000,
        says: 'How long a session is remembered after it last touched the object.',
      },
    },
    example: () => history(4n),
    twin: () => history(5n),
  },
  (settings, context): KeyedFold => {
    const skewUs = settings.skewMs * 1000;
    const retainUs = settings.retainMs * 1000;
    return {
      bytes: () => 0,
      step(step, report) {
        const { operation, facts, sessions } = step;
        if (operation.kind !== 'read' || operation.failed || facts.version === undefined) return;
        if (!sessions.mayHaveReadNewer(step) || sessions.quietUs > retainUs) return;
        const read = facts.version;
        const { earlier } = sessions;
        const newer = sessions.reads().find((other) => earlier.isNewerThan(other, step) && earlier.isBefore(other, step, skewUs));
        if (newer === undefined) return;
        const version = earlier.versionOf(newer);
        const replica = earlier.replicaOf(newer);
        const service = earlier.serviceOf(newer);
        const place = context.placeOf(facts.objectType, facts.domain);
        report({
          place: `${facts.objectType}\0${facts.objectKey}\0${sessionOf(operation)}`,
          grade: 'proven',
          atUs: operation.endUs,
          complete: true,
          spans: [earlier.spanOf(newer), spanOf(operation)],
          domain: place.domainName,
          collection: place.collection ?? facts.objectType,
          objectKey: facts.objectKey,
          service: operation.service,
          facts: {
            first: String(version ?? ''),
            afterwards: String(read),
            firstReplica: replica,
            laterReplica: facts.replicaId,
          },
          tell: () => ({
            title: `A session read ${objectWords(operation)} backwards`,
            explanation: `One session read ${versionWords(version)} of ${objectWords(operation)}${from(replica, service)} and later ${versionWords(read)}${from(facts.replicaId, operation.service)}.`,
          }),
        });
      },
    };
  },
);

function from(replica: string, service: string): string {
  return replica === '' ? ` in ${service}` : ` from replica ${replica}`;
}

function history(second: bigint) {
  const object = { objectType: 'profile', objectKey: '7', sessionId: 'ada' };
  return exampleOperations([
    { kind: 'read', at: 0, trace: 'a', target: 'profile', facts: { ...object, version: 5n, replicaId: 'eu' } },
    { kind: 'read', at: 30, trace: 'b', target: 'profile', facts: { ...object, version: second, replicaId: 'us' } },
  ]);
}
