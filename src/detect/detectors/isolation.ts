import { historyDetector, type Report } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { findCycles } from '../isolation-cycles.ts';
import { createIsolationHistory } from '../isolation-history.ts';
import { createWords } from '../isolation-words.ts';

/** A search goes over what is new and what it leads to, which is cheapest while it is still in the processor's cache. */
const transactionsPerRound = 512;

/** Dependency cycles among transactions, with the smallest cycle in words. */
export const isolation = historyDetector(
  {
    id: 'isolation',
    scope: 'history',
    grades: ['proven'],
    title: 'Isolation violated',
    sentence: 'Transactions observed each other in a way that no order of them explains.',
    fix: 'Raise the isolation level of the transactions involved, or lock what they read before they write.',
    needs: 'consistency.object.type, .object.key, .version, .version.base, .transaction.id, .transaction.outcome',
    options: {
      windowMs: {
        is: 'number',
        unit: 'ms',
        default: 60_000,
        min: 100,
        max: 3_600_000,
        says: 'How long a transaction can still be part of a cycle.',
      },
      roundMs: { is: 'number', unit: 'ms', default: 500, min: 10, max: 60_000, says: 'Event time between two searches for cycles.' },
      keep: {
        is: 'number',
        unit: 'count',
        default: 50_000,
        min: 100,
        max: 5_000_000,
        says: 'Transactions remembered at most, some 500 bytes each.',
      },
    },
    example: () => writeSkew(false),
    twin: () => writeSkew(true),
  },
  (settings, context) => {
    const history = createIsolationHistory();
    const words = createWords(history.tables);
    const windowUs = settings.windowMs * 1000;
    const roundUs = settings.roundMs * 1000;
    let round = 0;
    let roundEndUs = Number.POSITIVE_INFINITY;

    const search = (atUs: number, report: Report): void => {
      if (history.news().length > 0) {
        for (const aberration of history.aberrations()) report(words.findingOfAberration(aberration, context));
        round += 1;
        for (const cycle of findCycles(history.tables, history.news(), round)) report(words.findingOfCycle(cycle, context));
      }
      history.forget(atUs - windowUs, settings.keep);
    };

    return {
      comeNear: (operations, from, to) => history.comeNear(operations, from, to),
      step(operation, report) {
        const facts = operation.facts;
        if (facts === undefined || (facts.version === undefined && operation.kind !== 'delete')) return;
        if (roundEndUs === Number.POSITIVE_INFINITY) roundEndUs = (Math.floor(operation.endUs / roundUs) + 1) * roundUs;
        // Rounds end on a grid of event time, or after a number of transactions in order of ends: how input is cut changes neither.
        if (operation.endUs >= roundEndUs || history.news().length >= transactionsPerRound) {
          search(Math.min(operation.endUs, roundEndUs), report);
          roundEndUs = (Math.floor(operation.endUs / roundUs) + 1) * roundUs;
        }
        history.step(operation);
      },
      advance(atUs, report) {
        if (atUs < roundEndUs || atUs === Number.POSITIVE_INFINITY || history.news().length === 0) return;
        search(roundEndUs, report);
        roundEndUs = Number.POSITIVE_INFINITY;
      },
      finish(atUs, report) {
        history.judgeAll();
        search(atUs, report);
      },
      size: () => history.size,
      unordered: () => history.unordered,
    };
  },
);

function writeSkew(isSerial: boolean) {
  const doctor = (trace: string, at: number, own: string, other: string, seen: bigint) => [
    {
      kind: 'read' as const,
      trace,
      at,
      service: 'roster',
      facts: { objectType: 'doctor', objectKey: own, version: 1n, transactionId: trace },
    },
    {
      kind: 'read' as const,
      trace,
      at: at + 3,
      service: 'roster',
      facts: { objectType: 'doctor', objectKey: other, version: seen, transactionId: trace },
    },
    {
      kind: 'write' as const,
      trace,
      at: at + 9,
      service: 'roster',
      facts: { objectType: 'doctor', objectKey: own, version: 2n, versionBase: 1n, transactionId: trace },
    },
  ];
  return exampleOperations(
    [...doctor('alice', 0, 'alice', 'bob', 1n), ...doctor('bob', isSerial ? 40 : 1, 'bob', 'alice', isSerial ? 2n : 1n)].map((step, i) => ({
      ...step,
      span: `s${i}`,
    })),
  );
}
