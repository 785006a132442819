import { hexOf } from '../base/hex-words.ts';
import { Rows } from '../base/rows.ts';
import { Texts } from '../base/texts.ts';
import type { SpanRef } from '../domain/anomaly.ts';
import { noMessage, type SentMessages } from './sent-messages.ts';
import { idsOf } from './span-ids.ts';
import { keyOf, targetOf } from './trace-view.ts';
import type { WriteOutcome } from './write-outcome.ts';

const stride = 8;
/** Number of table, host and domain. */
const place = 0;
/** The next write of the same message, or {@link noMessage}. */
const next = 1;
const settledUs = 2;
/** The span that settled it, of the message's own trace: two words. */
const settledBy = 4;
/** The message, in the first write of its list. */
const owner = 6;
const keyText = 7;

/** In place of a key's text: it is that of the message. No text has this number. */
const keyOfMessage = -1;
/** Those of a fleet are hundreds. Beyond it writes are not remembered. */
const placesMax = 65_535;
/** Writes kept of one message. */
const writesMax = 64;
const sweptPerList = 3;

/** What is kept of a committed write that a message announces. */
export interface AnnouncedWrite {
  readonly table: string;
  readonly key: string;
  readonly host: string;
  readonly domain: string;
  readonly settledUs: number;
  readonly settledBy: SpanRef;
}

/** x, in a list that hangs on the message's row for as long as `retainUs`. */
export class AnnouncedWrites {
  readonly #messages: SentMessages;
  readonly #retainUs: number;
  readonly #rows = new Rows(stride);
  readonly #texts = new Texts();
  readonly #places: Pick<AnnouncedWrite, 'table' | 'host' | 'domain'>[] = [];
  readonly #numberOfPlace = new Map<string, Map<string, Map<string, number>>>();
  #cursor = 0;

  constructor(messages: SentMessages, retainUs: number) {
    this.#messages = messages;
    this.#retainUs = retainUs;
    messages.keepFor(retainUs);
    messages.onGone = (head) => this.#give(head);
  }

  get bytes(): number {
    return this.#rows.bytes + this.#texts.bytes;
  }

  /** Hangs the writes on the message, unless it has some. `key`: the message's own. */
  hang(message: number, key: string, outcomes: readonly WriteOutcome[]): void {
    if (this.#messages.announcedBy(message) === noMessage) {
      let head = noMessage;
      for (let i = Math.min(outcomes.length, writesMax) - 1; i >= 0; i -= 1) head = this.#add(outcomes[i] as WriteOutcome, key, head);
      if (head === noMessage) return;
      this.#rows.words[head * stride + owner] = message;
      this.#messages.announce(message, head);
    }
    this.#sweep(this.#messages.endUsOf(message));
  }

  /** What hangs on the message; empty where nothing does. */
  of(message: number): readonly AnnouncedWrite[] {
    const writes: AnnouncedWrite[] = [];
    const { words, doubles } = this.#rows;
    const { traceId } = this.#messages.noteOf(message);
    for (let row = this.#messages.announcedBy(message); row !== noMessage; row = words[row * stride + next] as number) {
      const at = row * stride;
      const { table, host, domain } = this.#places[words[at + place] as number] as AnnouncedWrite;
      writes.push({
        table,
        host,
        domain,
        key: words[at + keyText] === keyOfMessage ? this.#messages.keyOf(message) : this.#texts.read((words[at + keyText] as number) >>> 0),
        settledUs: doubles[(at + settledUs) >> 1] as number,
        settledBy: { traceId, spanId: hexOf(words, at + settledBy, 2) },
      });
    }
    return writes;
  }

  #add(outcome: WriteOutcome, messageKey: string, behind: number): number {
    const { write } = outcome;
    const number = this.#numberOf(targetOf(write), write.host, write.facts?.domain ?? '');
    if (number === undefined) return behind;
    const row = this.#rows.take();
    const { words, doubles } = this.#rows;
    const at = row * stride;
    words[at + place] = number;
    words[at + next] = behind;
    words[at + owner] = noMessage;
    doubles[(at + settledUs) >> 1] = outcome.settledUs;
    const { spanA, spanB } = idsOf(outcome.settledBy ?? write);
    words[at + settledBy] = spanA;
    words[at + settledBy + 1] = spanB;
    const key = keyOf(write);
    // What a message is keyed by mostly is the object that it tells of.
    words[at + keyText] = key !== '' && key === messageKey ? keyOfMessage : this.#texts.add(key);
    return row;
  }

  #sweep(atUs: number): void {
    for (let i = 0; i < sweptPerList; i += 1) {
      this.#cursor = this.#cursor >= this.#rows.end - 1 ? 0 : this.#cursor + 1;
      const at = this.#cursor * stride;
      const message = this.#rows.words[at + owner] as number;
      // A row given back is no list's first.
      if (this.#rows.doubles[(at + settledUs) >> 1] === 0 || message === noMessage) continue;
      if (atUs - this.#messages.endUsOf(message) <= this.#retainUs) continue;
      this.#messages.announce(message, noMessage);
      this.#give(this.#cursor);
    }
  }

  #give(head: number): void {
    for (let row = head; row !== noMessage; ) {
      const at = row * stride;
      const behind = this.#rows.words[at + next] as number;
      this.#rows.doubles[(at + settledUs) >> 1] = 0;
      this.#rows.words[at + owner] = noMessage;
      const key = this.#rows.words[at + keyText] as number;
      if (key !== keyOfMessage) this.#texts.remove(key >>> 0);
      this.#rows.give(row);
      row = behind;
    }
  }

  #numberOf(table: string, host: string, domain: string): number | undefined {
    let ofTable = this.#numberOfPlace.get(table);
    const known = ofTable?.get(host)?.get(domain);
    if (known !== undefined) return known;
    if (this.#places.length >= placesMax) return undefined;
    if (ofTable === undefined) this.#numberOfPlace.set(table, (ofTable = new Map()));
    let ofHost = ofTable.get(host);
    if (ofHost === undefined) ofTable.set(host, (ofHost = new Map()));
    const number = this.#places.push({ table, host, domain }) - 1;
    ofHost.set(domain, number);
    return number;
  }
}
