import { Hash64 } from '../base/hash64.ts';
import { RowChains } from '../base/row-chains.ts';
import { Rows } from '../base/rows.ts';
import { Texts } from '../base/texts.ts';
import type { Operation } from '../domain/operation.ts';
import { groupOf } from './message-flow.ts';
import { isHashSampled } from './sample.ts';
import { hashLink, hashParent, hashSpan, idsOf, writeIds } from './span-ids.ts';
import { SpanNote } from './span-note.ts';
import type { TraceView, Unit } from './trace-view.ts';

/** No row. */
export const noMessage = -1;

const stride = 24;
/** Trace and span, six words. */
const ids = 0;
/** Service in the upper half, topic in the lower. */
const names = 6;
const flags = 7;
/** Groups that took it up, a bit each. */
const takenBy = 8;
const announced = 10;
const domain = 11;
const startUs = 12;
const endUs = 14;
/** Hash of the span, and the next of its chain. */
const spanHash = 16;
const idText = 19;
/** Hash of system and id, and the next of its chain. */
const idHash = 20;
const keyText = 23;

const isComplete = 1;
const isPinned = 2;
const isFollowed = 4;
/** Found by its id. */
const isById = 8;
/** Nobody was seen to take from its topic when it was noted. */
const isUntaken = 16;

/** Groups told apart of one topic. */
const groupsMax = 64;
/** Names of services, topics and domains: those of a fleet are hundreds. Beyond it messages are not remembered. */
const namesMax = 65_535;
/** Messages of topics that nobody is seen to take from: some 20 MB with what hangs on them. */
const mostUntaken = 100_000;
/** Messages looked at together. */
const nearMax = 32;
/** Of a message that is near: the hash of its span, and that of its id. */
const hashWords = 4;
/** Every row is looked at once in so many sweeps, to let go of those whose time is over. */
const sweepsPerRound = 4;

/** A queue or topic of one system, and who takes its messages up. */
export interface MessageTopic {
  readonly number: number;
  readonly system: string;
  readonly target: string;
  /** When a message of it was first seen to be taken up. */
  takenUs: number;
  readonly groups: string[];
}

/**
 * Messages that were published, as all detectors of messages remember them: one row of 96 bytes for each, found by the span that sent it or
 * by its id, instead of an object and two texts in each detector. What only some need hangs on the row. A topic that nobody is seen to take
 * messages from is remembered for `untakenUs` only, and of very many such messages a share by hash: its consumers send no spans, as far as
 * is known. Whether a message is remembered depends on event times and that share, never on when the sweep came by.
 */
export class SentMessages {
  readonly #rows = new Rows(stride);
  readonly #bySpan = new RowChains(this.#rows, stride, spanHash);
  readonly #byId = new RowChains(this.#rows, stride, idHash);
  readonly #hash = new Hash64();
  readonly #texts = new Texts();
  readonly #names: string[] = [''];
  readonly #numberOfName = new Map<string, number>([['', 0]]);
  readonly #topics: MessageTopic[] = [];
  readonly #topicOf = new Map<string, Map<string, MessageTopic>>();
  readonly #untakenUs: number;
  readonly #mostUntaken: number;
  #untakenShare = 1;
  #untaken = 0;
  #retainUs = 0;
  #cursor = 0;
  #last: Operation | undefined;
  #lastRow = noMessage;
  /** What will be noted next, and the hashes of its spans and ids: a list of its own each time, as it points to what is young. */
  #near: Operation[] = [];
  #nearAt = 0;
  readonly #nearHashes = new Int32Array(nearMax * hashWords);
  readonly #nearSpans = new Int32Array(nearMax);
  readonly #nearIds = new Int32Array(nearMax);
  /** Called with what was hung on a row that goes. */
  onGone: (announced: number) => void = () => undefined;

  constructor(untakenUs: number, most: number = mostUntaken) {
    this.#untakenUs = untakenUs;
    this.#mostUntaken = most;
  }

  get size(): number {
    return this.#rows.count;
  }

  get bytes(): number {
    return this.#rows.bytes + this.#bySpan.bytes + this.#byId.bytes + this.#texts.bytes;
  }

