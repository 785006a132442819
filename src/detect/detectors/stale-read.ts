import { type Finding, type KeyedFold, keyedDetector, spanOf } from '../detector.ts';
import { noRecord } from '../earlier-operations.ts';
import { exampleOperations } from '../example.ts';
import { durationWords } from '../findings.ts';
import type { KeyedStep } from '../keyed-step.ts';
import { ObjectRecords } from '../object-records.ts';
import { objectWords, versionWords } from '../version-order.ts';

/** Writes remembered per object; a read that is older than all of them is judged by the oldest. */
const writesMax = 64;
/** Newer writes that a read is held against, one after the other where one was not committed. */
const newerMax = 4;

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
  (settings, context): KeyedFold => {
    const writes = new ObjectRecords(writesMax);
    const { earlier } = writes;
    /** By object: its newest committed version as a number (-Infinity: none, Infinity: some are not numbers). */
    let newest = new Float64Array(1024).fill(Number.NEGATIVE_INFINITY);
    const skewUs = settings.leaderBudgetMs * 1000;

    const noteWrite = (step: KeyedStep): void => {
      const { object, facts, order } = step;
      while (object >= newest.length) {
        const longer = new Float64Array(newest.length * 2).fill(Number.NEGATIVE_INFINITY);
        longer.set(newest);
        newest = longer;
      }
      if (step.operation.kind === 'delete') return;
      if (facts.version === undefined || facts.version === '') return;
      const isMade = facts.versionBase === '';
      // It was committed before the delete, though its span ended later.
      if (!isMade && step.operation.startUs <= step.goneUs) return;
      let known = newest[object] as number;
      if (isMade && order < known && step.goneOrder >= known) {
        writes.forget(object);
        known = Number.NEGATIVE_INFINITY;
      }
      if (!(order > known)) {
        // The same on another replica is the same write; on the same one it was tried again.
        for (let row = writes.oldest(object); row !== noRecord; row = earlier.nextOf(row))
          if (
            earlier.isSameVersion(row, step) &&
            (earlier.replicaOf(row) !== facts.replicaId || earlier.spanOf(row).traceId === step.operation.traceId)
          )
            return;
      }
      newest[object] = Number.isNaN(order) ? Number.POSITIVE_INFINITY : Math.max(known, order);
      writes.push(step);
    };

    return {
      bytes: () => writes.bytes + newest.byteLength,
      forget(object) {
        writes.forget(object);
        newest[object] = Number.NEGATIVE_INFINITY;
      },
      step(step, report) {
        const { operation, facts, object } = step;
        if (operation.failed) return;
        if (step.isCommittedWrite) {
          noteWrite(step);
          return;
        }
        if (operation.kind !== 'read' || facts.version === undefined) return;
        // Most reads return the newest version.
        const known = newest[object] ?? Number.NEGATIVE_INFINITY;
        if (known === Number.NEGATIVE_INFINITY || step.order >= known) return;
        const read = facts.version;
        // Old, or of a life that began unseen.
        if (step.isGone) return;
        const place = context.placeOf(facts.objectType, facts.domain);
        const isFollower = facts.replicaRole === 'follower' || facts.replicaRole === 'cache' || facts.replicaRole === 'peer';
        const budgetUs =
          place.domain === undefined
            ? (isFollower ? settings.followerBudgetMs : settings.leaderBudgetMs) * 1000
            : Math.max(skewUs, place.domain.consistency === 'strict' ? 0 : place.domain.stalenessMs * 1000);
        const where = facts.replicaId === '' ? '' : ` on replica ${facts.replicaId}`;
        const findingOf = (row: number, otherwise: Finding | undefined): Finding => {
          const ageUs = operation.startUs - earlier.endUsOf(row);
          const newer = { version: earlier.versionOf(row), service: earlier.serviceOf(row), span: earlier.spanOf(row) };
          return {
            place: `${facts.objectType}\0${facts.objectKey}`,
            grade: 'proven',
            atUs: operation.endUs,
            complete: true,
            spans: [spanOf(operation), newer.span],
            restsOn: [{ span: newer.span, endUs: earlier.endUsOf(row), byUs: operation.startUs - budgetUs }],
            otherwise,
            domain: place.domainName,
            collection: place.collection ?? facts.objectType,
            objectKey: facts.objectKey,
            service: operation.service,
            facts: {
              ageMs: Math.round(ageUs / 1000),
              budgetMs: budgetUs / 1000,
              readVersion: String(read),
              newerVersion: String(newer.version ?? ''),
              replica: facts.replicaId,
            },
            tell: () => ({
              title: `${operation.service} read ${objectWords(operation)} ${durationWords(ageUs)} out of date`,
              explanation: `${operation.service} read ${objectWords(operation)}${where} and got ${versionWords(read)}, but ${newer.service} had committed ${versionWords(newer.version)} ${durationWords(ageUs)} before the read began; the budget is ${durationWords(budgetUs)}.`,
            }),
          };
        };
        // In order of commits: the first that the read should have seen is the one that replaced what it returned, if it was committed.
        const newer: number[] = [];
        for (let row = writes.oldest(object); row !== noRecord && newer.length < newerMax; row = earlier.nextOf(row)) {
          if (Math.max(earlier.endUsOf(row) + budgetUs, earlier.endedByUs(row)) >= operation.startUs) break;
          if (earlier.isNewerThan(row, step) && earlier.endUsOf(row) > step.goneUs) newer.push(row);
        }
        const finding = newer.reduceRight<Finding | undefined>((otherwise, row) => findingOf(row, otherwise), undefined);
        if (finding !== undefined) report(finding);
      },
    };
  },
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
