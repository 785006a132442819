import { grainUs } from './causality.ts';
import { HashTable } from '../base/hash-table.ts';
import { hexOf } from '../base/hex-words.ts';
import { NumberedNames } from '../base/numbered-names.ts';
import { Rows } from '../base/rows.ts';
import type { SpanRef } from '../domain/anomaly.ts';
import type { Version } from '../domain/operation.ts';
import { spanAt } from './span-ids.ts';

/**
 * The tables of the isolation checker: transactions, what each read and wrote, versions, objects. Typed arrays instead of objects, because a
 * window of them lives for seconds and then dies: as objects it took three times the memory, and a third of the time went into collecting.
 * A row number that is kept beyond the row's life is a bug: whoever gives a row back clears what points to it.
 *
 * Fifty thousand transactions are more than a processor's cache holds, and each row is met twice, as new and as the oldest: so rows are whole
 * or half cache lines, and texts that most rows do not have lie beside them, told by a bit.
 */

/** No row. */
export const none = -1;

/** Transactions: words of a row, which is a cache line. */
export const transactionStride = 16;
export const t = {
  keyLow: 0,
  keyHigh: 1,
  /** Bits: see below; above them how many accesses it has, and the number of its service. */
  state: 2,
  /** Newest first. */
  lastAccess: 3,
  /** Order of appearance in the window. */
  newer: 4,
  /** The next one of its session. */
  after: 5,
  startUs: 6,
  endUs: 8,
  /** Trace and span id of its first span, six words. */
  ids: 10,
} as const;

/** A transaction's words beside its row. */
export const markStride = 4;
export const m = {
  /** Tarjan's marks, valid for one round. */
  round: 0,
  order: 1,
  /** Its session, where it is of one. */
  sessionLow: 2,
  sessionHigh: 3,
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
/** It has an id. */
export const isNamed = 64;
/** It stands in the order of a session. */
export const isOfSession = 128;
/** Accesses are counted up to the mask. */
export const accessesShift = 8;
export const accessesMask = 31;
export const serviceShift = 13;

/** One read or write of one version by one transaction. */
export const accessStride = 8;
export const a = {
  transaction: 0,
  version: 1,
  /** The object's row in the upper bits; below it `reads`, `writes` or `rivals`. */
  objectAndKind: 2,
  /** The transaction's access before this one. */
  previous: 3,
  /** Readers of one version, newest first. */
  nextReader: 4,
  previousReader: 5,
  /** Its span, two words. */
  span: 6,
} as const;

export const kindMask = 3;
export const objectShift = 2;

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
  /** Bits: see below. */
  flags: 11,
  /** Integer versions as doubles; NaN: opaque. */
  order: 12,
  writeEndUs: 14,
} as const;

/** Bits of a version's flags. Its writer wrote the object again later. */
export const isIntermediate = 1;
/** It has a text, or is an integer that a double does not hold. */
export const isTold = 2;
/** Its write named a replica, or a digest. */
export const hasReplica = 4;
export const hasDigest = 8;

export const objectStride = 8;
export const o = {
  keyLow: 0,
  keyHigh: 1,
  /** Ends of the list of its versions. */
  oldest: 2,
  newest: 3,
  versions: 4,
  /** Opaque versions, and those of them whose base is known. */
  opaque: 5,
  linked: 6,
  /** Bits: see below; above them the number of its type and domain. */
  flags: 7,
} as const;

/** Bits of an object's flags. An opaque version of it was written. */
export const isWritten = 1;
/** Two versions were derived from one. */
export const isForked = 2;
/** Counted among the objects whose order is not known. */
export const isCounted = 4;
/** Its versions are in `byVersion`. */
export const isIndexed = 8;
/** An opaque version was written again after others had followed it. */
export const isCircular = 16;
const familyShift = 5;

/** Services that are told apart: so many as a transaction's row has room for. */
const servicesMax = 2 ** (32 - serviceShift) - 1;
/** Types with their domains are few; those of a sender of endless types are kept by object, and go with it. */
const familiesMax = 10_000;

