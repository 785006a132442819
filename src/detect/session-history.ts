import { Hash64 } from '../base/hash64.ts';
import { EarlierOperations, noRecord } from './earlier-operations.ts';
import type { KeyedStep } from './keyed-step.ts';

/** One place of the table: a cache line, so that looking a session up on an object costs one miss. */
const stride = 16;
const keyLow = 0;
const keyHigh = 1;
const objectLow = 2;
const flags = 3;
/** Its newest write, and the one before. */
const write = 4;
/** Its read of the highest version (where order is known), and the newest of its other reads. */
const read = 6;
const readBefore = 7;
const touchedUs = 8;
const highestWrite = 10;
const highestRead = 12;

const isOfTrace = 1;
/** A write, or a read, has a version that is no number. */
const hasOpaqueWrite = 2;
const hasOpaqueRead = 4;

const placesMin = 256;
/** Places looked at for every operation, to let go of those whose time is over. */
const sweptPerNote = 2;

/**
 * What each session did on each object: its last two committed writes, and of its reads the one of the highest version and the newest other,
 * for the session detectors, which all look here. Two, because the one that decides may overlap with what it is compared with. A session and
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
    if (at < 0 || this.#words[at + write] === noRecord) return false;
    if (Number.isNaN(step.order) || ((this.#words[at + flags] as number) & hasOpaqueWrite) !== 0) return true;
    return step.order < (this.#doubles[(at + highestWrite) >> 1] as number);
  }

  mayHaveReadNewer(step: KeyedStep): boolean {
    const at = this.#at;
    if (at < 0 || this.#words[at + read] === noRecord) return false;
    if (Number.isNaN(step.order) || ((this.#words[at + flags] as number) & hasOpaqueRead) !== 0) return true;
    return step.order < (this.#doubles[(at + highestRead) >> 1] as number);
  }

  /** Its committed writes of the object, newest first. */
  writes(): readonly number[] {
    return this.#pair(write);
  }

  /** Its reads of the object, the one of the highest version first. */
  reads(): readonly number[] {
    return this.#pair(read);
  }

  #pair(word: number): readonly number[] {
    if (this.#at < 0) return [];
    return [this.#words[this.#at + word] as number, this.#words[this.#at + word + 1] as number].filter((row) => row !== noRecord);
  }

  /** Remembers the step, after detectors have looked. */
  note(step: KeyedStep): void {
    const { operation, facts } = step;
    const isDelete = operation.kind === 'delete';
    if (!operation.failed && isDelete && facts.version !== undefined && this.#at >= 0) this.#clearReads(this.#at);
    if (step.isCommittedWrite && (facts.version !== undefined || isDelete)) this.#noteWrite(step);
    else if (operation.kind === 'read' && !operation.failed && facts.version !== undefined) this.#noteRead(step);
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

  #noteWrite(step: KeyedStep): void {
    const at = this.#at >= 0 ? this.#at : this.#take(step);
    this.#touch(at, step.operation.endUs);
    this.#replaceBefore(at + write, step, true);
    if (Number.isNaN(step.order)) this.#flag(at, hasOpaqueWrite);
    else if (step.order > (this.#doubles[(at + highestWrite) >> 1] as number)) this.#doubles[(at + highestWrite) >> 1] = step.order;
  }

  #noteRead(step: KeyedStep): void {
    const at = this.#at >= 0 ? this.#at : this.#take(step);
    const doubles = this.#doubles;
    this.#touch(at, step.operation.endUs);
    const known = this.#words[at + read] as number;
    const isOpaque = Number.isNaN(step.order);
    const highest = doubles[(at + highestRead) >> 1] as number;
    // The earliest read of a version is the one that surely came before later ones.
    if (isOpaque ? known !== noRecord && this.earlier.isSameVersion(known, step) : step.order === highest) return;
    const isHighest = isOpaque || step.order > highest;
    this.#replaceBefore(at + read, step, isHighest);
    if (isOpaque) this.#flag(at, hasOpaqueRead);
    else if (isHighest) doubles[(at + highestRead) >> 1] = step.order;
  }

  /** Puts the step in the place of the older of two records; in front of the other where `isFirst`. */
  #replaceBefore(at: number, step: KeyedStep, isFirst: boolean): void {
    const { earlier } = this;
    const words = this.#words;
    const first = words[at] as number;
    if (first === noRecord) {
      words[at] = earlier.take(step, noRecord);
      return;
    }
    let second = words[at + 1] as number;
    if (second === noRecord) second = earlier.take(step, noRecord);
    else earlier.overwrite(second, step);
    words[at] = isFirst ? second : first;
    words[at + 1] = isFirst ? first : second;
  }

  #flag(at: number, bit: number): void {
    this.#words[at + flags] = (this.#words[at + flags] as number) | bit;
  }

  #giveBoth(at: number): void {
    for (let word = at; word < at + 2; word += 1) {
      const row = this.#words[word] as number;
      if (row !== noRecord) this.earlier.give(row);
      this.#words[word] = noRecord;
    }
  }

  #clearReads(at: number): void {
    this.#giveBoth(at + read);
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
    words.fill(noRecord, at + write, at + readBefore + 1);
    this.#doubles[(at + touchedUs) >> 1] = step.operation.endUs;
    this.#doubles[(at + highestWrite) >> 1] = Number.NEGATIVE_INFINITY;
    this.#doubles[(at + highestRead) >> 1] = Number.NEGATIVE_INFINITY;
    this.#count += 1;
    this.#at = at;
    return at;
  }

  #removeAt(removed: number): void {
    const words = this.#words;
    const mask = this.#mask;
    this.#giveBoth(removed + write);
    this.#giveBoth(removed + read);
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
