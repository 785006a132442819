import { Hash64 } from '../../base/hash64.ts';
import type { Operation } from '../../domain/operation.ts';
import { grainOf } from '../causality.ts';
import { type Report, spanOf, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap, type ExpiringMap } from '../expiring-map.ts';
import { groupOf, messageWords } from '../message-flow.ts';
import { eachProducer, noMessage } from '../sent-messages.ts';
import { type SpanNote, spanOfNote } from '../span-note.ts';

/** One message taken up, with its place in the order that was promised: its offset, or when its send began and ended. */
interface TakenUp {
  readonly consume: Operation;
  readonly line: string;
  readonly scope: string;
  readonly offset: number;
  /** Hashes of spans that may have sent it, in two halves; looked up when it is judged, because a producer's trace may end later than its consumer's. */
  readonly sentBy: readonly number[];
  sent: SpanNote | undefined;
}

interface Line {
  readonly recent: TakenUp[];
  /** Offset of the newest message of a replay that is going on, or -1. */
  replayAt: number;
  /** Overtaken as it seems, where spans are lost: the next message tells a late one from a replay. */
  doubted: { readonly taken: TakenUp; readonly overtaker: TakenUp } | undefined;
}

/** Messages remembered per partition or key; one that is overtaken by more than this many is not judged. */
const recentMax = 256;
const slotUs = 100_000;
/** An operation that is held with its place in the order; a partition holds some of them. */
const bytesPerWaiting = 600;
const bytesPerLine = 20_000;
/** A replay goes on at once; a late message comes alone. */
const doubtUs = 5_000_000;

