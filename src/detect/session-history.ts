import { HashTable } from '../base/hash-table.ts';
import { Rows } from '../base/rows.ts';
import { EarlierOperations, noRecord } from './earlier-operations.ts';
import type { KeyedStep } from './keyed-step.ts';
import type { StepBlock } from './step-block.ts';

/** A row is a cache line: what a session did on an object is known after one miss, and one in the index. */
const stride = 16;
const keyLow = 0;
const keyHigh = 1;
const objectLow = 2;
const flags = 3;
/** Its newest write, and the one before. */
const write = 4;
const writeBefore = 5;
/** Its read of the highest version (where order is known), and the newest of its other reads. */
const read = 6;
const readBefore = 7;
/** -Infinity while the row is free: the list of free rows runs through the first word. */
const touchedUs = 8;
const highestWrite = 10;
const highestRead = 12;

const isOfTrace = 1;
/** A write, or a read, has a version that is no number. */
const hasOpaqueWrite = 2;
const hasOpaqueRead = 4;

/**
 * Rows looked at for every new one, to let go of those whose time is over: so at most a third more than those is held. They are neighbours, of
 * which is known when the first of them can be over, so that most looks are at that alone.
 */
const sweptPerNew = 4;

/**
 * What each session did on each object: its last two committed writes, and of its reads the one of the highest version and the newest other,
 * for the session detectors, which all look here. Two, because the one that decides may overlap with what it is compared with. A session and
 * an object are known by 64 bits of both. Most questions are answered by numbers in the row itself (the highest version written and read);
 * the operations lie elsewhere, and are looked at only where those numbers leave a doubt.
 *
 * Whether something is still remembered depends on event times only, never on when its row was reclaimed.
 */
export class SessionHistory {
  readonly earlier = new EarlierOperations();
  readonly #rows = new Rows(stride);
  readonly #index = new HashTable();
  /** By rows that are swept together: none of them is over until then. */
  #soonestUs = new Float64Array(256).fill(Number.POSITIVE_INFINITY);
  /** The rows that are swept next, as a place of {@link #soonestUs}. */
  #cursor = 0;
  readonly #retainUs: number;
  readonly #traceRetainUs: number;
  /** The row of the step that was opened last, in words; -1 where the session has not touched the object. */
  #at = -1;
  /** How long the session had not touched the object before the step. */
  quietUs = 0;

  /** A session that is only a trace (nothing names it) is over when its trace is: it is remembered for `traceRetainUs` at most. */
  constructor(retainUs: number, traceRetainUs: number) {
    this.#retainUs = retainUs;
    this.#traceRetainUs = Math.min(retainUs, traceRetainUs);
  }

  get bytes(): number {
    return this.#rows.bytes + this.#index.bytes + this.earlier.bytes + (this.#rows.count * 8) / sweptPerNew;
  }

  get size(): number {
    return this.#rows.count;
  }

