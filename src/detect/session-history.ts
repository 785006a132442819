import { Hash64 } from '../base/hash64.ts';
import { EarlierOperations, noRecord } from './earlier-operations.ts';
import type { KeyedStep } from './keyed-step.ts';

/** One place of the table: a cache line, so that looking a session up on an object costs one miss. */
const stride = 16;
const keyLow = 0;
const keyHigh = 1;
const objectLow = 2;
const flags = 3;
const lastWrite = 4;
const lastRead = 5;
const writeCount = 6;
const readCount = 7;
const touchedUs = 8;
const highestWrite = 10;
const highestRead = 12;
const newestRead = 14;

const isOfTrace = 1;
/** A write, or a read, has a version that is no number. */
const hasOpaqueWrite = 2;
const hasOpaqueRead = 4;

const placesMin = 256;
/** Earlier writes and reads that count, newest first: a newer one that surely came first is among the last few. */
const remembered = 4;
/** Lists are cut back to what counts when they are twice as long, so that adding does not walk. */
const listMax = remembered * 2;
/** Places looked at for every operation, to let go of those whose time is over. */
const sweptPerNote = 2;

/**
 * What each session did on each object: its last few committed writes and reads, for the session detectors, which all look here. A session and
 * an object are known by 64 bits of both. Most questions are answered by numbers in the place itself (the highest version written and read);
 * the operations lie elsewhere, and are looked at only where those numbers leave a doubt.
 *
 * Whether something is still remembered depends on event times only, never on when its place was reclaimed. Open addressing, removal by
 * shifting back (Knuth 3, 6.4, algorithm R), at most 60 % full.
 */
export class SessionHistory {
  readonly earlier = new EarlierOperations();
  #words = new Int32Array(placesMin * stride);
  #doubles = new Float64Array(this.#words.buffer);
  #mask = placesMin - 1;
  #count = 0;
  #cursor = 0;
  readonly #hash = new Hash64();
  readonly #retainUs: number;
  readonly #traceRetainUs: number;
  /** The place of the step that was opened last, in words; -1 where the session has not touched the object. */
  #at = -1;
  #low = 0;
  #high = 0;
  /** How long the session had not touched the object before the step. */
  quietUs = 0;

  /** A session that is only a trace (nothing names it) is over when its trace is: it is remembered for `traceRetainUs` at most. */
  constructor(retainUs: number, traceRetainUs: number) {
    this.#retainUs = retainUs;
    this.#traceRetainUs = Math.min(retainUs, traceRetainUs);
  }

  /** Bytes in use: a place with its share of the empty ones, and the operations. */
  get bytes(): number {
    return this.#count * stride * 7 + this.earlier.bytes;
  }

  get size(): number {
    return this.#count;
  }