interface Family {
  readonly type: string;
  readonly domain: string;
}

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

  /** What a search says of transactions, and the sessions of those that have one. */
  marks: Int32Array = new Int32Array(1024 * markStride);
  readonly services = new NumberedNames(servicesMax);
  // Texts by row, as long as the tables. What a row's bits do not speak of is of an earlier row.
  /** Ids of transactions that have one; others are known by their span. */
  readonly #names: string[] = [];
  /** Opaque versions, and integers that a double does not hold. */
  readonly #told: Version[] = [];
  readonly #replicas: string[] = [];
  readonly #digests: string[] = [];
  readonly #keys: string[] = [];
  /** What objects share; their rows hold one more than the place here, or 0. */
  readonly #families: Family[] = [];
  readonly #numberOfFamily = new Map<string, number>();
  readonly #oddFamilies = new Map<number, Family>();
  #type = '';
  #domain = '';
  #family = 0;

  /** A transaction's row, of which nothing is filled in but its name. The bits that say so are for its state. */
  takeTransaction(name: string): number {
    const row = this.transactions.take();
    if ((row + 1) * markStride > this.marks.length) {
      const marks = new Int32Array(Math.ceil((this.marks.length / markStride) * 1.5) * markStride);
      marks.set(this.marks);
      this.marks = marks;
    }
    if (row >= this.#names.length) this.#names.push(name);
    else if (name !== '') this.#names[row] = name;
    return row;
  }

  takeVersion(version: Version | undefined): number {
    const row = this.versions.take();
    if (row >= this.#told.length) {
      this.#told.push(version ?? '');
      this.#replicas.push('');
      this.#digests.push('');
    } else if (version !== undefined) this.#told[row] = version;
    this.versions.words[row * versionStride + v.flags] = version === undefined ? 0 : isTold;
    return row;
  }

  /** The flags of the row are those of a new object. */
  takeObject(type: string, key: string, domain: string): number {
    const row = this.objects.take();
    if (row >= this.#keys.length) this.#keys.push(key);
    else this.#keys[row] = key;
    if (type !== this.#type || domain !== this.#domain || this.#family === 0) {
      this.#type = type;
      this.#domain = domain;
      this.#family = this.#familyOf(type, domain);
    }
    if (this.#family === 0) this.#oddFamilies.set(row, { type, domain });
    this.objects.words[row * objectStride + o.flags] = this.#family << familyShift;
    return row;
  }

  giveObject(row: number): void {
    if (this.#oddFamilies.size > 0) this.#oddFamilies.delete(row);
    this.objects.give(row);
  }

  #familyOf(type: string, domain: string): number {
    const text = `${type}\0${domain}`;
    const known = this.#numberOfFamily.get(text);
    if (known !== undefined) return known;
    if (this.#families.length >= familiesMax) return 0;
    this.#families.push({ type, domain });
    this.#numberOfFamily.set(text, this.#families.length);
    return this.#families.length;
  }

  /** What an object is. */
  objectAt(row: number): Family & { readonly key: string } {
    const number = (this.objects.words[row * objectStride + o.flags] ?? 0) >>> familyShift;
    const family = this.#families[number - 1] ?? this.#oddFamilies.get(row);
    return { type: family?.type ?? '', key: this.#keys[row] ?? '', domain: family?.domain ?? '' };
  }

  serviceOf(transaction: number): string {
    return this.services.nameOf((this.transactions.words[transaction * transactionStride + t.state] ?? 0) >>> serviceShift);
  }

  /** A transaction's id, '' where it has none. */
  idOf(transaction: number): string {
    const isOne = ((this.transactions.words[transaction * transactionStride + t.state] ?? 0) & isNamed) !== 0;
    return isOne ? (this.#names[transaction] ?? '') : '';
  }

  /** An opaque version, or an integer that a double does not hold; undefined of others. */
  toldOf(version: number): Version | undefined {
    return ((this.versions.words[version * versionStride + v.flags] ?? 0) & isTold) === 0 ? undefined : this.#told[version];
  }

  /** Remembers where a version was written first, and its digest. */
  noteWrite(version: number, replica: string, digest: string): void {
    const at = version * versionStride + v.flags;
    const { words } = this.versions;
    const others = (words[at] as number) & ~(hasReplica | hasDigest);
    words[at] = others | (replica === '' ? 0 : hasReplica) | (digest === '' ? 0 : hasDigest);
    if (replica !== '') this.#replicas[version] = replica;
    if (digest !== '') this.#digests[version] = digest;
  }

  replicaOf(version: number): string {
    const has = ((this.versions.words[version * versionStride + v.flags] as number) & hasReplica) !== 0;
    return has ? (this.#replicas[version] as string) : '';
  }

  digestOf(version: number): string {
    const has = ((this.versions.words[version * versionStride + v.flags] as number) & hasDigest) !== 0;
    return has ? (this.#digests[version] as string) : '';
  }

  /** A transaction's first span. */
  spanOf(transaction: number): SpanRef {
    return spanAt(this.transactions.words, transaction * transactionStride + t.ids);
  }

  /** Span of an access. */
  spanOfAccess(access: number): string {
    return hexOf(this.accesses.words, access * accessStride + a.span, 2);
  }

  nameOf(transaction: number): string {
    return this.idOf(transaction) || this.spanOf(transaction).spanId;
  }

  /** Bytes of the tables, without the texts. */
  get bytes(): number {
    const { transactions, accesses, versions, objects, byKey, byObject, byVersion, bySession, ownWrites } = this;
    return [transactions, accesses, versions, objects, byKey, byObject, byVersion, bySession, ownWrites].reduce(
      (sum, table) => sum + table.bytes,
      transactions.count * markStride * 4,
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
