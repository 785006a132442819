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
 */
export interface Transaction {
  readonly key: string;
  readonly traceId: string;
  /** First and, where it differs, last span: the witness. */
  spanId: string;
  readonly service: string;
  readonly session: string;
  outcome: 'committed' | 'aborted' | 'unknown';
  startUs: number;
  endUs: number;
  /** Versions it wrote, in order of its operations. */
  readonly writes: VersionRecord[];
  isRead: boolean;
  /** Position in the graph of the current round, -1 outside. */
  node: number;
  dead: boolean;
  /** Came since the last round: only cycles through such are news. */
  isNew: boolean;
}

export interface VersionRecord {
  readonly object: ObjectRecord;
  readonly version: Version;
  readonly order: number;
  base: Version | undefined;
  writer: Transaction | undefined;
  replicaId: string;
  /** A second transaction that wrote the same version on the same replica. */
  rival: Transaction | undefined;
  /** Its writer wrote the object again later. */
  isIntermediate: boolean;
  readonly readers: Transaction[];
  /** The writing operation, for its place within its transaction. */
  write: Operation | undefined;
}

export interface ObjectRecord {
  readonly type: string;
  readonly key: string;
  readonly domain: string;
  readonly versions: Map<number | string, VersionRecord>;
  lastUs: number;
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
  | { readonly is: 'G1a'; readonly reader: Transaction; readonly record: VersionRecord; readonly operation: Operation }
  | { readonly is: 'G1b'; readonly reader: Transaction; readonly record: VersionRecord; readonly operation: Operation }
  | {
      readonly is: 'internal';
      readonly reader: Transaction;
      readonly record: VersionRecord;
      readonly wrote: VersionRecord;
      readonly operation: Operation;
    };

interface PendingRead {
  readonly reader: Transaction;
  readonly record: VersionRecord;
  readonly operation: Operation;
}

export interface IsolationHistory {
  step(operation: Operation): void;
  /** Reads whose writer turned out to be aborted or to have overwritten the version itself, and inconsistent own reads. Told once each. */
  aberrations(): readonly Aberration[];
  edges(): readonly Edge[];
  /** Ends a round: nothing is new any more, and what ended before `beforeUs` or stands beyond the newest `keep` transactions is forgotten. */
  forget(beforeUs: number, keep: number): void;
  readonly newTransactions: number;
  readonly transactions: ReadonlyMap<string, Transaction>;
}

export function createIsolationHistory(): IsolationHistory {
  const transactions = new Map<string, Transaction>();
  const types = new Map<string, Map<string, ObjectRecord>>();
  const sessions = new Map<string, Transaction[]>();
  let pendingReads: PendingRead[] = [];
  let internal: Aberration[] = [];
  let newTransactions = 0;

  const objectOf = (operation: Operation): ObjectRecord => {
    const facts = operation.facts;
    const type = facts?.objectType ?? '';
    const key = facts?.objectKey ?? '';
    let ofType = types.get(type);
    if (ofType === undefined) {
      ofType = new Map();
      types.set(type, ofType);
    }
    let object = ofType.get(key);
    if (object === undefined) {
      object = { type, key, domain: facts?.domain ?? '', versions: new Map(), lastUs: 0 };
      ofType.set(key, object);
    }
    if (operation.endUs > object.lastUs) object.lastUs = operation.endUs;
    return object;
  };

  const transactionOf = (operation: Operation): Transaction => {
    const facts = operation.facts;
    const id = facts?.transactionId ?? '';
    // Ids are unique in a trace at least; a span with several operations and no id is one transaction.
    const key = id === '' ? operation.traceId + operation.spanId : `${operation.traceId}\0${id}`;
    let transaction = transactions.get(key);
    if (transaction === undefined) {
      // Sessions order transactions; single statements are the session detectors' business.
      const session = id === '' && operation.index === 0 ? '' : facts?.sessionId || (operation.session ?? '');
      transaction = {
        key,
        traceId: operation.traceId,
        spanId: operation.spanId,
        service: operation.service,
        session,
        outcome: facts?.transactionOutcome ?? 'committed',
        startUs: operation.startUs,
        endUs: operation.endUs,
        writes: [],
        isRead: false,
        node: -1,
        dead: false,
        isNew: true,
      };
      transactions.set(key, transaction);
      newTransactions += 1;
      if (session !== '') {
        const known = sessions.get(session);
        if (known === undefined) sessions.set(session, [transaction]);
        else known.push(transaction);
      }
    } else {
      if (operation.startUs < transaction.startUs) transaction.startUs = operation.startUs;
      if (operation.endUs > transaction.endUs) transaction.endUs = operation.endUs;
      if (!transaction.isNew) {
        transaction.isNew = true;
        newTransactions += 1;
      }
      const outcome = facts?.transactionOutcome ?? 'committed';
      // One part that says aborted speaks for the whole.
      if (outcome === 'aborted' || (outcome === 'unknown' && transaction.outcome === 'committed')) transaction.outcome = outcome;
    }
    return transaction;
  };

  const recordOf = (object: ObjectRecord, version: Version): VersionRecord => {
    const order = typeof version === 'bigint' ? Number(version) : Number.NaN;
    const key = typeof version === 'bigint' ? order : version;
    let record = object.versions.get(key);
    if (record === undefined) {
      record = {
        object,
        version,
        order,
        base: undefined,
        writer: undefined,
        replicaId: '',
        rival: undefined,
        isIntermediate: false,
        readers: [],
      };
      object.versions.set(key, record);
    }
    return record;
  };

  return {
    step(operation) {
      const facts = operation.facts;
      if (facts === undefined || facts.version === undefined || facts.objectKey === '') return;
      const isWrite = isWriteKind(operation);
      if (!isWrite && operation.kind !== 'read') return;
      if (!isWrite && operation.failed) return;
      const transaction = transactionOf(operation);
      const object = objectOf(operation);
      const record = recordOf(object, facts.version);
      if (isWrite) {
        if (record.writer === undefined) {
          record.writer = transaction;
          record.write = operation;
          record.base = facts.versionBase;
          record.replicaId = facts.replicaId;
        } else if (record.writer !== transaction) {
          // Replicas that apply a change write its version again; two writers on one replica collide.
          if (facts.replicaId === record.replicaId) record.rival ??= transaction;
          return;
        }
        for (const earlier of transaction.writes) if (earlier.object === object && earlier !== record) earlier.isIntermediate = true;
        if (!transaction.writes.includes(record)) transaction.writes.push(record);
        return;
      }
      if (record.readers.at(-1) !== transaction && !record.readers.includes(transaction)) record.readers.push(transaction);
      let own: VersionRecord | undefined;
      for (const wrote of transaction.writes) if (wrote.object === object) own = wrote;
      if (own?.write !== undefined && own !== record && isAfter(operation, own.write) && transaction.outcome === 'committed')
        internal.push({ is: 'internal', reader: transaction, record, wrote: own, operation });
      pendingReads.push({ reader: transaction, record, operation });
    },
    aberrations() {
      const found: Aberration[] = internal.filter((item) => item.reader.outcome === 'committed');
      internal = [];
      const open: PendingRead[] = [];
      for (const pending of pendingReads) {
        const { reader, record } = pending;
        const writer = record.writer;
        if (writer === undefined) {
          // The writer's span may still come in the next round.
          if (reader.isNew) open.push(pending);
          continue;
        }
        if (writer === reader || reader.outcome !== 'committed') continue;
        writer.isRead = true;
        if (writer.outcome === 'aborted') found.push({ is: 'G1a', ...pending });
        else if (record.isIntermediate) found.push({ is: 'G1b', ...pending });
        else if (writer.isNew) open.push(pending);
      }
      pendingReads = open;
      return found;
    },
    edges() {
      const edges: Edge[] = [];
      const isIn = (transaction: Transaction | undefined): transaction is Transaction =>
        transaction !== undefined &&
        !transaction.dead &&
        (transaction.outcome === 'committed' || (transaction.outcome === 'unknown' && transaction.isRead));
      const link = (
        kind: EdgeKind,
        from: Transaction,
        to: Transaction,
        seen: VersionRecord | undefined,
        next: VersionRecord | undefined,
      ): void => {
        if (from !== to) edges.push({ kind, from, to, seen, next });
      };
      for (const ofType of types.values()) {
        for (const object of ofType.values()) {
          if (object.versions.size === 0) continue;
          const ordered: VersionRecord[] = [];
          for (const record of object.versions.values()) {
            const writer = record.writer;
            if (isIn(writer) && !record.isIntermediate) {
              for (const reader of record.readers) if (isIn(reader)) link('wr', writer, reader, record, undefined);
            } else if (isIn(writer))
              for (const reader of record.readers) if (isIn(reader) && reader !== writer) link('wr', writer, reader, record, undefined);
            if (typeof record.version === 'bigint') {
              ordered.push(record);
              continue;
            }
            // Opaque: only a base says what came before.
            if (typeof record.base !== 'string' || !isIn(writer) || record.isIntermediate) continue;
            let before = object.versions.get(record.base);
            // The base may be the writer's own intermediate version: go back to what that one replaced.
            for (
              let i = 0;
              i < 64 && before !== undefined && before.isIntermediate && before.writer === writer && typeof before.base === 'string';
              i += 1
            ) {
              before = object.versions.get(before.base);
            }
            if (before === undefined) continue;
            if (isIn(before.writer)) link('ww', before.writer, writer, before, record);
            for (const reader of before.readers) if (isIn(reader)) link('rw', reader, writer, before, record);
          }
          if (ordered.length < 2) continue;
          ordered.sort((a, b) => a.order - b.order);
          let next: VersionRecord | undefined;
          for (let i = ordered.length - 1; i >= 0; i -= 1) {
            const record = ordered[i] as VersionRecord;
            const writer = record.writer;
            if (next?.writer !== undefined) {
              for (const reader of record.readers) if (isIn(reader)) link('rw', reader, next.writer, record, next);
              if (next.rival !== undefined && isIn(next.rival))
                for (const reader of record.readers) if (isIn(reader)) link('rw', reader, next.rival, record, next);
              if (isIn(writer) && !record.isIntermediate) link('ww', writer, next.writer, record, next);
            }
            if (isIn(writer) && !record.isIntermediate) next = record;
          }
        }
      }
      for (const list of sessions.values()) {
        for (let i = 1; i < list.length; i += 1) {
          const from = list[i - 1] as Transaction;
          const to = list[i] as Transaction;
          if (isIn(from) && isIn(to) && from.endUs <= to.startUs) link('so', from, to, undefined, undefined);
        }
      }
      return edges;
    },
    forget(beforeUs, keep) {
      newTransactions = 0;
      let excess = transactions.size - keep;
      let hasDead = false;
      for (const [key, transaction] of transactions) {
        transaction.isNew = false;
        if (excess > 0 || transaction.endUs < beforeUs) {
          transaction.dead = true;
          transactions.delete(key);
          excess -= 1;
          hasDead = true;
        }
      }
      if (!hasDead) return;
      for (const [type, ofType] of types) {
        for (const [key, object] of ofType) {
          for (const [version, record] of object.versions) {
            let kept = 0;
            for (const reader of record.readers) {
              if (reader.dead) continue;
              record.readers[kept] = reader;
              kept += 1;
            }
            record.readers.length = kept;
            if (record.rival?.dead === true) record.rival = undefined;
            if (kept === 0 && record.rival === undefined && (record.writer === undefined || record.writer.dead))
              object.versions.delete(version);
          }
          if (object.versions.size === 0) ofType.delete(key);
        }
        if (ofType.size === 0) types.delete(type);
      }
      for (const [session, list] of sessions) {
        const alive = list.filter((transaction) => !transaction.dead);
        if (alive.length === 0) sessions.delete(session);
        else if (alive.length < list.length) sessions.set(session, alive);
      }
    },
    get newTransactions() {
      return newTransactions;
    },
    transactions,
  };
}

/** SDKs stamp spans of one process with clocks that drift apart by a millisecond or so; only events of one span have an order of their own. */
const driftUs = 5000;

function isAfter(read: Operation, write: Operation): boolean {
  if (read.spanId === write.spanId && read.traceId === write.traceId) return read.index > write.index;
  return read.startUs >= write.endUs + driftUs;
}
