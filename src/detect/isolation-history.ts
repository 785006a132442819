import { firstLogIndex, type Operation } from '../domain/operation.ts';
import {
  a,
  accessesMask,
  accessesShift,
  accessStride,
  endedByUs,
  isAborted,
  isIntermediate,
  isRead,
  IsolationTables,
  isUnknown,
  kindMask,
  none,
  o,
  objectShift,
  objectStride,
  reads,
  rivals,
  t,
  transactionStride,
  v,
  versionStride,
  writes,
} from './isolation-tables.ts';
import { ObjectVersions } from './isolation-versions.ts';
import { TransactionWindow } from './isolation-window.ts';
import { isCacheNews } from './cached-copy.ts';
import { StepsAhead } from './isolation-ahead.ts';
import { idsOf } from './span-ids.ts';
import { isWriteKind } from './version-order.ts';

/**
 * The transactions of a window and, per object, who wrote and who read which version. From it come the edges of Adya's direct serialization
 * graph ("Weak Consistency: A Generalized Theory", 1999), see `isolation-edges.ts`:
 *
 *   ww  T1 wrote a version, T2 wrote the next one            wr  T1 wrote the version that T2 read
 *   rw  T1 read a version, T2 wrote the next one              so  T2 followed T1 in one session
 *
 * Next means: for integer versions the next higher one that is known (those in between only add steps to the same path), for opaque versions
 * the one whose base it is. Nothing else orders versions. Only final versions of transactions that committed (or whose outcome is unknown,
 * but whose writes were read by one that committed) stand in the order.
 */
export interface IsolationHistory {
  readonly tables: IsolationTables;
  /** Looks at what steps of operations `[from, to)`, at most {@link blockSize}, will look up. */
  comeNear(operations: readonly Operation[], from: number, to: number): void;
  step(operation: Operation): void;
  /** Reads whose writer turned out to be aborted or to have overwritten the version itself, and inconsistent own reads. */
  aberrations(): readonly Aberration[];
  /** Transactions that are new or have changed since the last round. */
  news(): readonly number[];
  /** Ends a round, and forgets what ended before `beforeUs` or stands beyond the newest `keep` transactions. */
  forget(beforeUs: number, keep: number): void;
  /** Transactions remembered. */
  readonly size: number;
  /** Objects whose versions have no known order, so that dependencies on them are unknown; complete after `judgeAll`. */
  readonly unordered: number;
  judgeAll(): void;
}

/** What one operation breaks by itself, without a cycle. Row numbers, valid until the round ends. */
export type Aberration =
  | {
      readonly is: 'G1a' | 'G1b';
      readonly reader: number;
      readonly version: number;
      /** Who wrote what was read. */
      readonly writer: number;
      readonly spanId: string;
    }
  | { readonly is: 'internal'; readonly reader: number; readonly version: number; readonly wrote: number; readonly spanId: string };

/** SDKs stamp spans of one process with clocks that drift apart by a millisecond or so; only events of one span have an order of their own. */
const driftUs = 5000;
/** Reads and writes remembered per transaction of `keep`, on average: a few huge ones must not take the memory of many. */
const accessesPerTransaction = 16;
/** A transaction with more accesses than this finds its own writes by an index instead of looking through them. */
const walkMax = 24;
/** Transactions to be buried whose rows are looked at together. */
const buriedAtOnce = 32;

