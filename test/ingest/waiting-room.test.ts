import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sift } from '../../src/ingest/compact-batch.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { WaitingRoom } from '../../src/ingest/waiting-room.ts';

const batchOf = (ends: readonly number[]): SpanBatch => {
  const batch = new SpanBatch();
  batch.reset(['']);
  batch.openResource();
  for (const endUs of ends) {
    const row = batch.openRow();
    batch.endUs[row] = endUs;
    batch.startUs[row] = endUs;
    batch.ids[row * 32] = 1;
    batch.keepRow();
  }
  return batch;
};

const second = 1_000_000;
const ends = fc.array(fc.integer({ min: 0, max: 30 * second }), { minLength: 1, maxLength: 20 });

test('each span leaves once, never after the watermark has passed it and never long before', () => {
  fc.assert(
    fc.property(
      fc.array(ends, { maxLength: 20 }),
      fc.array(fc.integer({ min: 0, max: 31 * second }), { maxLength: 20 }),
      (batches, marks) => {
        const room = new WaitingRoom(Number.POSITIVE_INFINITY);
        batches.forEach((one, sequence) => {
          const packed = packBatch(batchOf(one));
          if (packed !== undefined)
            room.add(
              sequence,
              packed,
              [''],
              sift(packed, () => true),
            );
        });
        const left: number[] = [];
        for (const upToUs of [...marks.toSorted((a, b) => a - b), 31 * second]) {
          while (
            room.release(
              upToUs,
              () => new SpanBatch(),
              (batch, rows, count) => {
                for (const row of rows.subarray(0, count)) {
                  const endUs = batch.endUs[row] ?? Number.NaN;
                  // The longest step is an eighth of the thirty seconds that the ends spread over.
                  expect(endUs).toBeLessThanOrEqual(upToUs + (30 * second) / 8);
                  left.push(endUs);
                }
              },
            )
          );
          expect(batches.flat().filter((endUs) => endUs <= upToUs)).toHaveLength(left.filter((endUs) => endUs <= upToUs).length);
        }
        expect(left.toSorted((a, b) => a - b)).toEqual(batches.flat().toSorted((a, b) => a - b));
        expect(room).toMatchObject({ bytes: 0, rows: 0, nextDueUs: Number.POSITIVE_INFINITY });
        expect(room.firstSequence(batches.length)).toBe(batches.length);
      },
    ),
  );
});

test('knows the first sequence of which something waits, whatever left before it', () => {
  const room = new WaitingRoom(Number.POSITIVE_INFINITY);
  [5 * second, 1 * second, 2 * second].forEach((endUs, i) => {
    const packed = packBatch(batchOf([endUs]));
    if (packed !== undefined)
      room.add(
        10 + i,
        packed,
        [''],
        sift(packed, () => true),
      );
  });
  while (
    room.release(
      3 * second,
      () => new SpanBatch(),
      () => undefined,
    )
  );
  expect(room.firstSequence(13)).toBe(10);
  while (
    room.release(
      5 * second,
      () => new SpanBatch(),
      () => undefined,
    )
  );
  expect(room.firstSequence(13)).toBe(13);
});

test('says when it holds more than it should', () => {
  const room = new WaitingRoom(1500);
  const packed = packBatch(batchOf(Array.from({ length: 30 }, (_, i) => i * second)));
  if (packed === undefined) throw new Error('there are rows');
  room.add(
    1,
    packed,
    [''],
    sift(packed, () => true),
  );
  expect(room.isOverBound).toBe(true);
  while (
    room.release(
      30 * second,
      () => new SpanBatch(),
      () => undefined,
    )
  );
  expect(room.isOverBound).toBe(false);
});
