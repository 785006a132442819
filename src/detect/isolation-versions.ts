import { Hash64 } from '../base/hash64.ts';
import type { Version } from '../domain/operation.ts';
import {
  isCircular,
  isCounted,
  isForked,
  isIndexed,
  type IsolationTables,
  isWritten,
  none,
  o,
  objectStride,
  v,
  versionStride,
} from './isolation-tables.ts';
import { TypeDomains } from './type-domains.ts';

/** An object with more versions than this finds them by an index instead of looking through them. */
const walkMax = 32;

/**
 * Objects of the window and the order of their versions: integers in a list, opaque ones in a tree of what was derived from what. Says of how
 * many objects the order is not known.
 */
export class ObjectVersions {
  readonly #tables: IsolationTables;
  readonly #hash = new Hash64();
  readonly #domains = new TypeDomains();
  /** The type that was hashed last: neighbours often share it, and the text is the same where they do. */
  #type = '';
  #typeLow: number;
  #typeHigh: number;
  #unordered = 0;

  constructor(tables: IsolationTables) {
    this.#tables = tables;
    this.#hash.start().text('');
    this.#typeLow = this.#hash.low;
    this.#typeHigh = this.#hash.high;
  }

  objectOf(type: string, key: string, domain: string): number {
    const { low, high } = this.#hashOfObject(type, key, domain);
    return this.objectAt(low, high, type, key, domain);
  }

  /** {@link objectOf} where its hash is known. */
  objectAt(low: number, high: number, type: string, key: string, domain: string): number {
    const tables = this.#tables;
    const known = tables.byObject.find(low, high);
    if (known !== none) return known;
    const row = tables.takeObject(type, key, domain);
    const { words } = tables.objects;
    const at = row * objectStride;
    tables.byObject.add(low, high, row);
    words[at + o.keyLow] = low;
    words[at + o.keyHigh] = high;
    words[at + o.oldest] = none;
    words[at + o.newest] = none;
    words[at + o.versions] = 0;
    words[at + o.opaque] = 0;
    words[at + o.linked] = 0;
    return row;
  }

  /** The hash of an object, valid until the next one is asked for; undefined where a step has yet to settle which object is meant. */
  knownHashOf(type: string, key: string, domain: string): Hash64 | undefined {
    const salt = this.#domains.knownSaltOf(type, domain);
    return salt === undefined ? undefined : this.#hashWith(salt, type, key);
  }

  /** The object's row, where it has one. */
  knownObject(type: string, key: string, domain: string): number {
    const { low, high } = this.#hashOfObject(type, key, domain);
    return this.#tables.byObject.find(low, high);
  }

