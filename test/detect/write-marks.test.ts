import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Marks, sharedMarks, WriteMarks } from '../../src/detect/write-marks.ts';

const text = fc.constantFrom('', 'a', 'b', 'tx-1', 'tx-2', 'sha256:0123456789abcdef');
const marks: fc.Arbitrary<Marks> = fc.record({ transactionId: text, idempotencyKey: text, valueDigest: text });

it('marks by row share what their texts share, whatever the row had before', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat({ max: 40 }), marks), { maxLength: 60 }), marks, (sets, asked) => {
      const rows = new WriteMarks();
      const known = new Map<number, Marks>();
      for (const [row, own] of sets) {
        rows.set(row, own);
        known.set(row, own);
      }
      for (const [row, own] of known) expect(rows.sharedWith(row, asked)).toEqual(sharedMarks(own, asked));
    }),
  );
});

it('writes without marks take no room', () => {
  const rows = new WriteMarks();
  const none: Marks = { transactionId: '', idempotencyKey: '', valueDigest: '' };
  rows.set(5, none);
  expect(rows.bytes).toBe(0);
  expect(rows.sharedWith(5, { ...none, transactionId: 't' })).toEqual({
    transaction: undefined,
    idempotency: undefined,
    digest: undefined,
  });
});
