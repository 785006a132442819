import type { Version } from '../../domain/operation.ts';
import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap, type ExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { type Earlier, earlierOf, isBefore, sessionOf, spanOfEarlier } from '../session.ts';
import { isCommittedWrite, objectWords, type VersionOrder, versionWords } from '../version-order.ts';

type State = ExpiringMap<Earlier[]>;

/** Own writes kept per session and object: those that no other of them has overtaken. */
const ownWritesMax = 4;

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
  (settings, context): KeyedFold<State> => ({
    start: () => createExpiringMap(settings.retainMs * 1000),
    step(state, operation, versions, report) {
      const facts = operation.facts;
      if (facts === undefined || operation.failed) return;
      const session = sessionOf(operation);
      if (isCommittedWrite(operation)) {
        if (facts.version === undefined && operation.kind !== 'delete') return;
        const own = state.get(session, operation.endUs);
        if (own === undefined) state.set(session, [earlierOf(operation)], operation.endUs);
        else {
          if (own.length >= ownWritesMax) own.shift();
          own.push(earlierOf(operation));
        }
        state.sweep(operation.endUs);
        return;
      }
      if (operation.kind !== 'read' || facts.version === undefined) return;
      const own = state.get(session, operation.endUs);
      if (own === undefined) return;
      const read = facts.version;
      // The newest own write that ended before decides; after a delete, absence is right and an old version cannot be judged by number.
      const last = own.findLast((write) => isBefore(write, operation, settings.skewMs * 1000));
      if (last === undefined || !isUnread(last, read, versions)) return;
      const place = context.placeOf(facts.objectType, facts.domain);
      const agoUs = operation.startUs - last.endUs;
      report({
        place: `${facts.objectType}\0${facts.objectKey}\0${session}`,
        grade: 'proven',
        atUs: operation.endUs,
        complete: true,
        spans: [spanOfEarlier(last), spanOf(operation)],
        domain: place.domainName,
        collection: place.collection ?? facts.objectType,
        objectKey: facts.objectKey,
        service: operation.service,
        facts: {
          wrote: String(last.version ?? ''),
          read: String(read),
          replica: facts.replicaId,
          afterMs: Math.round(agoUs / 1000),
        },
        tell: () => ({
          title: `A session did not read its own write of ${objectWords(operation)}`,
          explanation: `The session had committed ${versionWords(last.version)} of ${objectWords(operation)} in ${last.service}${last.replicaId ? ` on replica ${last.replicaId}` : ''}; ${durationWords(Math.max(0, agoUs))} later ${operation.service} read it for the same session${facts.replicaId === '' ? '' : ` from replica ${facts.replicaId}`} and got ${versionWords(read)}.`,
        }),
      });
    },
  }),
);

function isUnread(write: Earlier, read: Version, versions: VersionOrder): boolean {
  if (write.isDelete || write.version === undefined) return false;
  return versions.isOlder(read, write.version) === true;
}

function history(read: bigint) {
  const object = { objectType: 'profile', objectKey: '7', sessionId: 'ada' };
  return exampleOperations([
    { kind: 'write', at: 0, trace: 'a', target: 'profile', facts: { ...object, version: 5n, versionBase: 4n, replicaId: 'eu' } },
    { kind: 'read', at: 30, trace: 'b', target: 'profile', facts: { ...object, version: read, replicaId: 'us' } },
  ]);
}