/** A partition's or key's messages taken up in another order than they were sent. */
export const outOfOrderConsume = traceDetector(
  {
    id: 'out-of-order-consume',
    scope: 'message',
    concerns: ['messages'],
    grades: ['proven'],
    title: 'Messages out of order',
    sentence: 'A consumer group processed a message of a partition or key after a later one.',
    fix: 'Process a partition (or key) by one worker at a time and commit offsets in order; on failure stop the partition or park later messages of the same key; or carry a version and drop what is older.',
    needs: 'partition and offset, or message key',
    options: {
      settleMs: {
        is: 'number',
        unit: 'ms',
        default: 2000,
        min: 0,
        max: 600_000,
        says: 'How long to wait for deliveries whose traces end later before judging one.',
      },
      retainMs: {
        is: 'number',
        unit: 'ms',
        default: 600_000,
        min: 1000,
        max: 86_400_000,
        says: 'How long a partition or key is remembered after its last message.',
      },
    },
    example: () => partition([7, 9, 8]),
    twin: () => partition([7, 8, 9, 8]),
  },
  (settings, context) => {
    const settleUs = settings.settleMs * 1000;
    /** By the slot of their end, so that a look costs what is due and not what waits. */
    const waiting = new Map<number, TakenUp[]>();
    let waitingCount = 0;
    let firstSlot = Number.POSITIVE_INFINITY;
    const lines: ExpiringMap<Line> = createExpiringMap(settings.retainMs * 1000);
    const { messages } = context;
    const retainUs = settings.retainMs * 1000;
    messages.keepFor(retainUs);
    const hash = new Hash64();
    const doubtful = new Set<Line>();
    /** When a topic's group was first seen to process a message again. */
    const repeats = createExpiringMap<number>(3_600_000_000);

    /** Where spans go missing, the first processing of a message that comes "late" may be what is missing. */
    const isLossy = (): boolean => context.learned.lostShare() >= 0.005 || context.learned.missingLinkShare() > 0.02;

    const judge = (taken: TakenUp, report: Report): void => {
      const { consume, line: name } = taken;
      let line = lines.get(name, consume.startUs);
      if (line === undefined) {
        line = { recent: [], replayAt: -1, doubted: undefined };
        lines.set(name, line, consume.startUs);
      }
      const isNewest = line.recent.every((other) => !isSentBefore(taken, other));
      if (line.doubted !== undefined) {
        // Followed by news: one late message. Followed by more of the past: a replay whose first pass was not seen in full.
        const isAlone = consume.endUs > line.doubted.taken.consume.endUs + doubtUs;
        settleDoubt(line, line.doubted, isNewest || isAlone, report);
      }
      // Seen before: a redelivery or a rewind, which repeats history without reordering it.
      if (line.recent.some((other) => isSameMessage(other, taken))) {
        line.replayAt = taken.offset;
        if (repeats.get(taken.scope, consume.endUs) === undefined) repeats.set(taken.scope, consume.endUs, consume.endUs);
        return;
      }
      const isInReplay = line.replayAt >= 0 && taken.offset > line.replayAt && !isNewest;
      // Older than everything that is remembered: it may have been processed before that; unless its send was seen, which came later.
      const isBeforeMemory = taken.offset >= 0 && line.recent.length > 0 && line.recent.every((other) => isSentBefore(taken, other));
      line.replayAt = isInReplay || (isBeforeMemory && taken.sent === undefined) ? taken.offset : -1;
      const overtaker = line.recent.find((other) => isSentBefore(taken, other) && other.consume.endUs <= consume.startUs);
      if (line.recent.length >= recentMax) {
        if (isBeforeMemory) return;
        line.recent.shift();
      }
      line.recent.push(taken);
      if (overtaker === undefined || line.replayAt >= 0) return;
      // Where messages are sampled, an earlier processing of this one may be among those left out, unless its trace was kept as a whole.
      const isSampled = context.learned.missingLinkShare() > 0.1 || coverageOf(line) < 0.8;
      if (isSampled && !(taken.sent !== undefined && taken.sent.traceId === consume.traceId)) return;
      if (!isLossy()) return tell(taken, overtaker, report);
      // A group that has messages repeated, in spans that are lost in part: whether this one is a repetition is unknown.
      if (repeats.get(taken.scope, consume.endUs) !== undefined) return;
      line.doubted = { taken, overtaker };
      doubtful.add(line);
    };

    const settleDoubt = (line: Line, doubted: NonNullable<Line['doubted']>, isLate: boolean, report: Report): void => {
      const { taken, overtaker } = doubted;
      const dueUs = taken.consume.endUs + doubtUs;
      const firstRepeatUs = repeats.get(taken.scope, dueUs);
      if (isLate && (firstRepeatUs === undefined || firstRepeatUs > dueUs)) tell(taken, overtaker, report);
      line.doubted = undefined;
      doubtful.delete(line);
    };

    const settleDoubts = (atUs: number, report: Report): void => {
      for (const line of doubtful) {
        if (line.doubted !== undefined && line.doubted.taken.consume.endUs + doubtUs <= atUs) settleDoubt(line, line.doubted, true, report);
      }
    };

    const tell = (taken: TakenUp, overtaker: TakenUp, report: Report): void => {
      const { consume } = taken;
      const place = context.placeOf(consume.target, consume.facts?.domain ?? '');
      const key = consume.message?.key ?? '';
      report({
        place: `${consume.system}\0${consume.target}\0${groupOf(consume)}\0${taken.offset >= 0 ? (consume.message?.partition ?? '') : key}`,
        grade: 'proven',
        atUs: consume.endUs,
        complete: true,
        spans: [
          spanOf(overtaker.consume),
          spanOf(consume),
          ...(taken.offset < 0 && taken.sent !== undefined && overtaker.sent !== undefined
            ? [spanOfNote(taken.sent), spanOfNote(overtaker.sent)]
            : []),
        ],
        domain: place.domainName,
        ...(place.collection === undefined ? {} : { collection: place.collection }),
        objectKey: key,
        service: consume.service,
        facts: {
          destination: consume.target,
          group: groupOf(consume),
          partition: consume.message?.partition ?? -1,
          offset: taken.offset,
          overtakenBy: overtaker.offset,
          key,
        },
        tell: () => ({
          title: `${consume.service} processes ${consume.target === '' ? 'a queue' : `\`${consume.target}\``} out of order`,
          explanation: `${consume.service} had finished ${messageWords(overtaker.consume)} before it began ${messageWords(consume)}, which ${taken.offset >= 0 ? 'stands before it in the partition' : `was sent before it with the same key${key === '' ? '' : ` (${key})`}`} and had not been processed.`,
        }),
      });
    };

    const judgeUpTo = (atUs: number, report: Report): void => {
      const lastSlot = Math.floor((atUs - settleUs) / slotUs) - 1;
      if (firstSlot > lastSlot) return;
      const ready: TakenUp[] = [];
      firstSlot = Number.POSITIVE_INFINITY;
      for (const [slot, list] of waiting) {
        if (slot > lastSlot) {
          if (slot < firstSlot) firstSlot = slot;
          continue;
        }
        waiting.delete(slot);
        for (const taken of list) ready.push(taken);
      }
      waitingCount -= ready.length;
      // In order of ends, so that it does not matter how many slots fall due at once.
      ready.sort(
        (a, b) =>
          a.consume.endUs - b.consume.endUs || a.consume.startUs - b.consume.startUs || (a.consume.spanId < b.consume.spanId ? -1 : 1),
      );
      for (const taken of ready) {
        taken.sent = sentOf(taken);
        if (taken.offset >= 0 || taken.sent !== undefined) judge(taken, report);
      }
      settleDoubts(atUs, report);
      lines.sweep(atUs);
      repeats.sweep(atUs);
    };

    const sentOf = ({ sentBy, consume }: TakenUp): SpanNote | undefined => {
      for (let i = 0; i < sentBy.length; i += 2) {
        const row = messages.ofSpan(sentBy[i] as number, sentBy[i + 1] as number, consume.endUs, retainUs);
        if (row !== noMessage) return messages.noteOf(row);
      }
      return undefined;
    };

    const wait = (taken: TakenUp): void => {
      const slot = Math.floor(taken.consume.endUs / slotUs);
      const list = waiting.get(slot);
      if (list === undefined) waiting.set(slot, [taken]);
      else list.push(taken);
      waitingCount += 1;
      if (slot < firstSlot) firstSlot = slot;
    };

    return {
      inspect(trace) {
        if (!trace.hasMessages) return;
        for (const unit of trace.units) {
          for (const publish of unit.publishes) {
            messages.note(publish, unit.complete);
          }
          const consume = unit.entry;
          const message = consume.message;
          // Receive spans without work say when a message was fetched, not when it was processed.
          if (consume.kind !== 'consume' || message === undefined || (message.batch ?? 1) > 1 || consume.failed) continue;
          const scope = `${consume.system}\0${consume.target}\0${groupOf(consume)}`;
          const sentBy: number[] = [];
          eachProducer(hash, consume, unit, (low, high) => sentBy.push(low, high));
          if (message.partition >= 0 && message.offset >= 0)
            wait({ consume, scope, line: `${scope}\0${message.partition}`, offset: message.offset, sentBy, sent: undefined });
          else if (message.key !== '' && sentBy.length > 0)
            wait({ consume, scope, line: `${scope}\0key\0${message.key}`, offset: -1, sentBy, sent: undefined });
        }
      },
      advance: judgeUpTo,
      finish: (_atUs, report) => judgeUpTo(Number.POSITIVE_INFINITY, report),
      bytes: () => waitingCount * bytesPerWaiting + lines.size * bytesPerLine,
    };
  },
);

/** Share of a partition's offsets that show; 1 where there are too few to tell. Aborted and control records leave some out, sampling most. */
function coverageOf(line: Line): number {
  if (line.recent.length < 8) return 1;
  let least = Number.POSITIVE_INFINITY;
  let most = -1;
  for (const { offset } of line.recent) {
    if (offset < 0) return 1;
    if (offset < least) least = offset;
    if (offset > most) most = offset;
  }
  return line.recent.length / (most - least + 1);
}

function isSameMessage(a: TakenUp, b: TakenUp): boolean {
  if (a.offset >= 0 && b.offset >= 0) return a.offset === b.offset;
  return a.sent !== undefined && b.sent !== undefined && a.sent.isSpan(b.sent);
}

function isSentBefore(a: TakenUp, b: TakenUp): boolean {
  if (a.offset >= 0 && b.offset >= 0) return a.offset < b.offset;
  // Sends of two services are not comparable by their clocks, and parallel sends have no order.
  if (a.sent === undefined || b.sent === undefined || a.sent.service !== b.sent.service) return false;
  return a.sent.endUs + grainOf(a.sent) <= b.sent.startUs;
}

function partition(offsets: readonly number[]) {
  return exampleOperations(
    offsets.map((offset, i) => ({
      kind: 'consume' as const,
      at: i * 50,
      lasts: 20,
      trace: `m${i}`,
      span: `c${i}`,
      service: 'billing',
      target: 'orders',
      message: { partition: 3, offset, consumerGroup: 'billing' },
    })),
  );
}
