import type { Operation, Version } from '../domain/operation.ts';
import { isWriteKind } from './version-order.ts';

/**
 * The transactions of a window and, per object, who wrote and who read which version. From it come the edges of Adya's direct serialization
 * graph ("Weak Consistency: A Generalized Theory", 1999):
 *
 *   ww  T1 wrote a version, T2 wrote the next one            wr  T1 wrote the version that T2 read
 *   rw  T1 read a version, T2 wrote the next one              so  T2 followed T1 in one session
 *
 * Next means: for integer versions the next higher one that is known (those in between only add steps to the same path), for opaque versions
 * the one whose base it is. Nothing else orders versions. Only final versions of transactions that committed (or whose outcome is unknown,
 * but whose writes were read by one that committed) stand in the order.
 *
 * Edges are made when asked for, so a round of the checker touches what is new and what it leads to, not the whole window.
 */
export interface Transaction {
  readonly key: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly service: string;
  readonly session: string;
  outcome: 'committed' | 'aborted' | 'unknown';
  startUs: number;
  endUs: number;
  /** Versions it wrote and read, in order of its operations. */
  readonly writes: VersionRecord[];
  readonly reads: VersionRecord[];
  /** Spans of the reads, position by position, where they are not all the transaction's first. */
  readSpans: string[] | undefined;
  /** A committed transaction read what it wrote. */
  isRead: boolean;
  dead: boolean;
  /** Changed since the last round: only cycles through such are news. */
  isNew: boolean;
  /** The next one in its session. */
  after: Transaction | undefined;
  /** Tarjan's marks, valid for one round. */
  round: number;
  order: number;
  low: number;
  onStack: boolean;
}

export interface VersionRecord {
  readonly object: ObjectRecord;
  readonly version: Version;
  readonly order: number;
  writer: Transaction | undefined;
  /** Where and when it was written, for its place within its transaction: an operation itself would hold ten times the memory. */
  writeReplica: string;
  writeSpan: string;
  writeIndex: number;
  writeEndUs: number;
  /** A second transaction that wrote the same version on the same replica. */
  rival: Transaction | undefined;
  /** Its writer wrote the object again later. */
  isIntermediate: boolean;
  /** Undefined until the first. */
  readers: Transaction[] | undefined;
  deadReaders: number;
  /** Opaque versions that were derived from this one. */
  successors: VersionRecord[] | undefined;
}

export interface ObjectRecord {
  readonly type: string;
  readonly key: string;
  readonly domain: string;
  /** Opaque versions by name; undefined where there are none. */
  opaque: Map<string, VersionRecord> | undefined;
  /** Integer versions, rising. */
  readonly sorted: VersionRecord[];
}

export type EdgeKind = 'ww' | 'wr' | 'rw' | 'so';

export interface Edge {
  readonly kind: EdgeKind;
  readonly from: Transaction;
  readonly to: Transaction;
  /** The version that `from` wrote or read; undefined for a session edge. */
  readonly seen: VersionRecord | undefined;
  /** The version that replaced it, for ww and rw. */
  readonly next: VersionRecord | undefined;
}

/** What one operation breaks by itself, without a cycle. */
export type Aberration =
  | { readonly is: 'G1a' | 'G1b'; readonly reader: Transaction; readonly record: VersionRecord; readonly spanId: string }
  | {
      readonly is: 'internal';
      readonly reader: Transaction;
      readonly record: VersionRecord;
      readonly wrote: VersionRecord;
      readonly spanId: string;
    };

export interface IsolationHistory {
  step(operation: Operation): void;
  /** Reads whose writer turned out to be aborted or to have overwritten the version itself, and inconsistent own reads. Told once each. */
  aberrations(): readonly Aberration[];
  /** Transactions that are new or have changed since the last round. */
  news(): readonly Transaction[];
  /** Ends a round, and forgets what ended before `beforeUs` or stands beyond the newest `keep` transactions. */
  forget(beforeUs: number, keep: number): void;
  readonly size: number;
}

