import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { sift } from '../../src/ingest/compact-batch.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { WaitingRoom } from '../../src/ingest/waiting-room.ts';
import { openAwayFile } from '../../src/io/away-file.ts';

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

test('what waits in a file leaves as what waits in memory does', () => {
  const directory = mkdtempSync(join(tmpdir(), 'waiting-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = openAwayFile(directory);
  let away = 0;
  const putAway = (bytes: Uint8Array): number | undefined => {
    away += bytes.length;
    return file.putAway(bytes);
  };
  const rooms = [new WaitingRoom(Number.POSITIVE_INFINITY), new WaitingRoom(Number.POSITIVE_INFINITY, { ...file, putAway }, 0)];
  const leave = (room: WaitingRoom, upToUs: number): readonly number[] => {
    const left: number[] = [];
    while (
      room.release(
        upToUs,
        () => new SpanBatch(),
        (batch, rows, count) => {
          for (const row of rows.subarray(0, count)) left.push(batch.endUs[row] as number, batch.ids[row * 32] as number);
        },
      )
    );
    return left;
  };
  for (let sequence = 0; sequence < 600; sequence += 1) {
    // Some are spread over seconds, and leave in steps.
    const spreadUs = sequence % 50 === 0 ? 4 * second : 100_000;
    const batch = batchOf(Array.from({ length: 200 }, (_, i) => sequence * 4_000 + Math.floor((i * spreadUs) / 200)));
    for (let row = 0; row < batch.count; row += 1) batch.ids[row * 32] = (sequence * 7 + row) % 251;
    const packed = packBatch(batch);
    if (packed === undefined) throw new Error('there are rows');
    const kept = sift(packed, (_ids, nth) => nth % 3 > 0);
    for (const room of rooms) room.add(sequence, packed, [''], kept);
    const [inMemory, inFile] = rooms.map((room) => leave(room, sequence * 4_000 - second));
    expect(inFile).toEqual(inMemory);
  }
  const [inMemory, inFile] = rooms.map((room) => leave(room, 60 * second));
  expect(inFile?.length).toBeGreaterThan(1_000);
  expect(inFile).toEqual(inMemory);
  expect(away).toBeGreaterThan(1_000_000);
});
