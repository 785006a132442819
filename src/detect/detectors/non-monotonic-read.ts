import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap, type ExpiringMap } from '../expiring-map.ts';
import { type Earlier, earlierOf, isBefore, sessionOf, spanOfEarlier } from '../session.ts';
import { objectWords, versionWords } from '../version-order.ts';

type State = ExpiringMap<Earlier[]>;

/** Earlier reads kept per session and object; a newer read that surely came first is among the last few. */
const readsMax = 4;

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
  (settings, context): KeyedFold<State> => ({
    start: () => createExpiringMap(settings.retainMs * 1000),
    step(state, operation, versions, report) {
      const facts = operation.facts;
      if (facts === undefined || operation.failed || facts.version === undefined) return;
      const session = sessionOf(operation);
      if (operation.kind === 'delete') {
        state.delete(session);
        return;
      }
      if (operation.kind !== 'read') return;
      const earlier = state.get(session, operation.endUs);
      if (earlier === undefined) {
        state.set(session, [earlierOf(operation)], operation.endUs);
        state.sweep(operation.endUs);
        return;
      }
      const read = facts.version;
      const newer = earlier.findLast((other) => {
        const { version } = other;
        return version !== undefined && versions.isOlder(read, version) === true && isBefore(other, operation, settings.skewMs * 1000);
      });
      // The earliest read of a version is the one that surely came before later ones.
      if (newer === undefined && earlier[earlier.length - 1]?.version === read) return;
      if (earlier.length >= readsMax) earlier.shift();
      earlier.push(earlierOf(operation));
      if (newer === undefined) return;
      const place = context.placeOf(facts.objectType, facts.domain);
      report({
        place: `${facts.objectType}\0${facts.objectKey}\0${session}`,
        grade: 'proven',
        atUs: operation.endUs,
        complete: true,
        spans: [spanOfEarlier(newer), spanOf(operation)],
        domain: place.domainName,
        collection: place.collection ?? facts.objectType,
        objectKey: facts.objectKey,
        service: operation.service,
        facts: {
          first: String(newer.version ?? ''),
          afterwards: String(read),
          firstReplica: newer.replicaId,
          laterReplica: facts.replicaId,
        },
        tell: () => ({
          title: `A session read ${objectWords(operation)} backwards`,
          explanation: `One session read ${versionWords(newer.version)} of ${objectWords(operation)}${from(newer.replicaId, newer.service)} and later ${versionWords(read)}${from(facts.replicaId, operation.service)}.`,
        }),
      });
    },
  }),
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