/** SDKs stamp spans of one process with clocks that drift apart by a millisecond or so; only events of one span have an order of their own. */
const driftUs = 5000;

export function createIsolationHistory(): IsolationHistory {
  const transactions = new Map<string, Transaction>();
  const types = new Map<string, Map<string, ObjectRecord>>();
  const sessions = new Map<string, Transaction>();
  let fresh: Transaction[] = [];
  let last: Transaction | undefined;
  /** The news of the last round: a writer's abort may come a round after its reader. */
  let stale: Transaction[] = [];
  let internal: Aberration[] = [];

  const objectOf = (type: string, key: string, domain: string): ObjectRecord => {
    let ofType = types.get(type);
    if (ofType === undefined) {
      ofType = new Map();
      types.set(type, ofType);
    }
    let object = ofType.get(key);
    if (object === undefined) {
      object = { type, key, domain, opaque: undefined, sorted: [] };
      ofType.set(key, object);
    }
    return object;
  };

  const transactionOf = (operation: Operation): Transaction => {
    const facts = operation.facts;
    const id = facts?.transactionId ?? '';
    const outcome = facts?.transactionOutcome ?? 'committed';
    // A span with several operations and no id is one transaction. Ids are unique in a trace at least; mostly they are unique at all, so
    // the shorter key is tried first.
    const shortKey = id === '' ? operation.spanId : id;
    let key = shortKey;
    let known = last !== undefined && last.key === shortKey && !last.dead ? last : transactions.get(shortKey);
    if (known !== undefined && known.traceId !== operation.traceId) {
      key = `${operation.traceId}\0${shortKey}`;
      known = transactions.get(key);
    }
    last = known;
    if (known !== undefined) {
      if (operation.startUs < known.startUs) known.startUs = operation.startUs;
      if (operation.endUs > known.endUs) known.endUs = operation.endUs;
      // One part that says aborted speaks for the whole.
      if (outcome === 'aborted' || (outcome === 'unknown' && known.outcome === 'committed')) known.outcome = outcome;
      if (!known.isNew) {
        known.isNew = true;
        fresh.push(known);
      }
      return known;
    }
    // Sessions order transactions; single statements are the session detectors' business.
    const session = id === '' && operation.index === 0 ? '' : facts?.sessionId || (operation.session ?? '');
    const transaction: Transaction = {
      key,
      traceId: operation.traceId,
      spanId: operation.spanId,
      service: operation.service,
      session,
      outcome,
      startUs: operation.startUs,
      endUs: operation.endUs,
      writes: [],
      reads: [],
      readSpans: undefined,
      isRead: false,
      dead: false,
      isNew: true,
      after: undefined,
      round: 0,
      order: 0,
      low: 0,
      onStack: false,
    };
    transactions.set(key, transaction);
    last = transaction;
    fresh.push(transaction);
    if (session !== '') {
      const before = sessions.get(session);
      if (before !== undefined) before.after = transaction;
      sessions.set(session, transaction);
    }
    return transaction;
  };

  const createRecord = (object: ObjectRecord, version: Version, order: number): VersionRecord => ({
    object,
    version,
    order,
    writer: undefined,
    writeReplica: '',
    writeSpan: '',
    writeIndex: 0,
    writeEndUs: 0,
    rival: undefined,
    isIntermediate: false,
    readers: undefined,
    deadReaders: 0,
    successors: undefined,
  });

  const recordOf = (object: ObjectRecord, version: Version): VersionRecord => {
    if (typeof version === 'string') {
      object.opaque ??= new Map();
      let record = object.opaque.get(version);
      if (record === undefined) {
        record = createRecord(object, version, -1);
        object.opaque.set(version, record);
      }
      return record;
    }
    const order = Number(version);
    const { sorted } = object;
    // Versions come nearly in order: the place is at or near the end.
    let at = sorted.length;
    if (at > 16 && (sorted[at - 16] as VersionRecord).order > order) at = after(sorted, order);
    while (at > 0 && (sorted[at - 1] as VersionRecord).order > order) at -= 1;
    const before = sorted[at - 1];
    if (before !== undefined && before.order === order) return before;
    const record = createRecord(object, version, order);
    if (at === sorted.length) sorted.push(record);
    else sorted.splice(at, 0, record);
    return record;
  };

  const drop = (record: VersionRecord): void => {
    if ((record.readers?.length ?? 0) > record.deadReaders || record.writer?.dead === false || record.rival?.dead === false) return;
    const { object } = record;
    if (typeof record.version === 'string') object.opaque?.delete(record.version);
    else {
      const at = object.sorted.indexOf(record);
      if (at >= 0) object.sorted.splice(at, 1);
    }
    if (object.sorted.length > 0 || (object.opaque?.size ?? 0) > 0) return;
    const ofType = types.get(object.type);
    ofType?.delete(object.key);
    if (ofType?.size === 0) types.delete(object.type);
  };

  const bury = (transaction: Transaction): void => {
    transaction.dead = true;
    transactions.delete(transaction.key);
    if (transaction.session !== '' && sessions.get(transaction.session) === transaction) sessions.delete(transaction.session);
    for (const record of transaction.reads) {
      record.deadReaders += 1;
      // Compacted when half are dead, so that a row that everyone reads costs no more than its readers.
      if (record.readers !== undefined && record.deadReaders === record.readers.length) {
        record.readers = undefined;
        record.deadReaders = 0;
      } else if (record.readers !== undefined && record.deadReaders * 2 > record.readers.length) {
        record.readers = record.readers.filter((reader) => !reader.dead);
        record.deadReaders = 0;
      }
      drop(record);
    }
    for (const record of transaction.writes) drop(record);
    // Versions that live on name their writer: it must not hold on to all that it touched, and so to its own past.
    transaction.reads.length = 0;
    transaction.readSpans = undefined;
    transaction.writes.length = 0;
    transaction.after = undefined;
  };

  return {
    step(operation) {
      const facts = operation.facts;
      if (facts === undefined || facts.version === undefined || facts.objectKey === '') return;
      const isWrite = isWriteKind(operation);
      if (!isWrite && (operation.kind !== 'read' || operation.failed)) return;
      const transaction = transactionOf(operation);
      const object = objectOf(facts.objectType, facts.objectKey, facts.domain);
      const record = recordOf(object, facts.version);
      const { writes } = transaction;
      if (isWrite) {
        if (record.writer === undefined || record.writer.dead) {
          record.writer = transaction;
          record.writeReplica = facts.replicaId;
          record.writeSpan = operation.spanId;
          record.writeIndex = operation.index;
          record.writeEndUs = operation.endUs;
          if (typeof facts.version === 'string' && typeof facts.versionBase === 'string' && facts.versionBase !== facts.version) {
            const base = recordOf(object, facts.versionBase);
            if (base.successors === undefined) base.successors = [record];
            else base.successors.push(record);
          }
        } else if (record.writer !== transaction) {
          // Replicas that apply a change write its version again; two writers on one replica collide.
          if (facts.replicaId === record.writeReplica) record.rival ??= transaction;
          return;
        }
        for (const earlier of writes) if (earlier.object === object && earlier !== record) earlier.isIntermediate = true;
        if (!writes.includes(record)) writes.push(record);
        return;
      }
      if (!transaction.reads.includes(record)) {
        transaction.reads.push(record);
        if (transaction.readSpans === undefined && operation.spanId !== transaction.spanId) {
          transaction.readSpans = transaction.reads.map(() => transaction.spanId);
          transaction.readSpans.pop();
        }
        transaction.readSpans?.push(operation.spanId);
        if (record.readers === undefined) record.readers = [transaction];
        else record.readers.push(transaction);
      }
      let own: VersionRecord | undefined;
      for (const wrote of writes) if (wrote.object === object) own = wrote;
      if (own !== undefined && own !== record && isAfter(operation, own)) {
        internal.push({ is: 'internal', reader: transaction, record, wrote: own, spanId: operation.spanId });
      }
    },
    aberrations() {
      const found: Aberration[] = internal.filter((item) => item.reader.outcome === 'committed');
      internal = [];
      for (const list of [stale, fresh]) {
        for (const reader of list) {
          if (reader.outcome !== 'committed' || reader.dead) continue;
          for (let i = 0; i < reader.reads.length; i += 1) {
            const record = reader.reads[i] as VersionRecord;
            const { writer } = record;
            if (writer === undefined || writer === reader) continue;
            writer.isRead = true;
            const spanId = reader.readSpans?.[i] ?? reader.spanId;
            if (writer.outcome === 'aborted') found.push({ is: 'G1a', reader, record, spanId });
            else if (record.isIntermediate) found.push({ is: 'G1b', reader, record, spanId });
          }
        }
      }
      return found;
    },
    news: () => fresh,
    forget(beforeUs, keep) {
      for (const transaction of fresh) transaction.isNew = false;
      stale = fresh;
      fresh = [];
      let excess = transactions.size - keep;
      // In order of first appearance, which is near enough to the order of ends.
      for (const transaction of transactions.values()) {
        if (excess <= 0 && transaction.endUs >= beforeUs) break;
        excess -= 1;
        bury(transaction);
      }
    },
    get size() {
      return transactions.size;
    },
  };
}

