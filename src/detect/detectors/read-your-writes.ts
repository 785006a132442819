import { type KeyedFold, keyedDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { durationWords } from '../findings.ts';
import { reportOlderRead, sessionOptions } from '../session-order.ts';
import { versionWords } from '../version-order.ts';

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
    options: sessionOptions,
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
        if (facts.version === undefined) return;
        if (!sessions.mayHaveWrittenNewer(step) || sessions.quietUs > retainUs) return;
        const read = facts.version;
        const { earlier } = sessions;
        // The newest own write that ended before decides; after a delete, absence is right and an old version cannot be judged by number.
        const last = sessions.writes().find((write) => earlier.isBefore(write, step, skewUs));
        if (last === undefined || earlier.isDelete(last) || !earlier.isNewerThan(last, step)) return;
        // Deleted since: what is there now, or that nothing is, does not descend from that write.
        if (earlier.endUsOf(last) <= step.goneUs + skewUs) return;
        const agoUs = operation.startUs - earlier.endUsOf(last);
        reportOlderRead(step, last, context, report, ({ version, replica, service, object }) => ({
          restsOn: [{ span: earlier.spanOf(last), endUs: earlier.endUsOf(last), byUs: operation.startUs }],
          facts: { wrote: String(version ?? ''), read: String(read), replica: facts.replicaId, afterMs: Math.round(agoUs / 1000) },
          tell: () => ({
            title: `A session did not read its own write of ${object}`,
            explanation: `The session had committed ${versionWords(version)} of ${object} in ${service}${replica === '' ? '' : ` on replica ${replica}`}; ${durationWords(Math.max(0, agoUs))} later ${operation.service} read it for the same session${facts.replicaId === '' ? '' : ` from replica ${facts.replicaId}`} and got ${versionWords(read)}.`,
          }),
        }));
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
