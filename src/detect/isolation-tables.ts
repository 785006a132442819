import { grainUs } from './causality.ts';
import { HashTable } from '../base/hash-table.ts';
import { hexOf } from '../base/hex-words.ts';
import { Rows } from '../base/rows.ts';
import type { SpanRef } from '../domain/anomaly.ts';
import { spanAt } from './span-ids.ts';

/**
 * The tables of the isolation checker: transactions, what each read and wrote, versions, objects. Typed arrays instead of objects, because a
 * window of them lives for seconds and then dies: as objects it took three times the memory, and a third of the time went into collecting.
 * A row number that is kept beyond the row's life is a bug: whoever gives a row back clears what points to it.
 */

/** No row. */
export const none = -1;

/** Transactions: words of a row. */
export const transactionStride = 24;
export const t = {
  keyLow: 0,
  keyHigh: 1,
  /** Bits: see `state` below. */
  state: 2,
  /** Newest first. */
  lastAccess: 3,
  accesses: 4,
  /** Order of appearance in the window. */
  older: 5,
  newer: 6,
  /** The next one of its session. */
  after: 7,
  sessionLow: 8,
  sessionHigh: 9,
  /** Tarjan's marks, valid for one round. */
  round: 10,
  order: 11,
  low: 12,
  onStack: 13,
  startUs: 14,
  endUs: 16,
  /** Trace and span id of its first span, six words. */
  ids: 18,
} as const;

/** Bits of a transaction's state. One without `isAborted` and `isUnknown` has committed. */
export const isAborted = 1;
export const isUnknown = 2;
/** A committed transaction read what it wrote. */
export const isRead = 4;
export const isAlive = 8;
/** Changed since the last round: only cycles through such are news. */
export const isNew = 16;
/** Its operations can have begun and ended later than they say. */
export const isCoarse = 32;

/** One read or write of one version by one transaction. */
export const accessStride = 10;
export const a = {
  transaction: 0,
  version: 1,
  object: 2,
  /** `reads`, `writes` or `rivals`. */
  kind: 3,
  /** The transaction's access before this one. */
  previous: 4,
  /** Readers of one version, newest first. */
  nextReader: 5,
  previousReader: 6,
  /** Its span, two words. */
  span: 8,
} as const;

export const reads = 0;
export const writes = 1;
/** A write of a version that another transaction wrote first: who wrote what its readers saw is not known. */
export const rivals = 2;

export const versionStride = 16;
export const v = {
  object: 0,
  /** Neighbours in the object's list: opaque versions first, then integers, rising. */
  older: 1,
  newer: 2,
  /** Opaque versions: the one it was derived from, those derived from it, and its next brother. */
  base: 3,
  firstSuccessor: 4,
  nextSuccessor: 5,
  writer: 6,
  /** The writer's access, for its span. */
  writeAccess: 7,
  /** A second transaction that wrote the same version on the same replica. */
  rival: 8,
  firstReader: 9,
  writeIndex: 10,
  /** 1: its writer wrote the object again later. */
  isIntermediate: 11,
  /** Integer versions as doubles; NaN: opaque. */
  order: 12,
  writeEndUs: 14,
} as const;

export const objectStride = 12;
export const o = {
  keyLow: 0,
  keyHigh: 1,
  /** Ends of the list of its versions. */
  oldest: 2,
  newest: 3,
  versions: 4,
  /** Opaque versions, those of them whose base is known, and whether any was written. */
  opaque: 5,
  linked: 6,
  isWritten: 7,
  /** Two versions were derived from one. */
  isForked: 8,
  /** Counted among the objects whose order is not known. */
  isCounted: 9,
  /** Its versions are in `byVersion`. */
  isIndexed: 10,
  /** An opaque version was written again after others had followed it. */
  isCircular: 11,
} as const;

/** Everything that a window holds, with the ways to find it. */
export class IsolationTables {
  readonly transactions = new Rows(transactionStride);
  readonly accesses = new Rows(accessStride);
  readonly versions = new Rows(versionStride);
  readonly objects = new Rows(objectStride);
  readonly byKey = new HashTable();
  readonly byObject = new HashTable();
  readonly byVersion = new HashTable();
  /** Last transaction of each session. */
  readonly bySession = new HashTable();
  /** The newest version of an object that a transaction with many accesses wrote itself; keys are the two rows. */
  readonly ownWrites = new HashTable();

  readonly service: string[] = [];
  /** A transaction's id where it has one; else it is known by its span. */
  readonly name: string[] = [];
  /** Opaque versions, and integers that a double does not hold. */
  readonly opaque: (string | bigint | undefined)[] = [];
  readonly writeReplica: string[] = [];
  readonly writeDigest: string[] = [];
  readonly objectType: string[] = [];
  readonly objectKey: string[] = [];
  readonly objectDomain: string[] = [];

  /** A transaction's first span. */
  spanOf(transaction: number): SpanRef {
    return spanAt(this.transactions.words, transaction * transactionStride + t.ids);
  }

  /** Span of an access. */
  spanOfAccess(access: number): string {
    return hexOf(this.accesses.words, access * accessStride + a.span, 2);
  }

  nameOf(transaction: number): string {
    return this.name[transaction] || this.spanOf(transaction).spanId;
  }

  /** Bytes of the tables, without the texts. */
  get bytes(): number {
    const { transactions, accesses, versions, objects, byKey, byObject, byVersion, bySession, ownWrites } = this;
    return [transactions, accesses, versions, objects, byKey, byObject, byVersion, bySession, ownWrites].reduce(
      (sum, table) => sum + table.bytes,
      0,
    );
  }
}

/** Whether a transaction stands in the order: committed, or of unknown outcome and read by one that committed. */
export function isIn(tables: IsolationTables, transaction: number): boolean {
  const state = tables.transactions.words[transaction * transactionStride + t.state] as number;
  return (state & (isAlive | isAborted)) === isAlive && (state & (isUnknown | isRead)) !== isUnknown;
}

/** When a transaction's operations had surely ended, by its own clock. */
export function endedByUs({ transactions }: IsolationTables, transaction: number): number {
  const at = transaction * transactionStride;
  const isExact = ((transactions.words[at + t.state] as number) & isCoarse) === 0;
  return (transactions.doubles[(at + t.endUs) >> 1] as number) + (isExact ? 0 : grainUs);
}