const noReaders: readonly Transaction[] = [];

/** Edges out of a transaction. */
export function edgesOf(from: Transaction): readonly Edge[] {
  const edges: Edge[] = [];
  for (const seen of from.writes) {
    for (const reader of seen.readers ?? noReaders)
      if (reader !== from && isIn(reader)) edges.push({ kind: 'wr', from, to: reader, seen, next: undefined });
    if (!seen.isIntermediate) link('ww', from, seen, edges);
  }
  for (const seen of from.reads) link('rw', from, seen, edges);
  const { after } = from;
  if (after !== undefined && isIn(after) && from.endUs <= after.startUs)
    edges.push({ kind: 'so', from, to: after, seen: undefined, next: undefined });
  return edges;
}

export function isIn(transaction: Transaction): boolean {
  return !transaction.dead && (transaction.outcome === 'committed' || (transaction.outcome === 'unknown' && transaction.isRead));
}

/** Edges to whoever wrote what came next after `seen`. */
function link(kind: 'ww' | 'rw', from: Transaction, seen: VersionRecord, edges: Edge[]): void {
  if (typeof seen.version === 'bigint') {
    const { sorted } = seen.object;
    for (let i = after(sorted, seen.order); i < sorted.length; i += 1) {
      const next = sorted[i] as VersionRecord;
      if (next.writer === undefined || next.isIntermediate || !isIn(next.writer)) continue;
      // Whoever read a version that its own writer replaced is told as G1b; the order of versions does not hold that version.
      if (kind === 'rw' && seen.isIntermediate && next.writer === seen.writer) return;
      if (next.writer !== from) edges.push({ kind, from, to: next.writer, seen, next });
      if (next.rival !== undefined && next.rival !== from && isIn(next.rival)) edges.push({ kind, from, to: next.rival, seen, next });
      return;
    }
    return;
  }
  for (const next of seen.successors ?? []) {
    const { writer } = next;
    if (kind === 'rw' && seen.isIntermediate && writer === seen.writer) continue;
    if (writer !== undefined && writer !== from && isIn(writer)) edges.push({ kind, from, to: writer, seen, next });
  }
}

/** Position of the first record whose order is higher. */
function after(sorted: readonly VersionRecord[], order: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as VersionRecord).order <= order) low = middle + 1;
    else high = middle;
  }
  return low;
}

function isAfter(read: Operation, own: VersionRecord): boolean {
  if (read.spanId === own.writeSpan) return read.index > own.writeIndex;
  return read.startUs >= own.writeEndUs + driftUs;
}