  /** A detector wants messages to be known for so long. */
  keepFor(us: number): void {
    if (us > this.#retainUs) this.#retainUs = us;
  }

  topic(system: string, target: string): MessageTopic | undefined {
    let ofSystem = this.#topicOf.get(system);
    let topic = ofSystem?.get(target);
    if (topic !== undefined) return topic;
    if (this.#topics.length >= namesMax) return undefined;
    topic = { number: this.#topics.length, system, target, takenUs: Number.POSITIVE_INFINITY, groups: [] };
    this.#topics.push(topic);
    if (ofSystem === undefined) {
      ofSystem = new Map();
      this.#topicOf.set(system, ofSystem);
    }
    ofSystem.set(target, topic);
    return topic;
  }

  topics(): readonly MessageTopic[] {
    return this.#topics;
  }

  /**
   * Looks at what noting the messages of these traces will look up, heads of chains first and then the rows that they begin with, so that
   * waits for memory overlap: with half a million messages remembered each look-up would wait three or four times in a row.
   */
  comeNear(traces: readonly TraceView[]): void {
    const near: Operation[] = [];
    const hashes = this.#nearHashes;
    let ids = 0;
    for (const trace of traces) {
      if (!trace.hasMessages) continue;
      for (const { publishes } of trace.units)
        for (const publish of publishes) {
          if (near.length === nearMax) break;
          const span = hashSpan(this.#hash, idsOf(publish));
          const at = near.length * hashWords;
          hashes[at] = span.low;
          hashes[at + 1] = span.high;
          this.#nearSpans[near.length] = span.low;
          near.push(publish);
          const id = publish.message?.id ?? '';
          if (id === '') continue;
          const { low, high } = this.#hash.start().text(publish.system).text(id).end();
          hashes[at + 2] = low;
          hashes[at + 3] = high;
          this.#nearIds[ids] = low;
          ids += 1;
        }
    }
    this.#near = near;
    this.#nearAt = 0;
    this.#bySpan.glanceAll(this.#nearSpans, near.length);
    this.#byId.glanceAll(this.#nearIds, ids);
  }

  /** The row of a publish, a new one where it is not known; {@link noMessage} where it is not remembered. */
  note(publish: Operation, isWhole: boolean): number {
    if (publish === this.#last) return this.#lastRow;
    // Mostly it is the next of those that were looked at.
    const near = this.#near.indexOf(publish, this.#nearAt);
    if (near >= 0) this.#nearAt = near + 1;
    else hashSpan(this.#hash, idsOf(publish));
    const low = near >= 0 ? (this.#nearHashes[near * hashWords] as number) : this.#hash.low;
    const high = near >= 0 ? (this.#nearHashes[near * hashWords + 1] as number) : this.#hash.high;
    let row = this.#bySpan.find(low, high);
    if (row !== noMessage && !this.#isKnown(row, publish.endUs, this.#retainUs)) {
      if ((this.#word(row, flags) & isPinned) === 0) {
        this.#forget(row);
        row = noMessage;
      }
    }
    if (row === noMessage) row = this.#add(low, high, publish, isWhole, near);
    this.#last = publish;
    this.#lastRow = row;
    return row;
  }

  #add(low: number, high: number, publish: Operation, isWhole: boolean, near: number): number {
    const topic = this.topic(publish.system, publish.target);
    const service = this.#numberOf(publish.service);
    const place = this.#numberOf(publish.facts?.domain ?? '');
    if (topic === undefined || service === undefined || place === undefined) return noMessage;
    const isOfUntaken = publish.endUs < topic.takenUs;
    if (isOfUntaken && !isHashSampled(high, this.#untakenShare)) return noMessage;
    const row = this.#rows.take();
    const { words, doubles } = this.#rows;
    const at = row * stride;
    writeIds(idsOf(publish), words, at + ids);
    words[at + names] = (service << 16) | topic.number;
    words[at + flags] = (isWhole ? isComplete : 0) | (isOfUntaken ? isUntaken : 0);
    if (isOfUntaken) this.#untaken += 1;
    words[at + takenBy] = 0;
    words[at + takenBy + 1] = 0;
    words[at + announced] = noMessage;
    words[at + domain] = place;
    doubles[(at + startUs) >> 1] = publish.startUs;
    doubles[(at + endUs) >> 1] = publish.endUs;
    this.#bySpan.add(low, high, row);
    const id = publish.message?.id ?? '';
    const key = publish.message?.key ?? '';
    words[at + idText] = this.#texts.add(id);
    // What is keyed by its own id is common.
    words[at + keyText] = key === id ? (words[at + idText] as number) : this.#texts.add(key);
    if (id === '') return row;
    if (near < 0) this.#hash.start().text(publish.system).text(id).end();
    const idLow = near < 0 ? this.#hash.low : (this.#nearHashes[near * hashWords + 2] as number);
    const idHigh = near < 0 ? this.#hash.high : (this.#nearHashes[near * hashWords + 3] as number);
    // Of two with one id the later is found by it.
    this.#dropId(this.#byId.find(idLow, idHigh));
    this.#byId.add(idLow, idHigh, row);
    words[at + flags] = (words[at + flags] as number) | isById;
    return row;
  }

  /** The row, if there is one, is not found by its id any more. */
  #dropId(row: number): void {
    if (row === noMessage || (this.#word(row, flags) & isById) === 0) return;
    this.#byId.remove(row);
    this.#rows.words[row * stride + flags] = this.#word(row, flags) & ~isById;
  }

  /** The message that a span sent, if it is remembered at `atUs` by whoever keeps messages for `retainUs`. */
  ofSpan(low: number, high: number, atUs: number, retainUs: number): number {
    const row = this.#bySpan.find(low, high);
    return row !== noMessage && this.#isKnown(row, atUs, retainUs) ? row : noMessage;
  }

  ofId(system: string, id: string, atUs: number, retainUs: number): number {
    if (id === '' || this.#byId.size === 0) return noMessage;
    const { low, high } = this.#hash.start().text(system).text(id).end();
    const row = this.#byId.find(low, high);
    return row !== noMessage && this.#isKnown(row, atUs, retainUs) ? row : noMessage;
  }

  /** A message of the topic is taken up, whichever. */
  noteTaken(system: string, target: string, atUs: number): void {
    const topic = this.#topicOf.get(system)?.get(target);
    if (topic !== undefined && atUs < topic.takenUs) topic.takenUs = atUs;
  }

  /** Notes that a group takes messages of the topic up. Its number among the topic's groups, or -1 where there are too many. */
  groupNumber(topic: MessageTopic, consume: Operation): number {
    if (consume.endUs < topic.takenUs) topic.takenUs = consume.endUs;
    const name = groupOf(consume);
    const known = topic.groups.indexOf(name);
    if (known >= 0 || topic.groups.length >= groupsMax) return known;
    topic.groups.push(name);
    return topic.groups.length - 1;
  }

  isTakenBy(row: number, group: number): boolean {
    return (this.#word(row, takenBy + (group >> 5)) & (1 << (group & 31))) !== 0;
  }

  /** False where the group had it already. */
  take(row: number, group: number): boolean {
    if (this.isTakenBy(row, group)) return false;
    const at = row * stride + takenBy + (group >> 5);
    this.#rows.words[at] = (this.#rows.words[at] as number) | (1 << (group & 31));
    return true;
  }

  /** Marks the message as one that somebody waits to see taken up; false where it is marked already. */
  follow(row: number): boolean {
    if (this.isFollowed(row)) return false;
    this.#rows.words[row * stride + flags] = this.#word(row, flags) | isFollowed;
    return true;
  }

  isFollowed(row: number): boolean {
    return (this.#word(row, flags) & isFollowed) !== 0;
  }

  /** Keeps the row until {@link unpin}, however old it gets. False where it is kept already. */
  pin(row: number): boolean {
    const before = this.#word(row, flags);
    this.#rows.words[row * stride + flags] = before | isPinned;
    return (before & isPinned) === 0;
  }

  unpin(row: number): void {
    this.#rows.words[row * stride + flags] = this.#word(row, flags) & ~isPinned;
  }

  /** What a detector hung on the row; {@link noMessage} where nothing is. */
  announcedBy(row: number): number {
    return this.#word(row, announced);
  }

  announce(row: number, what: number): void {
    this.#rows.words[row * stride + announced] = what;
  }

  noteOf(row: number): SpanNote {
    const { words } = this.#rows;
    const at = row * stride + ids;
    return new SpanNote(
      words[at] as number,
      words[at + 1] as number,
      words[at + 2] as number,
      words[at + 3] as number,
      words[at + 4] as number,
      words[at + 5] as number,
      this.serviceOf(row),
      this.startUsOf(row),
      this.endUsOf(row),
    );
  }

  serviceOf(row: number): string {
    return this.#names[this.#word(row, names) >>> 16] ?? '';
  }
  topicOf(row: number): MessageTopic {
    return this.#topics[this.#word(row, names) & 0xffff] as MessageTopic;
  }
  domainOf(row: number): string {
    return this.#names[this.#word(row, domain)] ?? '';
  }
  isComplete(row: number): boolean {
    return (this.#word(row, flags) & isComplete) !== 0;
  }
  idOf(row: number): string {
    return this.#texts.read(this.#word(row, idText) >>> 0);
  }
  keyOf(row: number): string {
    return this.#texts.read(this.#word(row, keyText) >>> 0);
  }
  startUsOf(row: number): number {
    return this.#rows.doubles[(row * stride + startUs) >> 1] as number;
  }
  endUsOf(row: number): number {
    return this.#rows.doubles[(row * stride + endUs) >> 1] as number;
  }

  #word(row: number, word: number): number {
    return this.#rows.words[row * stride + word] as number;
  }

  #isKnown(row: number, atUs: number, retainUs: number): boolean {
    const sentUs = this.endUsOf(row);
    if (atUs - sentUs > retainUs) return false;
    const { takenUs } = this.topicOf(row);
    if (sentUs >= takenUs) return true;
    // Until somebody takes from the topic, and of what was sent long before.
    return Math.min(atUs, takenUs) - sentUs <= this.#untakenUs && isHashSampled(this.#word(row, spanHash + 1), this.#untakenShare);
  }

  #numberOf(name: string): number | undefined {
    const known = this.#numberOfName.get(name);
    if (known !== undefined) return known;
    if (this.#names.length >= namesMax) return undefined;
    this.#names.push(name);
    this.#numberOfName.set(name, this.#names.length - 1);
    return this.#names.length - 1;
  }

  /** To be called now and then, some times a minute of event time. */
  sweep(atUs: number): void {
    const isCrowded = this.#untaken > this.#mostUntaken;
    if (isCrowded) this.#untakenShare /= 2;
    for (let i = isCrowded ? this.#rows.end : Math.ceil(this.#rows.end / sweepsPerRound); i > 0; i -= 1) {
      this.#cursor = this.#cursor >= this.#rows.end - 1 ? 0 : this.#cursor + 1;
      const row = this.#cursor;
      // A row that is given back has no end any more.
      if (this.endUsOf(row) === 0 || (this.#word(row, flags) & isPinned) !== 0 || this.#isKnown(row, atUs, this.#retainUs)) continue;
      this.#forget(row);
    }
  }

  #forget(row: number): void {
    const { words, doubles } = this.#rows;
    const at = row * stride;
    this.#bySpan.remove(row);
    this.#dropId(row);
    this.#texts.remove((words[at + idText] as number) >>> 0);
    if (words[at + keyText] !== words[at + idText]) this.#texts.remove((words[at + keyText] as number) >>> 0);
    if ((this.#word(row, flags) & isUntaken) !== 0) this.#untaken -= 1;
    const hung = words[at + announced] as number;
    doubles[(at + endUs) >> 1] = 0;
    if (this.#lastRow === row) this.#last = undefined;
    this.#rows.give(row);
    if (hung !== noMessage) this.onGone(hung);
  }
}

/** Calls `each` with the hash of every span that may have sent what `consume` received, as {@link producerKeys} has them. */
export function eachProducer(hash: Hash64, consume: Operation, unit: Unit | undefined, each: (low: number, high: number) => void): void {
  for (const link of consume.links) {
    hashLink(hash, link);
    each(hash.low, hash.high);
  }
  const parent = unit?.entry === consume ? unit.calledBy : undefined;
  const own = idsOf(consume);
  if ((own.parentA === 0 && own.parentB === 0) || (parent !== undefined && parent.kind !== 'publish')) return;
  hashParent(hash, own);
  each(hash.low, hash.high);
}
