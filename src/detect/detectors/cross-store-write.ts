import type { Operation } from '../../domain/operation.ts';
import { isCachedCopy } from '../cached-copy.ts';
import { grainUs } from '../causality.ts';
import { spanOf, traceDetector } from '../detector.ts';
import { exampleOperations, type Step } from '../example.ts';
import { storeOf, storeWords, targetOf, unitWords } from '../trace-view.ts';
import { hasTwoPhaseCommit, type WriteOutcome, writeOutcomes } from '../write-outcome.ts';

/** Two stores changed in one unit of work, with nothing that makes both or neither happen. */
export const crossStoreWrite = traceDetector(
  {
    id: 'cross-store-write',
    scope: 'trace',
    concerns: ['writes'],
    grades: ['structural'],
    title: 'Write across two stores',
    sentence:
      'A service writes two stores in one unit of work without two-phase commit or an outbox: a crash between them leaves them apart.',
    fix: 'Make one store the truth and derive the other from it: an outbox row or change data capture in the first, a consumer that applies it to the second.',
    needs: 'nothing',
    options: {},
    example: () => order('both'),
    twin: () => order('outbox'),
  },
  (_options, context) => ({
    mayConcern: (trace) => trace.units.some(({ writes }) => writes.some((write) => storeOf(write) !== storeOf(writes[0] as Operation))),
    inspect(trace, report) {
      if (!trace.hasWrites) return;
      for (const unit of trace.units) {
        if (unit.writes.length < 2) continue;
        const first = unit.writes[0] as Operation;
        const firstStore = storeOf(first);
        if (unit.writes.every((write) => storeOf(write) === firstStore) || hasTwoPhaseCommit(unit)) continue;
        if (
          unit.writes.some(
            (write) =>
              context.learned.isOutbox(targetOf(write)) ||
              (write.facts !== undefined && (write.facts.outboxId !== '' || write.facts.sagaId !== '')),
          )
        )
          continue;
        const byStore = new Map<string, Operation>();
        const outcomes = writeOutcomes(unit);
        for (const { write, is } of outcomes) {
          if (is === 'aborted' || isCachedCopy(write) || byStore.has(storeOf(write))) continue;
          byStore.set(storeOf(write), write);
        }
        const [one, other] = [...byStore.values()];
        const two = other ?? lostBeside(one, outcomes);
        if (one === undefined || two === undefined || mayBeOneStore(one, two)) continue;
        // The order in the code may vary with timing; the place is the pair.
        const names = [`${storeWords(one)}\0${targetOf(one)}`, `${storeWords(two)}\0${targetOf(two)}`].toSorted();
        const place = context.placeOf(targetOf(one), one.facts?.domain ?? '');
        report({
          place: `${unit.service}\0${names.join('\0')}`,
          grade: 'structural',
          atUs: two.endUs,
          complete: unit.complete,
          spans: [spanOf(one), spanOf(two)],
          writes: [one, two],
          domain: place.domainName,
          collection: place.collection ?? targetOf(one),
          service: unit.service,
          facts: {
            service: unit.service,
            first: storeWords(one),
            firstTable: targetOf(one),
            second: storeWords(two),
            secondTable: targetOf(two),
          },
          tell: () => ({
            title: `${unit.service} writes ${where(one)} and ${where(two)} without anything that ties them`,
            explanation: two.failed
              ? `In one unit of work ${unitWords(unit)} wrote ${where(one)}, and then its write of ${where(two)} failed: one store has the change and the other has not. No two-phase commit and no outbox row were seen.`
              : `In one unit of work ${unitWords(unit)} writes ${where(one)} and then ${where(two)}. No two-phase commit and no outbox row were seen: if it stops in between, one store has the change and the other has not.`,
          }),
        });
      }
    },
  }),
);

/** A refusal that says the row is there already: an earlier attempt got through. */
const isThere = /^(23505|11000|409|conflict)$|duplicate|already.?exists|version.?conflict/i;

/** The only store that was written, and a later write of another that failed with nothing that took the first back: what is feared, seen. */
function lostBeside(one: Operation | undefined, outcomes: readonly WriteOutcome[]): Operation | undefined {
  if (one === undefined || !outcomes.some(({ write, is }) => write === one && is === 'committed')) return undefined;
  const lost = outcomes.find(
    ({ write }) =>
      write.failed &&
      !isCachedCopy(write) &&
      storeOf(write) !== storeOf(one) &&
      write.startUs >= one.endUs - grainUs &&
      !isThere.test(write.sqlState) &&
      !isThere.test(write.errorType),
  );
  const isTakenBack = outcomes.some(
    ({ write }) =>
      lost !== undefined &&
      write.startUs >= lost.write.startUs &&
      storeOf(write) === storeOf(one) &&
      targetOf(write) === targetOf(one) &&
      write !== one,
  );
  return isTakenBack ? undefined : lost?.write;
}

/** Without hosts, two names of one system may be schemas of one server: that is not known to be two stores. */
function mayBeOneStore(a: Operation, b: Operation): boolean {
  if (a.system !== b.system) return false;
  return a.host === b.host && (a.namespace === '' || b.namespace === '' || a.system === 'mysql' || a.system === 'mariadb');
}

function where(write: Operation): string {
  const table = targetOf(write);
  return table === '' ? storeWords(write) : `\`${table}\` in ${storeWords(write)}`;
}

function order(how: 'both' | 'outbox') {
  const steps: Step[] = [
    { kind: 'request', span: 'root', at: 0, lasts: 40, target: 'POST /orders' },
    { kind: 'append', parent: 'root', at: 5, target: 'orders', host: 'pg-1' },
  ];
  if (how === 'both') steps.push({ kind: 'append', parent: 'root', at: 10, target: 'order_search', system: 'elasticsearch', host: 'es-1' });
  else steps.push({ kind: 'append', parent: 'root', at: 10, target: 'outbox', host: 'pg-1' });
  return exampleOperations(steps);
}