  /** Turns to the step's session and object; what follows is about them. */
  open(step: KeyedStep): void {
    const { low, high } = this.#hash.start().pair(step.objectLow, step.objectHigh).pair(step.sessionLow, step.sessionHigh).end();
    this.#low = low;
    this.#high = high;
    this.#at = -1;
    this.quietUs = 0;
    const at = this.#find(low, high);
    if (at < 0) return;
    this.quietUs = step.operation.endUs - (this.#doubles[(at + touchedUs) >> 1] as number);
    if (this.quietUs > this.#retainOf(at)) this.#removeAt(at);
    else this.#at = at;
  }

  /** Whether the session may have written a version that is newer than the step's. False is certain. */
  mayHaveWrittenNewer(step: KeyedStep): boolean {
    const at = this.#at;
    if (at < 0 || this.#words[at + lastWrite] === noRecord) return false;
    if (Number.isNaN(step.order) || ((this.#words[at + flags] as number) & hasOpaqueWrite) !== 0) return true;
    return step.order < (this.#doubles[(at + highestWrite) >> 1] as number);
  }

  mayHaveReadNewer(step: KeyedStep): boolean {
    const at = this.#at;
    if (at < 0 || this.#words[at + lastRead] === noRecord) return false;
    if (Number.isNaN(step.order) || ((this.#words[at + flags] as number) & hasOpaqueRead) !== 0) return true;
    return step.order < (this.#doubles[(at + highestRead) >> 1] as number);
  }

  /** Its committed writes of the object, newest first; at most a few. */
  writes(): readonly number[] {
    return this.#list(lastWrite);
  }

  /** Its reads of the object, newest first, the first read of each version in a row. */
  reads(): readonly number[] {
    return this.#list(lastRead);
  }

  #list(head: number): readonly number[] {
    const rows: number[] = [];
    let row = this.#at < 0 ? noRecord : (this.#words[this.#at + head] as number);
    for (; rows.length < remembered && row !== noRecord; row = this.earlier.nextOf(row)) rows.push(row);
    return rows;
  }

  /** Remembers the step, after detectors have looked. */
  note(step: KeyedStep): void {
    const { operation, facts } = step;
    const isDelete = operation.kind === 'delete';
    if (!operation.failed && isDelete && facts.version !== undefined && this.#at >= 0) this.#clearReads(this.#at);
    if (step.isCommittedWrite && (facts.version !== undefined || isDelete)) this.#push(step, true);
    else if (operation.kind === 'read' && !operation.failed && facts.version !== undefined) this.#push(step, false);
    else if (this.#at >= 0) this.#touch(this.#at, operation.endUs);
    this.#sweep(operation.endUs);
  }

  /** Forgets the objects that `keep` refuses, by the half of their hash by which they are sampled. */
  narrow(keep: (objectLow: number) => boolean): void {
    for (let at = 0; at < this.#words.length; ) {
      if (this.#isEmpty(at) || keep(this.#words[at + objectLow] as number)) at += stride;
      // What followed has moved here.
      else this.#removeAt(at);
    }
    this.#at = -1;
  }

  #push(step: KeyedStep, isWrite: boolean): void {
    const { earlier } = this;
    const at = this.#at >= 0 ? this.#at : this.#take(step);
    const words = this.#words;
    const doubles = this.#doubles;
    this.#touch(at, step.operation.endUs);
    const head = words[at + (isWrite ? lastWrite : lastRead)] as number;
    if (!isWrite && head !== noRecord) {
      // The earliest read of a version is the one that surely came before later ones.
      const isSame = Number.isNaN(step.order) ? earlier.isSameVersion(head, step) : doubles[(at + newestRead) >> 1] === step.order;
      if (isSame) return;
    }
    const row = earlier.take(step, head);
    words[at + (isWrite ? lastWrite : lastRead)] = row;
    const count = (words[at + (isWrite ? writeCount : readCount)] as number) + 1;
    words[at + (isWrite ? writeCount : readCount)] = count;
    const highest = (at + (isWrite ? highestWrite : highestRead)) >> 1;
    if (Number.isNaN(step.order)) words[at + flags] = (words[at + flags] as number) | (isWrite ? hasOpaqueWrite : hasOpaqueRead);
    else if (step.order > (doubles[highest] as number)) doubles[highest] = step.order;
    if (!isWrite) doubles[(at + newestRead) >> 1] = step.order;
    if (count < listMax) return;
    let last = row;
    for (let i = 1; i < remembered; i += 1) last = earlier.nextOf(last);
    earlier.giveList(earlier.nextOf(last));
    earlier.link(last, noRecord);
    words[at + (isWrite ? writeCount : readCount)] = remembered;
  }

  #clearReads(at: number): void {
    this.earlier.giveList(this.#words[at + lastRead] as number);
    this.#words[at + lastRead] = noRecord;
    this.#words[at + readCount] = 0;
    this.#doubles[(at + highestRead) >> 1] = Number.NEGATIVE_INFINITY;
  }

  #touch(at: number, us: number): void {
    if (us > (this.#doubles[(at + touchedUs) >> 1] as number)) this.#doubles[(at + touchedUs) >> 1] = us;
  }

  #retainOf(at: number): number {
    return ((this.#words[at + flags] as number) & isOfTrace) !== 0 ? this.#traceRetainUs : this.#retainUs;
  }

  #isEmpty(at: number): boolean {
    return this.#words[at + keyLow] === 0 && this.#words[at + keyHigh] === 0;
  }

  #find(low: number, high: number): number {
    const words = this.#words;
    const mask = this.#mask;
    for (let place = low & mask; ; place = (place + 1) & mask) {
      const at = place * stride;
      if (words[at + keyLow] === low && words[at + keyHigh] === high) return at;
      if (words[at + keyLow] === 0 && words[at + keyHigh] === 0) return -1;
    }
  }

  #take(step: KeyedStep): number {
    if ((this.#count + 1) * 5 > (this.#mask + 1) * 3) this.#grow();
    const mask = this.#mask;
    let place = this.#low & mask;
    while (!this.#isEmpty(place * stride)) place = (place + 1) & mask;
    const at = place * stride;
    const words = this.#words;
    words[at + keyLow] = this.#low;
    words[at + keyHigh] = this.#high;
    words[at + objectLow] = step.objectLow;
    words[at + flags] = step.isTraceSession ? isOfTrace : 0;
    words[at + lastWrite] = noRecord;
    words[at + lastRead] = noRecord;
    words[at + writeCount] = 0;
    words[at + readCount] = 0;
    this.#doubles[(at + touchedUs) >> 1] = step.operation.endUs;
    this.#doubles[(at + highestWrite) >> 1] = Number.NEGATIVE_INFINITY;
    this.#doubles[(at + highestRead) >> 1] = Number.NEGATIVE_INFINITY;
    this.#doubles[(at + newestRead) >> 1] = Number.NaN;
    this.#count += 1;
    this.#at = at;
    return at;
  }

  #removeAt(removed: number): void {
    const words = this.#words;
    const mask = this.#mask;
    this.earlier.giveList(words[removed + lastWrite] as number);
    this.earlier.giveList(words[removed + lastRead] as number);
    this.#count -= 1;
    let hole = removed / stride;
    for (let place = (hole + 1) & mask; !this.#isEmpty(place * stride); place = (place + 1) & mask) {
      const home = (words[place * stride + keyLow] as number) & mask;
      if (((place - home) & mask) < ((place - hole) & mask)) continue;
      words.copyWithin(hole * stride, place * stride, (place + 1) * stride);
      hole = place;
    }
    words[hole * stride + keyLow] = 0;
    words[hole * stride + keyHigh] = 0;
  }

  #grow(): void {
    const old = this.#words;
    this.#mask = (this.#mask + 1) * 2 - 1;
    const words = new Int32Array((this.#mask + 1) * stride);
    for (let at = 0; at < old.length; at += stride) {
      const low = old[at + keyLow] as number;
      if (low === 0 && old[at + keyHigh] === 0) continue;
      let place = low & this.#mask;
      while (words[place * stride + keyLow] !== 0 || words[place * stride + keyHigh] !== 0) place = (place + 1) & this.#mask;
      words.set(old.subarray(at, at + stride), place * stride);
    }
    this.#words = words;
    this.#doubles = new Float64Array(words.buffer);
  }

  #sweep(atUs: number): void {
    for (let i = 0; i < sweptPerNote; i += 1) {
      if (this.#cursor >= this.#words.length) this.#cursor = 0;
      const at = this.#cursor;
      this.#cursor += stride;
      if (!this.#isEmpty(at) && atUs - (this.#doubles[(at + touchedUs) >> 1] as number) > this.#retainOf(at)) this.#removeAt(at);
    }
    this.#at = -1;
  }
}
