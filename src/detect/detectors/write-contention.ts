import type { Operation } from '../../domain/operation.ts';
import { spanOf, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { keyOf, targetOf, type Unit } from '../trace-view.ts';

const conflicts: Readonly<Record<string, string>> = {
  '40001': 'serialization failure',
  '40P01': 'deadlock',
  '55P03': 'lock timeout',
};

/** Exceptions of drivers and stores that give no SQLSTATE, lower case. */
const conflictNames: readonly (readonly [RegExp, string])[] = [
  [/deadlock/, 'deadlock'],
  [/lock_?\s?(wait_?\s?)?timeout|lock_?not_?available|cannotacquirelock|pessimisticlock/, 'lock timeout'],
  [
    /writeconflict|serialization_?(failure|exception)|couldnotserialize|transactionretry|conditionalcheckfailed|transactioncanceled|transactionconflict/,
    'serialization failure',
  ],
  [/optimisticlock|staleobjectstate|stale_?object|versionconflict|version_conflict/, 'optimistic lock failure'],
];

/** The store itself said that two transactions were in each other's way. */
export const writeContention = traceDetector(
  {
    id: 'write-contention',
    scope: 'trace',
    concerns: ['failures'],
    grades: ['proven'],
    title: 'Write contention',
    sentence: 'Transactions on the same rows abort or wait for each other: serialization failures, deadlocks, lock timeouts.',
    fix: 'Touch rows in one order, keep transactions short and free of calls, spread the hot row (salted counters, append then sum) or take its lock first; retry with backoff.',
    needs: 'nothing',
    options: {},
    example: () => transfer('40P01'),
    twin: () => transfer(''),
  },
  (_options, context) => ({
    inspect(trace, report) {
      if (!trace.hasFailures) return;
      for (let i = 0; i < trace.operations.length; i += 1) {
        const operation = trace.operations[i] as Operation;
        if (!operation.failed) continue;
        const conflict = conflictOf(operation);
        if (conflict === undefined) continue;
        const unit = trace.unitOf[i] as Unit;
        // An exception recorded again on the spans around the statement is the same conflict.
        if (
          operation.system === '' &&
          trace.operations.some((other) => other.system !== '' && other.failed && conflictOf(other) !== undefined)
        )
          continue;
        const table = tableOf(operation, unit);
        const key = keyOf(operation);
        const place = context.placeOf(table, operation.facts?.domain ?? '');
        report({
          place: `${operation.service}\0${table}\0${key}\0${conflict}`,
          grade: 'proven',
          atUs: operation.endUs,
          complete: unit.complete,
          spans: [spanOf(operation)],
          domain: place.domainName,
          collection: place.collection ?? table,
          objectKey: key,
          service: operation.service,
          facts: { table, conflict, sqlState: operation.sqlState, waitedMs: Math.round((operation.endUs - operation.startUs) / 1000) },
          tell: () => ({
            title: `${operation.service} runs into ${conflict}s on ${table === '' ? operation.system : `\`${table}\``}${key === '' ? '' : ` (key ${key})`}`,
            explanation: `${operation.service}'s ${operation.statement?.verb ?? operation.spanName} on ${table === '' ? 'a table that the span does not name' : `\`${table}\``} was refused with ${conflict}${operation.sqlState === '' ? '' : ` (SQLSTATE ${operation.sqlState})`}: another transaction held or had changed the same rows.`,
          }),
        });
      }
    },
  }),
);

function conflictOf(operation: Operation): string | undefined {
  const isStore = operation.system !== '' && operation.message === undefined;
  const byState = conflicts[operation.sqlState];
  if (byState !== undefined) return byState;
  if (!isStore || operation.errorType === '') return undefined;
  const name = operation.errorType.toLowerCase();
  return conflictNames.find(([pattern]) => pattern.test(name))?.[1];
}

/** A COMMIT that fails names no table: the unit's last write does. */
function tableOf(operation: Operation, unit: Unit): string {
  const own = targetOf(operation);
  if (own !== '' || operation.kind !== 'transaction') return own;
  const write = unit.writes.findLast((other) => other.startUs <= operation.startUs);
  return write === undefined ? '' : targetOf(write);
}

function transfer(sqlState: string) {
  return exampleOperations([
    { kind: 'request', span: 'root', at: 0, lasts: 40, target: 'POST /transfers' },
    { kind: 'transaction', parent: 'root', at: 1, sql: 'begin' },
    { kind: 'write', parent: 'root', at: 5, lasts: 20, target: 'accounts', failed: sqlState !== '', sqlState },
    { kind: 'transaction', parent: 'root', at: 30, sql: sqlState === '' ? 'commit' : 'rollback' },
  ]);
}
