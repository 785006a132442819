import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Operation } from '../../src/domain/operation.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { isReadOf, lastReadIn } from '../../src/detect/last-read.ts';
import { createDetection } from '../../src/detect/run.ts';

/** What a batch job does in one unit of work, as its nth step. */
const insert: Step = { kind: 'append', parent: 'root', at: 0, target: 'orders', sql: 'insert into orders values (1)' };
const publish: Step = { kind: 'publish', parent: 'root', at: 0, target: 'placed' };
const call: Step = { kind: 'call', parent: 'root', at: 0, host: 'stock' };
const transaction = (sql: string): Step => ({ kind: 'transaction', parent: 'root', at: 0, sql });

const shapes: readonly (readonly [string, (n: number, of: number) => Step])[] = [
  ['inserts, and a message at the end', (n, of) => (n < of - 1 ? insert : publish)],
  ['inserts into many tables', (n) => ({ ...insert, target: `t${n % 300}` })],
  ['inserts, each in a transaction', (n) => [transaction('begin'), insert, transaction('commit')][n % 3] ?? insert],
  ['one transaction of all, taken back', (n, of) => (n === 0 ? transaction('begin') : n === of - 1 ? transaction('rollback') : insert)],
  ['a message for each row', (n) => (n % 2 === 0 ? insert : publish)],
  ['messages, and writes that fail after them', (n) => (n % 2 === 0 ? publish : { ...insert, failed: true, target: `t${n % 300}` })],
  [
    'rows read and written back',
    (n) => ({ kind: n % 2 === 0 ? 'read' : 'write', parent: 'root', at: 0, target: 'accounts', key: `${n >> 1}` }),
  ],
  [
    'rows read, then written back, without keys',
    (n, of) => ({
      kind: n < of / 2 ? 'read' : 'write',
      parent: 'root',
      at: 0,
      target: 'accounts',
      sql: n < of / 2 ? 'select 1' : 'update 1',
    }),
  ],
  [
    'rows relayed',
    (n) =>
      [{ ...insert, kind: 'read' as const, sql: 'select 1' }, publish, { ...insert, kind: 'delete' as const, sql: 'delete' }][n % 3] ??
      insert,
  ],
  ['calls that fail, each to another place', (n) => ({ ...call, target: `POST /x/${n}`, failed: true, httpStatus: 503 })],
  [
    'rows written on one host and read on another',
    (n) => ({ ...(n % 2 === 0 ? insert : { ...insert, kind: 'read', sql: 'select 1' }), host: `db-${n % 2}` }),
  ],
  [
    'one message taken up again and again, by consumers that do not find what it announces',
    (n) =>
      n === 0
        ? insert
        : n === 1
          ? { ...publish, span: 'sent' }
          : n % 3 === 2
            ? { kind: 'consume', span: `c${n}`, parent: 'sent', service: 'mail', at: 0, target: 'placed' }
            : {
                ...insert,
                kind: n % 3 === 0 ? 'read' : 'append',
                sql: '',
                rows: n % 3 === 0 ? 0 : 1,
                service: 'mail',
                parent: `c${n - (n % 3) - 1}`,
              },
  ],
  [
    'calls, each of which writes elsewhere',
    (n) =>
      n % 2 === 0 ? { ...call, span: `c${n}`, target: 'POST /x' } : { ...insert, service: 'stock', kind: 'request', parent: `c${n - 1}` },
  ],
  ['two stores', (n) => (n % 2 === 0 ? insert : { ...insert, system: 'mysql', target: 'stock' })],
];

/** How often detection looks at when the spans of one trace began. */
function looks(shape: (n: number, of: number) => Step, size: number, lasts: number): number {
  let count = 0;
  const steps = Array.from({ length: size }, (_unused, n): Step => ({ ...shape(n, size), at: 1 + n, lasts }));
  const root: Step = { kind: 'request', span: 'root', at: 0, lasts: size + 10, target: 'POST /batch' };
  const counted = (operation: Operation, name: 'startUs' | 'target' | 'host'): void => {
    const value = operation[name];
    Object.defineProperty(operation, name, {
      get: () => {
        count += 1;
        return value;
      },
    });
  };
  const operations = exampleOperations([root, ...steps]);
  for (const operation of operations) for (const name of ['startUs', 'target', 'host'] as const) counted(operation, name);
  const detection = createDetection();
  detection.add(operations);
  detection.finish();
  return count;
}

describe('a trace of very many spans', () => {
  it.each(shapes)('costs by its length, not by the square of it: %s', (_name, shape) => {
    for (const lasts of [0.5, 3]) expect(looks(shape, 4000, lasts) / looks(shape, 1000, lasts)).toBeLessThan(6);
  });

  it('has for each write the read that a look through all of them finds', () => {
    const key = fc.constantFrom('', '1', '2');
    const step = fc.record({
      isRead: fc.boolean(),
      afterMs: fc.nat(20),
      lasts: fc.nat(40),
      key,
      table: fc.constantFrom('a', 'b'),
      failed: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (plans) => {
        let at = 0;
        const operations = exampleOperations(
          plans.map(({ isRead, afterMs, lasts, table, ...rest }): Step => {
            at += afterMs / 10;
            return { ...rest, kind: isRead ? 'read' : 'write', target: table, at, lasts: lasts / 10, sql: rest.key === '' ? 'all' : '' };
          }),
        );
        const reads = operations.filter(({ kind }) => kind === 'read');
        const lastRead = lastReadIn({ reads });
        for (const write of operations.filter(({ kind }) => kind === 'write'))
          expect(lastRead(write)).toBe(reads.findLast((read) => isReadOf(read, write)));
      }),
      { numRuns: 2000 },
    );
  });
});
