import type { Operation, Version } from '../../domain/operation.ts';
import { type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { durationWords } from '../findings.ts';
import { isCommittedWrite, objectWords, versionWords } from '../version-order.ts';

interface State {
  /** Committed versions in the order in which they were first committed. */
  readonly writes: { readonly version: Version; readonly base: Version | undefined; readonly write: Operation }[];
  lastDelete: Operation | undefined;
}

/** Writes remembered per object; a read that is older than all of them is judged by the oldest. */
const writesMax = 64;

const options = {
  leaderBudgetMs: {
    is: 'number',
    unit: 'ms',
    default: 100,
    min: 0,
    max: 3_600_000,
    says: 'How old a read may be in an undeclared domain at a leader or a replica without a role; covers clock skew.',
  },
  followerBudgetMs: {
    is: 'number',
    unit: 'ms',
    default: 1000,
    min: 0,
    max: 3_600_000,
    says: 'How old a read may be in an undeclared domain at a follower, peer or cache.',
  },
} as const;

/** A read that returned a version which a newer committed one had replaced for longer than the domain's staleness budget. */
export const staleRead = keyedDetector(
  {
    id: 'stale-read',
    scope: 'object',
    grades: ['proven'],
    title: 'Stale read',
    sentence: 'A read returned a version that had been replaced for longer than its domain allows.',
    fix: 'Read from the leader, or wait until the replica has reached the needed version (read-your-writes token, causal read), or give the domain a larger staleness budget if readers can live with it.',
    needs: 'consistency.object.type, .object.key, .version',
    options,
    example: () => history(3000),
    twin: () => history(40),
  },
  (settings, context): KeyedFold<State> => ({
    start: () => ({ writes: [], lastDelete: undefined }),
    step(state, operation, versions, report) {
      const facts = operation.facts;
      if (facts === undefined || operation.failed) return;
      if (isCommittedWrite(operation)) {
        if (operation.kind === 'delete') state.lastDelete = operation;
        else if (facts.version !== undefined && facts.version !== '' && !state.writes.some((seen) => seen.version === facts.version)) {
          if (state.writes.length >= writesMax) state.writes.shift();
          state.writes.push({ version: facts.version, base: facts.versionBase, write: operation });
        }
        return;
      }
      if (operation.kind !== 'read' || facts.version === undefined) return;
      const read = facts.version;
      if (state.lastDelete !== undefined && (read === '' || typeof read === 'string')) return;
      const place = context.placeOf(facts.objectType, facts.domain);
      const isFollower = facts.replicaRole === 'follower' || facts.replicaRole === 'cache' || facts.replicaRole === 'peer';
      const skewUs = settings.leaderBudgetMs * 1000;
      const budgetUs =
        place.domain === undefined
          ? (isFollower ? settings.followerBudgetMs : settings.leaderBudgetMs) * 1000
          : Math.max(skewUs, place.domain.consistency === 'strict' ? 0 : place.domain.stalenessMs * 1000);
      for (const newer of state.writes) {
        // In order of commits: the first that the read should have seen is the one that replaced what it returned.
        if (newer.write.endUs + budgetUs >= operation.startUs) return;
        if (versions.isOlder(read, newer.version) !== true) continue;
        const ageUs = operation.startUs - newer.write.endUs;
        const where = facts.replicaId === '' ? '' : ` on replica ${facts.replicaId}`;
        report({
          place: `${facts.objectType}\0${facts.objectKey}`,
          grade: 'proven',
          atUs: operation.endUs,
          complete: true,
          spans: [spanOf(operation), spanOf(newer.write)],
          domain: place.domainName,
          collection: place.collection ?? facts.objectType,
          objectKey: facts.objectKey,
          service: operation.service,
          facts: {
            ageMs: Math.round(ageUs / 1000),
            budgetMs: budgetUs / 1000,
            readVersion: String(read),
            newerVersion: String(newer.version),
            replica: facts.replicaId,
          },
          tell: () => ({
            title: `${operation.service} read ${objectWords(operation)} ${durationWords(ageUs)} out of date`,
            explanation: `${operation.service} read ${objectWords(operation)}${where} and got ${versionWords(read)}, but ${newer.write.service} had committed ${versionWords(newer.version)} ${durationWords(ageUs)} before the read began; the budget is ${durationWords(budgetUs)}.`,
          }),
        });
        return;
      }
    },
  }),
);

function history(readAt: number) {
  const object = { objectType: 'profile', objectKey: '7' };
  return exampleOperations([
    { kind: 'write', at: 0, trace: 'a', service: 'accounts', target: 'profile', facts: { ...object, version: 4n, versionBase: 3n } },
    { kind: 'write', at: 10, trace: 'b', service: 'accounts', target: 'profile', facts: { ...object, version: 5n, versionBase: 4n } },
    {
      kind: 'read',
      at: readAt,
      trace: 'c',
      service: 'web',
      target: 'profile',
      facts: { ...object, version: 4n, replicaId: 'us', replicaRole: 'follower' },
    },
  ]);
}