  #hashOfObject(type: string, key: string, domain: string): Hash64 {
    return this.#hashWith(this.#domains.saltOf(type, domain), type, key);
  }

  #hashWith(salt: string, type: string, key: string): Hash64 {
    const hash = this.#hash;
    if (type !== this.#type) {
      hash.start().text(type);
      this.#type = type;
      this.#typeLow = hash.low;
      this.#typeHigh = hash.high;
    }
    hash.low = this.#typeLow;
    hash.high = this.#typeHigh;
    hash.text(key);
    if (salt !== '') hash.text(salt);
    return hash.end();
  }

  /**
   * The object was deleted, or is made though it was there, and integer versions may begin anew: from now on its name is that of another row.
   * What is known of the life that is over stays with this one.
   */
  endLifeOf(object: number): void {
    const { byObject, objects } = this.#tables;
    const low = objects.words[object * objectStride + o.keyLow] as number;
    const high = objects.words[object * objectStride + o.keyHigh] as number;
    byObject.removeRow(low, high, object);
  }

  /** Whether an integer version is lower than one that is known, and is not known itself. */
  isUnderKnown(object: number, version: Version): boolean {
    if (typeof version === 'string') return false;
    const order = Number(version);
    const newest = this.#tables.objects.words[object * objectStride + o.newest] as number;
    if (newest === none || !((this.#tables.versions.doubles[(newest * versionStride + v.order) >> 1] as number) > order)) return false;
    return this.#find(object * objectStride, order, version) === none;
  }

  /** Whether an opaque version is one that others were derived from. */
  isBase(object: number, version: Version): boolean {
    if (typeof version !== 'string') return false;
    const row = this.#find(object * objectStride, Number.NaN, version);
    return row !== none && this.#tables.versions.words[row * versionStride + v.firstSuccessor] !== none;
  }

  isOfCircle(version: number): boolean {
    const object = this.#tables.versions.words[version * versionStride + v.object] as number;
    return this.#has(object * objectStride, isCircular);
  }

  versionOf(object: number, version: Version): number {
    const tables = this.#tables;
    const order = typeof version === 'string' ? Number.NaN : Number(version);
    const ofObject = object * objectStride;
    const known = this.#find(ofObject, order, version);
    if (known !== none) return known;
    const row = tables.takeVersion(Number.isSafeInteger(order) ? undefined : version);
    const { words, doubles } = tables.versions;
    const at = row * versionStride;
    words[at + v.object] = object;
    for (let word = at + v.base; word <= at + v.firstReader; word += 1) words[word] = none;
    doubles[(at + v.order) >> 1] = order;
    const objects = tables.objects.words;
    const count = (objects[ofObject + o.versions] as number) + 1;
    objects[ofObject + o.versions] = count;
    if (typeof version === 'string') objects[ofObject + o.opaque] = (objects[ofObject + o.opaque] as number) + 1;
    this.#enlist(ofObject, row, order, version);
    if (this.#has(ofObject, isIndexed)) this.#index(row);
    else if (count > walkMax) this.#indexAll(ofObject);
    return row;
  }

  /** A version that is known. Most operations are about the newest; an object with many versions has an index of them. */
  #find(ofObject: number, order: number, version: Version): number {
    const { versions, objects, byVersion } = this.#tables;
    const { words, doubles } = versions;
    const isOpaque = typeof version === 'string';
    const isSafe = Number.isSafeInteger(order);
    let row = objects.words[ofObject + o.newest] as number;
    if (row === none) return none;
    const newest = doubles[(row * versionStride + v.order) >> 1] as number;
    if (isSafe && order === newest) return row;
    // Above the highest: new.
    if (order > newest) return none;
    if (this.#has(ofObject, isIndexed)) {
      const { low, high } = this.#hashOf(ofObject / objectStride, order, version);
      return byVersion.find(low, high);
    }
    for (; row !== none; row = words[row * versionStride + v.older] as number) {
      const known = doubles[(row * versionStride + v.order) >> 1] as number;
      if (isSafe ? known === order : this.#tables.toldOf(row) === version) return row;
      if (!isOpaque && known < order) return none;
    }
    return none;
  }

  #hashOf(object: number, order: number, version: Version | undefined): Hash64 {
    const hash = this.#hash.start();
    if (Number.isSafeInteger(order)) hash.pair(order | 0, Math.floor(order / 0x1_0000_0000) | 0);
    else hash.text(typeof version === 'string' ? version : `${version}n`);
    return hash.pair(object, 0).end();
  }

  #hashOfRow(row: number): Hash64 {
    const { versions } = this.#tables;
    const at = row * versionStride;
    const told = this.#tables.toldOf(row);
    return this.#hashOf(versions.words[at + v.object] as number, versions.doubles[(at + v.order) >> 1] as number, told);
  }

  #index(row: number): void {
    const { low, high } = this.#hashOfRow(row);
    this.#tables.byVersion.add(low, high, row);
  }

  /** From now on this object's versions are found by the index. */
  #indexAll(ofObject: number): void {
    const { versions, objects } = this.#tables;
    this.#flag(ofObject, isIndexed);
    for (
      let row = objects.words[ofObject + o.newest] as number;
      row !== none;
      row = versions.words[row * versionStride + v.older] as number
    )
      this.#index(row);
  }

  /**
   * Puts a version into its object's list: integers rising, opaque ones (which have no order of their own) before them. Versions come nearly in
   * order: the place is at or near the end.
   */
  #enlist(ofObject: number, row: number, order: number, value: Version): void {
    const { versions, objects } = this.#tables;
    const { words } = versions;
    const newest = objects.words[ofObject + o.newest] as number;
    const oldest = objects.words[ofObject + o.oldest] as number;
    let before = newest;
    if (newest !== none && this.#isHigher(newest, order, value) && this.#isHigher(oldest, order, value)) before = none;
    else while (before !== none && this.#isHigher(before, order, value)) before = words[before * versionStride + v.older] as number;
    const behind = before === none ? oldest : (words[before * versionStride + v.newer] as number);
    words[row * versionStride + v.older] = before;
    words[row * versionStride + v.newer] = behind;
    if (before === none) objects.words[ofObject + o.oldest] = row;
    else words[before * versionStride + v.newer] = row;
    if (behind === none) objects.words[ofObject + o.newest] = row;
    else words[behind * versionStride + v.older] = row;
  }

  #isHigher(row: number, order: number, value: Version): boolean {
    if (typeof value === 'string') return true;
    const known = this.#tables.versions.doubles[(row * versionStride + v.order) >> 1] as number;
    // Beyond 2^53 different integers share a double.
    return known > order || (known === order && BigInt(this.#tables.toldOf(row) ?? known) > value);
  }

  /** A version was written first, derived from `base` where that is given. */
  noteWrite(object: number, row: number, version: Version | undefined, base: Version | undefined): void {
    const { versions, objects } = this.#tables;
    const ofObject = object * objectStride;
    this.#flag(ofObject, isWritten);
    if (typeof version !== 'string' || typeof base !== 'string' || base === version) return;
    const from = this.versionOf(object, base);
    const { words } = versions;
    if (words[row * versionStride + v.base] !== none) return;
    if (this.#descends(from, row)) {
      // It came back, as a digest of contents does: it stands at several places, and no order is known.
      this.#flag(ofObject, isCircular);
      return;
    }
    const brother = words[from * versionStride + v.firstSuccessor] as number;
    if (brother !== none) this.#flag(ofObject, isForked);
    words[row * versionStride + v.base] = from;
    words[row * versionStride + v.nextSuccessor] = brother;
    words[from * versionStride + v.firstSuccessor] = row;
    objects.words[ofObject + o.linked] = (objects.words[ofObject + o.linked] as number) + 1;
  }

  /** Bounded by the versions of the object, of which none has two bases. */
  #descends(version: number, from: number): boolean {
    const { words } = this.#tables.versions;
    for (let row = version; row !== none; row = words[row * versionStride + v.base] as number) if (row === from) return true;
    return false;
  }

  /** A version was written again by another transaction, on the replica where it was written first. */
  noteAgain(object: number, row: number): void {
    const { versions } = this.#tables;
    // Integers do not come back; two that gave out one number collided.
    if (Number.isNaN(versions.doubles[(row * versionStride + v.order) >> 1])) this.#flag(object * objectStride, isCircular);
  }

  /** Lets go of a version that nobody in the window wrote, read or derived from, and of bases that hung on it alone. */
  drop(version: number): void {
    const { versions, objects, byVersion } = this.#tables;
    const { words, doubles } = versions;
    // Bounded: each turn lets go of one version.
    for (let row = version; row !== none; ) {
      const at = row * versionStride;
      if (words[at + v.writer] !== none || words[at + v.rival] !== none || words[at + v.firstReader] !== none) return;
      const object = words[at + v.object] as number;
      const ofObject = object * objectStride;
      const base = words[at + v.base] as number;
      if (Number.isNaN(doubles[(at + v.order) >> 1])) {
        this.#judgeOrder(ofObject);
        // A base that was only named lives as long as what was derived from it.
        if (base === none && words[at + v.firstSuccessor] !== none) return;
        this.#unlink(ofObject, row);
      }
      if (this.#has(ofObject, isIndexed)) {
        const { low, high } = this.#hashOfRow(row);
        byVersion.remove(low, high);
      }
      const older = words[at + v.older] as number;
      const newer = words[at + v.newer] as number;
      if (older === none) objects.words[ofObject + o.oldest] = newer;
      else words[older * versionStride + v.newer] = newer;
      if (newer === none) objects.words[ofObject + o.newest] = older;
      else words[newer * versionStride + v.older] = older;
      versions.give(row);
      const left = (objects.words[ofObject + o.versions] as number) - 1;
      objects.words[ofObject + o.versions] = left;
      if (left === 0) {
        this.endLifeOf(object);
        this.#tables.giveObject(object);
        return;
      }
      row = base;
    }
  }

  #unlink(ofObject: number, row: number): void {
    const { words } = this.#tables.versions;
    const objects = this.#tables.objects.words;
    const at = row * versionStride;
    const base = words[at + v.base] as number;
    let links = 0;
    if (base !== none) {
      links += 1;
      const baseAt = base * versionStride + v.firstSuccessor;
      if (words[baseAt] === row) words[baseAt] = words[at + v.nextSuccessor] as number;
      else {
        let brother = words[baseAt] as number;
        while (words[brother * versionStride + v.nextSuccessor] !== row)
          brother = words[brother * versionStride + v.nextSuccessor] as number;
        words[brother * versionStride + v.nextSuccessor] = words[at + v.nextSuccessor] as number;
      }
    }
    for (let next = words[at + v.firstSuccessor] as number; next !== none; links += 1) {
      const behind = words[next * versionStride + v.nextSuccessor] as number;
      words[next * versionStride + v.base] = none;
      words[next * versionStride + v.nextSuccessor] = none;
      next = behind;
    }
    objects[ofObject + o.opaque] = (objects[ofObject + o.opaque] as number) - 1;
    objects[ofObject + o.linked] = (objects[ofObject + o.linked] as number) - links;
  }

  /** Opaque versions that were written and do not hang together in a single chain of bases have no known order. */
  #judgeOrder(ofObject: number): void {
    const { words } = this.#tables.objects;
    const opaque = words[ofObject + o.opaque] as number;
    if (opaque < 2 || this.#has(ofObject, isCounted) || !this.#has(ofObject, isWritten)) return;
    if (!this.#has(ofObject, isForked | isCircular) && opaque - (words[ofObject + o.linked] as number) <= 1) return;
    this.#flag(ofObject, isCounted);
    this.#unordered += 1;
  }

  #has(ofObject: number, bits: number): boolean {
    return ((this.#tables.objects.words[ofObject + o.flags] as number) & bits) !== 0;
  }

  #flag(ofObject: number, bit: number): void {
    const { words } = this.#tables.objects;
    words[ofObject + o.flags] = (words[ofObject + o.flags] as number) | bit;
  }

  /** Objects counted so far: when their first version leaves the window, and by {@link judgeAll}. */
  get unordered(): number {
    return this.#unordered;
  }

  /** At the end of input: what is still in the window. */
  judgeAll(): void {
    const { objects, byObject } = this.#tables;
    for (let row = 0; row < objects.end; row += 1) {
      const at = row * objectStride;
      if (byObject.find(objects.words[at + o.keyLow] as number, objects.words[at + o.keyHigh] as number) === row) this.#judgeOrder(at);
    }
  }
}
