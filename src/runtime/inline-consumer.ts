import type { Operation } from '../domain/operation.ts';
import { BatchExpander, isDropped, sift } from '../ingest/compact-batch.ts';
import { createSpanDedupe } from '../ingest/dedupe.ts';
import { OperationReader } from '../ingest/operation-from-span.ts';
import { type PackedBatch, unpackBatch } from '../ingest/packed-batch.ts';
import { SpanBatch } from '../ingest/span-batch.ts';
import type { BatchConsumer } from './batch-consumer.ts';
import { giveBack } from './shared-slabs.ts';

export interface InlineConsumerOptions {
  /** Takes operations in the order in which their payloads were acknowledged; awaited, never called concurrently. */
  readonly onOperations: (operations: readonly Operation[]) => void | Promise<void>;
  /** A failure of `onOperations`: it gets the same again until it takes them. */
  readonly onFailure: (error: unknown) => void;
  /** Spans remembered to drop duplicates. */
  readonly dedupeCapacity?: number;
}

/** Operations handed to a function on this thread, one batch after the other: for those who want operations and no detection. */
export function createInlineConsumer(options: InlineConsumerOptions): BatchConsumer & { close(): Promise<void> } {
  const dedupe = createSpanDedupe(options.dedupeCapacity === undefined ? {} : { capacity: options.dedupeCapacity });
  const reader = new OperationReader();
  const expander = new BatchExpander();
  const batch = new SpanBatch();
  let operationCount = 0;
  let settled = 0;
  let isClosing = false;
  /** Closed before an operation was taken: nothing after it may count as settled. */
  let isBroken = false;
  let last: Promise<void> = Promise.resolve();

  /** Until the consumer takes it: an operation that was acknowledged is not dropped because a database was away. */
  const deliver = async (operations: readonly Operation[]): Promise<boolean> => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await options.onOperations(operations);
        return true;
      } catch (error) {
        options.onFailure(error);
        if (isClosing) return false;
        await new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** Math.min(attempt, 6), 5_000)));
      }
    }
  };

  const readNew = (packed: PackedBatch, strings: readonly string[]): readonly Operation[] => {
    const kept = sift(packed, (ids, nth, count) => {
      if (packed.isLog) return true;
      if (nth === 0) dedupe.prepare(ids, count);
      return dedupe.isNewRow(nth);
    });
    unpackBatch(expander.expand(packed), strings, batch);
    giveBack(packed);
    const rows = Int32Array.from({ length: batch.count }, (_, row) => row).filter((row) => !isDropped(kept, row));
    return reader.readRows(batch, rows, rows.length);
  };

  return {
    room: () => last,
    take: (sequence, packed, strings) => {
      last = last.then(async () => {
        if (isBroken) return;
        const operations = packed === undefined ? [] : readNew(packed, strings);
        isBroken = operations.length > 0 && !(await deliver(operations));
        if (isBroken) return;
        operationCount += operations.length;
        settled = sequence + 1;
      });
    },
    get settled() {
      return settled;
    },
    idle: () => last,
    get duplicateSpans() {
      return dedupe.dropped;
    },
    get operations() {
      return operationCount;
    },
    onLost: () => undefined,
    close: () => {
      isClosing = true;
      return last;
    },
  };
}
