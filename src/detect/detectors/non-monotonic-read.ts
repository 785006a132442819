import { type KeyedFold, keyedDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import type { KeyedStep } from '../keyed-step.ts';
import { reportOlderRead, sessionOptions } from '../session-order.ts';
import { versionWords } from '../version-order.ts';

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
        if (!sessions.mayHaveReadNewer(step) || sessions.quietUs > retainUs) return;
        const read = facts.version;
        const { earlier } = sessions;
        const newer = sessions
          .reads()
          .find((other) => earlier.isNewerThan(other, step) && earlier.isBefore(other, step, skewUs) && !mayBeOfEarlierLife(other, step));
        if (newer === undefined) return;
        reportOlderRead(step, newer, context, report, ({ version, replica, service, object }) => ({
          facts: { first: String(version ?? ''), afterwards: String(read), firstReplica: replica, laterReplica: facts.replicaId },
          tell: () => ({
            title: `A session read ${object} backwards`,
            explanation: `One session read ${versionWords(version)} of ${object}${from(replica, service)} and later ${versionWords(read)}${from(facts.replicaId, operation.service)}.`,
          }),
        }));
      },
    };
  },
);

/** Whether what was read then may have been deleted since, so that what is read now is not older but of the next life. */
function mayBeOfEarlierLife(row: number, step: KeyedStep): boolean {
  if (step.goneUs === Number.NEGATIVE_INFINITY) return false;
  const { earlier } = step.sessions;
  const order = earlier.orderOf(row);
  if (!Number.isNaN(order)) return order <= step.goneOrder;
  // The order of opaque versions is that of this life alone.
  return step.facts.version === '' || typeof earlier.versionOf(row) !== 'string';
}

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
