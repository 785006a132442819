import type { PackedBatch } from '../ingest/packed-batch.ts';

/**
 * What takes decoded payloads in the order in which they were acknowledged. It may be ahead of its own results: `settled` says up to where
 * everything is through and whatever came of it is kept, so that the journal may forget it.
 */
export interface BatchConsumer {
  /** Resolves once there is room for another batch. */
  room(): Promise<void>;
  /** `packed` is its own from here on; undefined where a payload that was acknowledged cannot be read any more. */
  take(sequence: number, packed: PackedBatch | undefined, strings: readonly string[]): void;
  /** Everything before this sequence has been through; it never falls. */
  readonly settled: number;
  /** Resolves once all that was taken so far is through or waits for its time only. */
  idle(): Promise<void>;
  /** Spans dropped because they had been seen. */
  readonly duplicateSpans: number;
  readonly operations: number;
  /** Called where the consumer lost what it had taken: it wants everything again that there still is, as after a start. */
  onLost(again: () => void): void;
}