  /** Turns to the step's session and object; what follows is about them. */
  open(step: KeyedStep): void {
    this.#at = -1;
    this.quietUs = 0;
    const row = this.#index.find(step.pairLow, step.pairHigh);
    if (row < 0) return;
    const at = row * stride;
    this.quietUs = step.operation.endUs - (this.#rows.doubles[(at + touchedUs) >> 1] as number);
    if (this.quietUs > this.#retainOf(at)) this.#remove(row);
    else this.#at = at;
  }

  /** Whether the step is a read that may have returned an older version than its session wrote or read before. False is certain. */
  mayBeOlder(step: KeyedStep): boolean {
    const { operation, facts } = step;
    if (this.#at < 0 || operation.kind !== 'read' || operation.failed || facts.version === undefined) return false;
    return this.mayHaveWrittenNewer(step) || this.mayHaveReadNewer(step);
  }

  /** Whether the session may have written a version that is newer than the step's. False is certain. */
  mayHaveWrittenNewer(step: KeyedStep): boolean {
    return this.#mayBeOlder(step, write, hasOpaqueWrite, highestWrite);
  }

  mayHaveReadNewer(step: KeyedStep): boolean {
    return this.#mayBeOlder(step, read, hasOpaqueRead, highestRead);
  }

  #mayBeOlder(step: KeyedStep, word: number, opaque: number, highest: number): boolean {
    const at = this.#at;
    const { words, doubles } = this.#rows;
    if (at < 0 || words[at + word] === noRecord) return false;
    if (Number.isNaN(step.order) || ((words[at + flags] as number) & opaque) !== 0) return true;
    return step.order < (doubles[(at + highest) >> 1] as number);
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
    const { words } = this.#rows;
    return [words[this.#at + word] as number, words[this.#at + word + 1] as number].filter((row) => row !== noRecord);
  }

  /** Remembers the step, after detectors have looked. */
  note(step: KeyedStep): void {
    const { operation, facts } = step;
    const isDelete = operation.kind === 'delete';
    if (!operation.failed && isDelete && facts.version !== undefined && this.#at >= 0) this.#clearReads(this.#at);
    if (step.isCommittedWrite && (facts.version !== undefined || isDelete)) this.#noteWrite(step);
    else if (operation.kind === 'read' && !operation.failed && facts.version !== undefined) this.#noteRead(step);
    else if (this.#at >= 0) this.#touch(this.#at, operation.endUs);
  }

  /** Forgets the objects that `keep` refuses, by the half of their hash by which they are sampled. */
  narrow(keep: (objectLow: number) => boolean): void {
    const isGone = new Uint8Array(this.#rows.end);
    for (let row = 0; row < isGone.length; row += 1) {
      const at = row * stride;
      if (this.#isFree(at) || keep(this.#rows.words[at + objectLow] as number)) continue;
      this.#letGo(row);
      isGone[row] = 1;
    }
    this.#index.retain((_low, row) => isGone[row] === 0);
    this.#at = -1;
  }

  /** Looks at all that {@link open} and {@link note} will look up for a block, one kind after the other, so that waits for memory overlap. */
  comeNear(block: StepBlock): number {
    const { count, pairLow, pairHigh, isRead, near } = block;
    const { words } = this.#rows;
    let seen = 0;
    for (let nth = 0; nth < count; nth += 1) seen ^= this.#index.glance(pairLow[nth] as number);
    for (let nth = 0; nth < count; nth += 1) {
      const row = this.#index.find(pairLow[nth] as number, pairHigh[nth] as number);
      // The record that is written over if any is.
      near[nth] = row < 0 ? noRecord : (words[row * stride + (isRead[nth] === 1 ? readBefore : writeBefore)] as number);
    }
    for (let nth = 0; nth < count; nth += 1) seen ^= this.earlier.glance(near[nth] as number);
    return seen;
  }

  #noteWrite(step: KeyedStep): void {
    const at = this.#at >= 0 ? this.#at : this.#take(step);
    const { doubles } = this.#rows;
    this.#touch(at, step.operation.endUs);
    this.#replaceBefore(at + write, step, true);
    if (Number.isNaN(step.order)) this.#flag(at, hasOpaqueWrite);
    else if (step.order > (doubles[(at + highestWrite) >> 1] as number)) doubles[(at + highestWrite) >> 1] = step.order;
  }

  #noteRead(step: KeyedStep): void {
    const at = this.#at >= 0 ? this.#at : this.#take(step);
    const { words, doubles } = this.#rows;
    this.#touch(at, step.operation.endUs);
    const known = words[at + read] as number;
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
    const { words } = this.#rows;
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
    this.#rows.words[at + flags] = (this.#rows.words[at + flags] as number) | bit;
  }

  #giveBoth(at: number): void {
    const { words } = this.#rows;
    for (let word = at; word < at + 2; word += 1) {
      const row = words[word] as number;
      if (row !== noRecord) this.earlier.give(row);
      words[word] = noRecord;
    }
  }

  #clearReads(at: number): void {
    this.#giveBoth(at + read);
    this.#rows.doubles[(at + highestRead) >> 1] = Number.NEGATIVE_INFINITY;
  }

  #touch(at: number, us: number): void {
    const { doubles } = this.#rows;
    if (us > (doubles[(at + touchedUs) >> 1] as number)) doubles[(at + touchedUs) >> 1] = us;
  }

  #retainOf(at: number): number {
    return ((this.#rows.words[at + flags] as number) & isOfTrace) !== 0 ? this.#traceRetainUs : this.#retainUs;
  }

  #isFree(at: number): boolean {
    return this.#rows.doubles[(at + touchedUs) >> 1] === Number.NEGATIVE_INFINITY;
  }

  #take(step: KeyedStep): number {
    this.#sweep(step.operation.endUs);
    const row = this.#rows.take();
    this.#index.add(step.pairLow, step.pairHigh, row);
    const { words, doubles } = this.#rows;
    const at = row * stride;
    words[at + keyLow] = step.pairLow;
    words[at + keyHigh] = step.pairHigh;
    words[at + objectLow] = step.objectLow;
    words[at + flags] = step.isTraceSession ? isOfTrace : 0;
    for (let word = at + write; word <= at + readBefore; word += 1) words[word] = noRecord;
    doubles[(at + touchedUs) >> 1] = step.operation.endUs;
    doubles[(at + highestWrite) >> 1] = Number.NEGATIVE_INFINITY;
    doubles[(at + highestRead) >> 1] = Number.NEGATIVE_INFINITY;
    this.#noteEnd(row, step.operation.endUs + this.#retainOf(at));
    this.#at = at;
    return at;
  }

  #noteEnd(row: number, us: number): void {
    const nth = Math.floor(row / sweptPerNew);
    if (nth >= this.#soonestUs.length) {
      const longer = new Float64Array(Math.ceil((this.#soonestUs.length * 3) / 2)).fill(Number.POSITIVE_INFINITY);
      longer.set(this.#soonestUs);
      this.#soonestUs = longer;
    }
    if (us < (this.#soonestUs[nth] as number)) this.#soonestUs[nth] = us;
  }

  #remove(row: number): void {
    const { words } = this.#rows;
    const at = row * stride;
    this.#index.remove(words[at + keyLow] as number, words[at + keyHigh] as number);
    this.#letGo(row);
  }

  /** Gives back a row that is in the index no more, or will not be. */
  #letGo(row: number): void {
    const { doubles } = this.#rows;
    const at = row * stride;
    this.#giveBoth(at + write);
    this.#giveBoth(at + read);
    doubles[(at + touchedUs) >> 1] = Number.NEGATIVE_INFINITY;
    this.#rows.give(row);
  }

  #sweep(atUs: number): void {
    const { end, doubles } = this.#rows;
    if (this.#cursor * sweptPerNew >= end) this.#cursor = 0;
    const nth = this.#cursor;
    this.#cursor += 1;
    if (atUs <= (this.#soonestUs[nth] as number)) return;
    let soonestUs = Number.POSITIVE_INFINITY;
    for (let row = nth * sweptPerNew; row < Math.min(end, (nth + 1) * sweptPerNew); row += 1) {
      const at = row * stride;
      if (this.#isFree(at)) continue;
      const overUs = (doubles[(at + touchedUs) >> 1] as number) + this.#retainOf(at);
      if (atUs > overUs) this.#remove(row);
      else if (overUs < soonestUs) soonestUs = overUs;
    }
    this.#soonestUs[nth] = soonestUs;
  }
}
