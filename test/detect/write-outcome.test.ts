import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { viewTrace } from '../../src/detect/trace-view.ts';
import { type WriteOutcome, writeOutcomes } from '../../src/detect/write-outcome.ts';

/** What one service does in one database, a statement after the other, each as long as said, in milliseconds. */
function outcomes(steps: readonly (readonly [sql: string, lasts: number])[], grainMs: number): readonly WriteOutcome[] {
  let at = 0;
  const operations: Step[] = [];
  for (const [sql, lasts] of steps) {
    const verb = sql.split(' ')[0] ?? '';
    const kind = verb === 'insert' ? 'append' : verb === 'update' ? 'write' : 'transaction';
    // As the SDK for JavaScript has it: the start is cut to whole milliseconds, the length is not.
    operations.push({
      kind,
      sql,
      parent: 'root',
      at: Math.floor(at / grainMs) * grainMs,
      lasts,
      ...(kind === 'transaction' ? {} : { target: 'orders' }),
    });
    at += lasts + 0.01;
  }
  const root: Step = { kind: 'request', span: 'root', at: 0, lasts: at + 1 };
  const unit = viewTrace('t', exampleOperations([root, ...operations])).units[0];
  if (unit === undefined) throw new Error('no unit');
  return writeOutcomes(unit);
}

const insert = 'insert into orders values (1)';
const short = fc.integer({ min: 1, max: 180 }).map((hundredths) => hundredths / 100);
const written = fc.array(fc.tuple(fc.constant(insert), short), { minLength: 1, maxLength: 6 });

describe('outcome of a write', () => {
  test('is that of its transaction, however spans of one millisecond overlap', () => {
    fc.assert(
      fc.property(short, written, short, fc.constantFrom(1, 0.001), (begun, inside, ended, grainMs) => {
        const all = outcomes([['begin', begun], ...inside, ['commit', ended]], grainMs);
        expect(all.map(({ is, settledBy }) => `${is} ${settledBy?.statement?.verb}`)).toEqual(inside.map(() => 'committed commit'));
      }),
      { numRuns: 2000 },
    );
  });

  test('is never said to be another than it was where a transaction is rolled back and something is written after it', () => {
    fc.assert(
      fc.property(short, written, short, short, fc.constantFrom(1, 0.001), (begun, inside, ended, after, grainMs) => {
        const all = outcomes([['begin', begun], ...inside, ['rollback', ended], [insert, after]], grainMs);
        for (const [i, { is }] of all.entries()) expect([i < inside.length ? 'aborted' : 'committed', 'unknown']).toContain(is);
        if (grainMs < 1) expect(all.map(({ is }) => is)).toEqual([...inside.map(() => 'aborted'), 'committed']);
      }),
      { numRuns: 2000 },
    );
  });

  test('is that of one of two transactions that meet in a millisecond, and not that of a statement on its own', () => {
    fc.assert(
      fc.property(short, written, short, short, written, short, (begun, first, ended, again, second, last) => {
        const all = outcomes([['begin', begun], ...first, ['commit', ended], ['begin', again], ...second, ['commit', last]], 1);
        for (const { is, settledBy } of all) expect(`${is} ${settledBy?.statement?.verb}`).toBe('committed commit');
      }),
      { numRuns: 2000 },
    );
  });

  test('of a statement on its own is its own, however short the transaction before it was', () => {
    fc.assert(
      fc.property(short, written, short, short, (begun, inside, ended, after) => {
        const lone = outcomes([['begin', begun], ...inside, ['commit', ended], ['savepoint', 2], [insert, after]], 1).at(-1);
        expect(lone).toMatchObject({ is: 'committed', settledBy: undefined });
      }),
      { numRuns: 2000 },
    );
  });
});
