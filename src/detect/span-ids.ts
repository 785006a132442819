import type { Hash64 } from '../base/hash64.ts';
import { hexOf, packHex } from '../base/hex-words.ts';
import type { SpanRef } from '../domain/anomaly.ts';
import type { Operation, SpanIds } from '../domain/operation.ts';

/** Words of a span's trace and span id, one after the other. */
export const idWords = 6;

const scratch = new Int32Array(8);

/** Ids of an operation that holds them as text; made anew by each call of {@link idsOf}. */
const read: { -readonly [K in keyof SpanIds]: number } = {
  traceA: 0,
  traceB: 0,
  traceC: 0,
  traceD: 0,
  spanA: 0,
  spanB: 0,
  parentA: 0,
  parentB: 0,
};

/** The operation's ids as numbers, to be used before the next call. */
export function idsOf(operation: Operation): SpanIds {
  const { ids } = operation;
  if (ids !== undefined) return ids;
  packHex(operation.traceId, scratch, 0, 4);
  packHex(operation.spanId, scratch, 4, 2);
  packHex(operation.parentSpanId, scratch, 6, 2);
  read.traceA = scratch[0] as number;
  read.traceB = scratch[1] as number;
  read.traceC = scratch[2] as number;
  read.traceD = scratch[3] as number;
  read.spanA = scratch[4] as number;
  read.spanB = scratch[5] as number;
  read.parentA = scratch[6] as number;
  read.parentB = scratch[7] as number;
  return read;
}

/** Writes trace and span id at `at`. */
export function writeIds(ids: SpanIds, words: Int32Array, at: number): void {
  words[at] = ids.traceA;
  words[at + 1] = ids.traceB;
  words[at + 2] = ids.traceC;
  words[at + 3] = ids.traceD;
  words[at + 4] = ids.spanA;
  words[at + 5] = ids.spanB;
}

export function isTraceAt(ids: SpanIds, words: Int32Array, at: number): boolean {
  return words[at] === ids.traceA && words[at + 1] === ids.traceB && words[at + 2] === ids.traceC && words[at + 3] === ids.traceD;
}

export function isSpanAt(ids: SpanIds, words: Int32Array, at: number): boolean {
  return words[at + 4] === ids.spanA && words[at + 5] === ids.spanB && isTraceAt(ids, words, at);
}

/** The texts of what {@link writeIds} wrote. */
export function spanAt(words: Int32Array, at: number): SpanRef {
  return { traceId: hexOf(words, at, 4), spanId: hexOf(words, at + 4, 2) };
}

/** Hashes of what is known by its span, its parent span or its trace alone: the same for ids that are numbers and ids that are text. */
export function hashSpan(hash: Hash64, ids: SpanIds): Hash64 {
  return hash.start().pair(ids.traceA, ids.traceB).pair(ids.traceC, ids.traceD).pair(ids.spanA, ids.spanB).end();
}

export function hashParent(hash: Hash64, ids: SpanIds): Hash64 {
  return hash.start().pair(ids.traceA, ids.traceB).pair(ids.traceC, ids.traceD).pair(ids.parentA, ids.parentB).end();
}

export function hashTrace(hash: Hash64, ids: SpanIds): Hash64 {
  return hash.start().pair(ids.traceA, ids.traceB).pair(ids.traceC, ids.traceD).end();
}

export function hashLink(hash: Hash64, link: SpanRef): Hash64 {
  packHex(link.traceId, scratch, 0, 4);
  packHex(link.spanId, scratch, 4, 2);
  return hash
    .start()
    .pair(scratch[0] as number, scratch[1] as number)
    .pair(scratch[2] as number, scratch[3] as number)
    .pair(scratch[4] as number, scratch[5] as number)
    .end();
}

export function hashLinkedTrace(hash: Hash64, traceId: string): Hash64 {
  packHex(traceId, scratch, 0, 4);
  return hash
    .start()
    .pair(scratch[0] as number, scratch[1] as number)
    .pair(scratch[2] as number, scratch[3] as number)
    .end();
}
