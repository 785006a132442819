import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { durationWords } from '../findings.ts';
import { sessionOf } from '../session.ts';
import { objectWords, versionWords } from '../version-order.ts';

/** A session read a version older than what it had written itself. */
export const readYourWrites = keyedDetector(
  {
    id: 'read-your-writes',
    scope: 'session',
    grades: ['proven'],
    title: 'Own write not read',
    sentence: 'A session read an object and got a version from before its own committed write.',
    fix: 'Send reads that follow a write of the same session to the leader for as long as the lag lasts, or carry the written version along and wait for it at the replica.',
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
        if (!sessions.mayHaveWrittenNewer(step) || sessions.quietUs > retainUs) return;
        const read = facts.version;
        const { earlier } = sessions;
        // The newest own write that ended before decides; after a delete, absence is right and an old version cannot be judged by number.
        const last = sessions.writes().find((write) => earlier.isBefore(write, step, skewUs));
        if (last === undefined || earlier.isDelete(last) || !earlier.isNewerThan(last, step)) return;
        const version = earlier.versionOf(last);
        const replica = earlier.replicaOf(last);
        const service = earlier.serviceOf(last);
        const place = context.placeOf(facts.objectType, facts.domain);
        const agoUs = operation.startUs - earlier.endUsOf(last);
        report({
          place: `${facts.objectType}\0${facts.objectKey}\0${sessionOf(operation)}`,
          grade: 'proven',
          atUs: operation.endUs,
          complete: true,
          spans: [earlier.spanOf(last), spanOf(operation)],
          domain: place.domainName,
          collection: place.collection ?? facts.objectType,
          objectKey: facts.objectKey,
          service: operation.service,
          facts: {
            wrote: String(version ?? ''),
            read: String(read),
            replica: facts.replicaId,
            afterMs: Math.round(agoUs / 1000),
          },
          tell: () => ({
            title: `A session did not read its own write of ${objectWords(operation)}`,
            explanation: `The session had committed ${versionWords(version)} of ${objectWords(operation)} in ${service}${replica === '' ? '' : ` on replica ${replica}`}; ${durationWords(Math.max(0, agoUs))} later ${operation.service} read it for the same session${facts.replicaId === '' ? '' : ` from replica ${facts.replicaId}`} and got ${versionWords(read)}.`,
          }),
        });
      },
    };
  },
);

function history(read: bigint) {
  const object = { objectType: 'profile', objectKey: '7', sessionId: 'ada' };
  return exampleOperations([
    { kind: 'write', at: 0, trace: 'a', target: 'profile', facts: { ...object, version: 5n, versionBase: 4n, replicaId: 'eu' } },
    { kind: 'read', at: 30, trace: 'b', target: 'profile', facts: { ...object, version: read, replicaId: 'us' } },
  ]);
}