export function createIsolationHistory(): IsolationHistory {
  const tables = new IsolationTables();
  const { transactions, accesses, versions, ownWrites } = tables;
  const window = new TransactionWindow(tables);
  const ordered = new ObjectVersions(tables);
  /** Reads that may turn out to be of an aborted transaction or of an intermediate version. */
  let doubtful: number[] = [];
  let internal: Aberration[] = [];
  /** Reads of what an aborted transaction had written, from before another wrote the same version. */
  let early: { readonly access: number; readonly reader: number; readonly version: number; readonly writer: number }[] = [];

  const note = (transaction: number, object: number, version: number, kind: number, operation: Operation): number => {
    const row = accesses.take();
    const { words } = accesses;
    const at = row * accessStride;
    const own = transaction * transactionStride;
    const last = transactions.words[own + t.lastAccess] as number;
    words[at + a.transaction] = transaction;
    words[at + a.version] = version;
    words[at + a.objectAndKind] = (object << objectShift) | kind;
    words[at + a.previous] = last;
    words[at + a.nextReader] = none;
    words[at + a.previousReader] = none;
    transactions.words[own + t.lastAccess] = row;
    const state = transactions.words[own + t.state] as number;
    const count = (state >>> accessesShift) & accessesMask;
    if (count < walkMax) transactions.words[own + t.state] = state + (1 << accessesShift);
    const ids = idsOf(operation);
    words[at + a.span] = ids.spanA;
    words[at + a.span + 1] = ids.spanB;
    if (count + 1 === walkMax) indexOwnWrites(transaction);
    return row;
  };

  /** It has many accesses: its writes are found by the index. */
  const isIndexed = (transaction: number): boolean =>
    (((transactions.words[transaction * transactionStride + t.state] as number) >>> accessesShift) & accessesMask) >= walkMax;

  /** From now on this transaction's writes are found by the index. */
  const indexOwnWrites = (transaction: number): void => {
    const { words } = accesses;
    let at = transactions.words[transaction * transactionStride + t.lastAccess] as number;
    for (; at !== none; at = words[at * accessStride + a.previous] as number) {
      const objectAndKind = words[at * accessStride + a.objectAndKind] as number;
      if ((objectAndKind & kindMask) !== writes) continue;
      const object = objectAndKind >> objectShift;
      const low = ownKey(transaction, object);
      // Newest first: what is there already is newer.
      if (ownWrites.find(low, object) === none) ownWrites.add(low, object, words[at * accessStride + a.version] as number);
    }
  };

  /** The newest version of an object that a transaction wrote itself. */
  const ownWriteOf = (transaction: number, object: number): number => {
    const own = transaction * transactionStride;
    if (isIndexed(transaction)) return ownWrites.find(ownKey(transaction, object), object);
    const { words } = accesses;
    const sought = (object << objectShift) | writes;
    for (let at = transactions.words[own + t.lastAccess] as number; at !== none; at = words[at * accessStride + a.previous] as number) {
      const access = at * accessStride;
      if (words[access + a.objectAndKind] === sought) return words[access + a.version] as number;
    }
    return none;
  };

  const doubtReadersOf = (version: number): void => {
    let reader = versions.words[version * versionStride + v.firstReader] as number;
    for (; reader !== none; reader = accesses.words[reader * accessStride + a.nextReader] as number) doubtful.push(reader);
  };

  /** A transaction that is no longer sure to have committed puts the readers of its writes into doubt. */
  window.onDoubt = (transaction) => {
    let at = transactions.words[transaction * transactionStride + t.lastAccess] as number;
    for (; at !== none; at = accesses.words[at * accessStride + a.previous] as number) {
      if (((accesses.words[at * accessStride + a.objectAndKind] as number) & kindMask) === writes)
        doubtReadersOf(accesses.words[at * accessStride + a.version] as number);
    }
  };

  const isDoubtful = (transaction: number): boolean =>
    ((transactions.words[transaction * transactionStride + t.state] as number) & (isAborted | isUnknown)) !== 0;

  const isAbortedOne = (transaction: number): boolean =>
    ((transactions.words[transaction * transactionStride + t.state] as number) & isAborted) !== 0;

  /** Its writer wrote the object again later. */
  const isReplaced = (version: number): boolean => ((versions.words[version * versionStride + v.flags] as number) & isIntermediate) !== 0;

  /**
   * The writer of a version was aborted, and another transaction now writes the same, as one that is tried again does: who reads from now on
   * reads that. Readers that were over before it began saw what was taken back.
   */
  const giveUp = (version: number, operation: Operation): void => {
    const at = version * versionStride;
    const writer = versions.words[at + v.writer] as number;
    let access = versions.words[at + v.firstReader] as number;
    for (; access !== none; access = accesses.words[access * accessStride + a.nextReader] as number) {
      const reader = accesses.words[access * accessStride + a.transaction] as number;
      if (reader === writer) continue;
      if (endedByUs(tables, reader) <= operation.startUs) early.push({ access, reader, version, writer });
    }
    versions.words[at + v.writer] = none;
  };

  /** Somebody else wrote the version too, and was not aborted: that may be what was read. */
  const isWrittenByRival = (version: number): boolean => {
    const rival = versions.words[version * versionStride + v.rival] as number;
    return rival !== none && !isAbortedOne(rival);
  };

  const write = (transaction: number, object: number, version: number, operation: Operation): void => {
    const facts = operation.facts;
    const at = version * versionStride;
    let writer = versions.words[at + v.writer] as number;
    if (writer !== none && writer !== transaction && isAbortedOne(writer) && !isAbortedOne(transaction)) {
      giveUp(version, operation);
      writer = none;
    }
    if (writer !== none && writer !== transaction) {
      // Replicas that apply a change write its version again; two writers on one replica collide.
      if (facts?.replicaId === tables.replicaOf(version) && versions.words[at + v.rival] === none) {
        versions.words[at + v.rival] = transaction;
        ordered.noteAgain(object, version);
        note(transaction, object, version, rivals, operation);
      }
      return;
    }
    const own = ownWriteOf(transaction, object);
    if (writer === none) {
      const access = note(transaction, object, version, writes, operation);
      const { words, doubles } = versions;
      words[at + v.writer] = transaction;
      words[at + v.writeAccess] = access;
      words[at + v.writeIndex] = operation.index;
      doubles[(at + v.writeEndUs) >> 1] = operation.endUs;
      tables.noteWrite(version, facts?.replicaId ?? '', facts?.valueDigest ?? '');
      ordered.noteWrite(object, version, facts?.version, facts?.versionBase);
      if (isDoubtful(transaction)) doubtReadersOf(version);
    }
    if (own !== version && own !== none) {
      const flags = own * versionStride + v.flags;
      versions.words[flags] = (versions.words[flags] as number) | isIntermediate;
      doubtReadersOf(own);
    }
    if (!isIndexed(transaction)) return;
    const low = ownKey(transaction, object);
    if (ownWrites.find(low, object) === none) ownWrites.add(low, object, version);
    else ownWrites.point(low, object, version);
  };

  const read = (transaction: number, object: number, version: number, operation: Operation): void => {
    const at = version * versionStride;
    // Other contents under the same version were written by somebody who is not seen.
    const { valueDigest } = operation.facts ?? { valueDigest: '' };
    const written = versions.words[at + v.writer] === none ? '' : tables.digestOf(version);
    if (valueDigest !== '' && written !== '' && valueDigest !== written) return;
    const head = versions.words[at + v.firstReader] as number;
    if (head === none || accesses.words[head * accessStride + a.transaction] !== transaction) {
      const access = note(transaction, object, version, reads, operation);
      accesses.words[access * accessStride + a.nextReader] = head;
      if (head !== none) accesses.words[head * accessStride + a.previousReader] = access;
      versions.words[at + v.firstReader] = access;
      const writer = versions.words[at + v.writer] as number;
      if (writer !== none && writer !== transaction && (isReplaced(version) || isDoubtful(writer))) doubtful.push(access);
    }
    const own = ownWriteOf(transaction, object);
    if (own === none || own === version) return;
    const ownAt = own * versionStride;
    const writeAccess = versions.words[ownAt + v.writeAccess] as number;
    const ids = idsOf(operation);
    const spanOfWrite = writeAccess * accessStride + a.span;
    const isOneSpan = accesses.words[spanOfWrite] === ids.spanA && accesses.words[spanOfWrite + 1] === ids.spanB;
    const writeIndex = versions.words[ownAt + v.writeIndex] as number;
    const writeEndUs = versions.doubles[(ownAt + v.writeEndUs) >> 1] as number;
    if (isOneSpan ? isLater(operation, writeIndex, writeEndUs) : operation.startUs >= writeEndUs + driftUs)
      internal.push({ is: 'internal', reader: transaction, version, wrote: own, spanId: operation.spanId });
  };

  const bury = (transaction: number): void => {
    const hasIndex = isIndexed(transaction);
    let row = transactions.words[transaction * transactionStride + t.lastAccess] as number;
    window.bury(transaction);
    while (row !== none) {
      const at = row * accessStride;
      const { words } = accesses;
      const version = words[at + a.version] as number;
      const versionAt = version * versionStride;
      const objectAndKind = words[at + a.objectAndKind] as number;
      if ((objectAndKind & kindMask) === reads) {
        const before = words[at + a.previousReader] as number;
        const behind = words[at + a.nextReader] as number;
        if (before === none) versions.words[versionAt + v.firstReader] = behind;
        else words[before * accessStride + a.nextReader] = behind;
        if (behind !== none) words[behind * accessStride + a.previousReader] = before;
      } else {
        const object = objectAndKind >> objectShift;
        if (hasIndex) ownWrites.remove(ownKey(transaction, object), object);
        if (versions.words[versionAt + v.writer] === transaction) versions.words[versionAt + v.writer] = none;
        if (versions.words[versionAt + v.rival] === transaction) versions.words[versionAt + v.rival] = none;
      }
      const previous = words[at + a.previous] as number;
      accesses.give(row);
      ordered.drop(version);
      row = previous;
    }
  };

  const ahead = new StepsAhead();
  const near = new Int32Array(buriedAtOnce);
  const nearObjects = new Int32Array(buriedAtOnce);

  /** Looks at what steps of these operations will look up, one table after the other, so that waits for memory overlap. */
  const comeNear = (operations: readonly Operation[], from: number, to: number): void => {
    ahead.open(operations);
    for (let i = from; i < to; i += 1) {
      const operation = operations[i] as Operation;
      const { facts } = operation;
      if (facts === undefined || facts.objectKey === '' || facts.version === undefined) continue;
      const ofObject = ordered.knownHashOf(facts.objectType, facts.objectKey, facts.domain);
      if (ofObject === undefined) continue;
      const nth = ahead.add(i);
      ahead.objectLow[nth] = ofObject.low;
      ahead.objectHigh[nth] = ofObject.high;
      const ofTransaction = window.hashOf(operation, facts);
      ahead.transactionLow[nth] = ofTransaction.low;
      ahead.transactionHigh[nth] = ofTransaction.high;
    }
    tables.byKey.glanceAll(ahead.transactionLow, ahead.count);
    tables.byObject.glanceAll(ahead.objectLow, ahead.count);
  };

  /** The same for what the burying of the oldest transactions will touch. */
  const comeNearOldest = (): void => {
    let count = 0;
    for (let row = window.oldest; row !== none && count < buriedAtOnce; count += 1) {
      const at = row * transactionStride;
      near[count] = transactions.words[at + t.keyLow] as number;
      nearObjects[count] = transactions.words[at + t.lastAccess] as number;
      row = transactions.words[at + t.newer] as number;
    }
    tables.byKey.glanceAll(near, count);
    // From its last access to the version, to the object, to where that is looked up.
    for (let nth = 0; nth < count; nth += 1) {
      const access = nearObjects[nth] as number;
      nearObjects[nth] = access === none ? none : (accesses.words[access * accessStride + a.version] as number);
    }
    for (let nth = 0; nth < count; nth += 1) {
      const version = nearObjects[nth] as number;
      if (version !== none) nearObjects[nth] = versions.words[version * versionStride + v.object] as number;
    }
    for (let nth = 0; nth < count; nth += 1) {
      const object = nearObjects[nth] as number;
      nearObjects[nth] = object === none ? none : (tables.objects.words[object * objectStride + o.keyLow] as number);
    }
    tables.byObject.glanceAll(nearObjects, count);
  };

  return {
    tables,
    news: () => window.fresh,
    comeNear,
    step(operation) {
      const facts = operation.facts;
      if (facts === undefined || facts.objectKey === '' || isCacheNews(operation)) return;
      const isWrite = isWriteKind(operation);
      if (!isWrite && (operation.kind !== 'read' || operation.failed)) return;
      const isDelete = operation.kind === 'delete';
      const isLasting = isWrite && !operation.failed && facts.transactionOutcome !== 'aborted';
      if (facts.version === undefined) {
        if (!isDelete || !isLasting) return;
        const deleted = ordered.knownObject(facts.objectType, facts.objectKey, facts.domain);
        if (deleted !== none) ordered.endLifeOf(deleted);
        return;
      }
      const nth = ahead.take(operation);
      const transaction = window.transactionOf(operation, facts, ahead, nth);
      const { objectType, objectKey, domain } = facts;
      let object =
        nth < 0
          ? ordered.objectOf(objectType, objectKey, domain)
          : ordered.objectAt(ahead.objectLow[nth] as number, ahead.objectHigh[nth] as number, objectType, objectKey, domain);
      // A peer that takes over what another made writes it from nothing, too.
      const isMade = isLasting && !isDelete && facts.versionBase === '' && (facts.replicaId === '' || facts.replicaRole === 'leader');
      if (isMade && ordered.isUnderKnown(object, facts.version)) {
        ordered.endLifeOf(object);
        object = ordered.objectOf(objectType, objectKey, domain);
      }
      // Absence before an object is made is another than the one after it: the second would close a circle.
      if (isDelete && isLasting && ordered.isBase(object, facts.version)) {
        ordered.endLifeOf(object);
        return;
      }
      const version = ordered.versionOf(object, facts.version);
      if (isWrite) write(transaction, object, version, operation);
      else read(transaction, object, version, operation);
      if (isDelete && isLasting) ordered.endLifeOf(object);
    },
    aberrations() {
      const found: Aberration[] = internal.filter((item) => !isDoubtful(item.reader));
      internal = [];
      for (const { access, reader, version, writer } of early) {
        if (isAbortedOne(writer) && !isDoubtful(reader))
          found.push({ is: 'G1a', reader, version, writer, spanId: tables.spanOfAccess(access) });
      }
      early = [];
      for (const access of doubtful) {
        const at = access * accessStride;
        const reader = accesses.words[at + a.transaction] as number;
        const version = accesses.words[at + a.version] as number;
        const writer = versions.words[version * versionStride + v.writer] as number;
        if (writer === none || writer === reader || isDoubtful(reader)) continue;
        const stateAt = writer * transactionStride + t.state;
        const state = transactions.words[stateAt] as number;
        transactions.words[stateAt] = state | isRead;
        const is = (state & isAborted) !== 0 ? 'G1a' : isReplaced(version) ? 'G1b' : undefined;
        if (is === undefined || ordered.isOfCircle(version) || isWrittenByRival(version)) continue;
        found.push({ is, reader, version, writer, spanId: tables.spanOfAccess(access) });
      }
      doubtful = [];
      return found;
    },
    forget(beforeUs, keep) {
      window.endRound();
      // In order of first appearance, which is near enough to the order of ends.
      for (let buried = 0; ; buried += 1) {
        const oldest = window.oldest;
        if (oldest === none) return;
        const isOver = (transactions.doubles[(oldest * transactionStride + t.endUs) >> 1] as number) < beforeUs;
        if (!isOver && transactions.count <= keep && accesses.count <= keep * accessesPerTransaction) return;
        if (buried % buriedAtOnce === 0) comeNearOldest();
        bury(oldest);
      }
    },
    get size() {
      return transactions.count;
    },
    judgeAll: () => ordered.judgeAll(),
    get unordered() {
      return ordered.unordered;
    },
  };
}

/** Whether `read` came after a write in its span. Events have places; log records only times, by a logger's clock that may know milliseconds alone. */
function isLater(read: Operation, writeIndex: number, writeEndUs: number): boolean {
  const logs = Number(read.index >= firstLogIndex) + Number(writeIndex >= firstLogIndex);
  if (logs === 0) return read.index > writeIndex;
  return logs === 2 ? read.startUs > writeEndUs : read.startUs >= writeEndUs + driftUs;
}

/** For one object different transactions have different keys, since the factor is odd. */
function ownKey(transaction: number, object: number): number {
  return Math.imul(transaction, 0x9e3779b1) ^ Math.imul(object, 0x85ebca6b);
}
