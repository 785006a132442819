import { hexOf } from '../base/hex-words.ts';
import { Rows } from '../base/rows.ts';
import { Texts } from '../base/texts.ts';
import type { SpanRef } from '../domain/anomaly.ts';
import { noMessage, type SentMessages } from './sent-messages.ts';
import { idsOf } from './span-ids.ts';
import { keyOf, targetOf } from './trace-view.ts';
import type { WriteOutcome } from './write-outcome.ts';

const stride = 10;
/** Table in the upper half, host in the lower. */
const names = 0;
const domain = 1;
/** The next write of the same message, or {@link noMessage}. */
const next = 2;
/** The message, in the first write of its list. */
const owner = 3;
const settledUs = 4;
/** The span that settled it, of the message's own trace: two words. */
const settledBy = 6;
const keyText = 8;

const namesMax = 65_535;
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
  readonly #names: string[] = [''];
  readonly #numberOfName = new Map<string, number>([['', 0]]);
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

  /** Hangs the writes on the message, unless it has some. */
  hang(message: number, outcomes: readonly WriteOutcome[]): void {
    if (this.#messages.announcedBy(message) === noMessage) {
      let head = noMessage;
      for (let i = Math.min(outcomes.length, writesMax) - 1; i >= 0; i -= 1) head = this.#add(outcomes[i] as WriteOutcome, head);
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
      const both = words[at + names] as number;
      writes.push({
        table: this.#names[both >>> 16] ?? '',
        host: this.#names[both & 0xffff] ?? '',
        domain: this.#names[words[at + domain] as number] ?? '',
        key: this.#texts.read((words[at + keyText] as number) >>> 0),
        settledUs: doubles[(at + settledUs) >> 1] as number,
        settledBy: { traceId, spanId: hexOf(words, at + settledBy, 2) },
      });
    }
    return writes;
  }

  #add(outcome: WriteOutcome, behind: number): number {
    const { write } = outcome;
    const table = this.#numberOf(targetOf(write));
    const host = this.#numberOf(write.host);
    const place = this.#numberOf(write.facts?.domain ?? '');
    if (table === undefined || host === undefined || place === undefined) return behind;
    const row = this.#rows.take();
    const { words, doubles } = this.#rows;
    const at = row * stride;
    words[at + names] = (table << 16) | host;
    words[at + domain] = place;
    words[at + next] = behind;
    words[at + owner] = noMessage;
    doubles[(at + settledUs) >> 1] = outcome.settledUs;
    const { spanA, spanB } = idsOf(outcome.settledBy ?? write);
    words[at + settledBy] = spanA;
    words[at + settledBy + 1] = spanB;
    words[at + keyText] = this.#texts.add(keyOf(write));
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
      this.#texts.remove((this.#rows.words[at + keyText] as number) >>> 0);
      this.#rows.give(row);
      row = behind;
    }
  }

  #numberOf(name: string): number | undefined {
    const known = this.#numberOfName.get(name);
    if (known !== undefined) return known;
    if (this.#names.length >= namesMax) return undefined;
    this.#names.push(name);
    this.#numberOfName.set(name, this.#names.length - 1);
    return this.#names.length - 1;
  }
}
