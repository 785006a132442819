import { Hash64 } from '../../base/hash64.ts';
import type { Operation } from '../../domain/operation.ts';
import { type Report, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { groupOf } from '../message-flow.ts';
import { MissingCount } from '../missing-count.ts';
import { eachProducer, type MessageTopic, noMessage } from '../sent-messages.ts';
import { hashSpan, idsOf } from '../span-ids.ts';
import { spanOfNote } from '../span-note.ts';

interface Group {
  readonly number: number;
  readonly name: string;
  /** Distinct messages taken up, and the longest that one of them waited. */
  taken: number;
  missed: number;
  /** Messages it took up, and those of them whose publish was never seen. */
  readonly publishes: MissingCount;
  highLagUs: number;
  /** When the newest messages that it took up were sent, rising; for overtaking. */
  readonly sentUs: number[];
}

interface Topic {
  /** By the topic's number of the group. */
  readonly groups: (Group | undefined)[];
  /** Rows of messages that wait for judgement; each is pinned. */
  readonly open: number[];
}

/** Send times remembered per group. */
const sentTimesMax = 64;
/** Messages taken up from which it shows whether their publishes do. */
const enoughTaken = 50;
/** Messages of one topic that wait for judgement; beyond it the topic is sampled by arrival. */
const openMax = 20_000;
/** A consumer that waits for its message: an operation with its place. */
const bytesPerEarly = 600;

/** A message that a group never took up, though it took up its peers. */
export const orphanMessage = traceDetector(
  {
    id: 'orphan-message',
    scope: 'message',
    concerns: ['messages'],
    grades: ['risk'],
    title: 'Message never consumed',
    sentence: 'A message was published and never taken up by a group that took up its peers.',
    fix: 'Look for the message in dead-letter queues and skipped offsets; commit offsets only after processing, make queues durable and publishes confirmed, and alert on dead letters.',
    needs: 'nothing',
    options: {
      peers: {
        is: 'number',
        unit: 'count',
        default: 3,
        min: 1,
        max: 1000,
        says: 'How many messages of the topic the group must have taken up before one that it did not is worth a look.',
      },
      overtakenAfterMs: {
        is: 'number',
        unit: 'ms',
        default: 1000,
        min: 0,
        max: 3_600_000,
        says: 'Least age of a message that later ones have overtaken; five times the longest wait seen, if that is more.',
      },
      deadlineMs: {
        is: 'number',
        unit: 'ms',
        default: 30_000,
        min: 100,
        max: 86_400_000,
        says: 'Least age of a message that none has overtaken; ten times the longest wait seen, if that is more.',
      },
      takenShare: {
        is: 'number',
        unit: 'share',
        default: 0.7,
        min: 0,
        max: 1,
        says: 'Share of a topic that a group must take up; below it the group filters or its spans are sampled apart.',
      },
    },
    example: () => topic(true),
    twin: () => topic(false),
  },
  (settings, context) => {
    // Long enough for a message to be judged overdue.
    const retainUs = Math.max(120_000_000, settings.deadlineMs * 4000);
    const { messages } = context;
    messages.keepFor(retainUs);
    /** By number of the topic. */
    const topics = new Map<number, Topic>();
    /** Messages taken up whose publisher's trace is not over yet. */
    const early = createExpiringMap<Operation[]>(20_000_000);
    const hash = new Hash64();
    let waiting = 0;
    let lastTickUs = Number.NEGATIVE_INFINITY;

    const stateOf = (topic: MessageTopic): Topic => {
      let found = topics.get(topic.number);
      if (found === undefined) {
        found = { groups: [], open: [] };
        topics.set(topic.number, found);
      }
      return found;
    };

    const take = (row: number, consume: Operation): void => {
      const topic = messages.topicOf(row);
      const number = messages.groupNumber(topic, consume);
      if (number < 0 || !messages.take(row, number)) return;
      const { groups } = stateOf(topic);
      const group = (groups[number] ??= {
        number,
        name: topic.groups[number] ?? '',
        taken: 0,
        missed: 0,
        publishes: new MissingCount(enoughTaken),
        highLagUs: 0,
        sentUs: [],
      });
      group.taken += 1;
      group.publishes.add(context.learned.mayBeCut(consume.startUs), 1, 0);
      group.highLagUs = Math.max(group.highLagUs, consume.startUs - messages.endUsOf(row));
      if (group.sentUs.length >= sentTimesMax) group.sentUs.shift();
      group.sentUs.push(messages.startUsOf(row));
    };

    /** The group that surely missed the message by `atUs`; 'open' while one still may take it up. */
    const missedBy = (row: number, { groups, open }: Topic, atUs: number): Group | 'open' | undefined => {
      const sentUs = messages.endUsOf(row);
      const ageUs = atUs - sentUs;
      let verdict: 'open' | undefined;
      for (const group of groups) {
        if (group === undefined || messages.isTakenBy(row, group.number)) continue;
        let later = 0;
        for (const us of group.sentUs) if (us > sentUs) later += 1;
        const declared = context.learned.topicLag(messages.topicOf(row).target);
        const lagUs = declared.isDeclared ? declared.highUs : group.highLagUs;
        const isOvertaken = later >= settings.peers && ageUs >= Math.max(settings.overtakenAfterMs * 1000, 5 * lagUs);
        const isOverdue = ageUs >= Math.max(settings.deadlineMs * 1000, 10 * lagUs);
        if ((!isOvertaken && !isOverdue) || !context.learned.isLossKnown()) verdict = 'open';
        else if (group.taken >= settings.peers) {
          group.missed += 1;
          if (group.taken >= settings.takenShare * (group.taken + group.missed + passedBy(group, open))) return group;
        }
      }
      // A topic without any consumer so far may yet show one.
      if (groups.length === 0 && ageUs < settings.deadlineMs * 1000) return 'open';
      return verdict;
    };

    /** Messages that wait although the group has taken up later ones: it chooses, or is far behind; either way no single one is lost. */
    const passedBy = (group: Group, open: readonly number[]): number => {
      const lastSentUs = Math.max(...group.sentUs);
      let passed = -1;
      for (const row of open) if (messages.endUsOf(row) < lastSentUs && !messages.isTakenBy(row, group.number)) passed += 1;
      return Math.max(0, passed);
    };

    /** Those that came before the message that `hash` names. */
    const takeEarly = (row: number, publish: Operation): void => {
      const { low, high } = hash;
      for (const consume of early.getAt(low, high, publish.endUs) ?? []) take(row, consume);
      early.deleteAt(low, high);
    };

    const countStrangers = (atUs: number): void =>
      early.sweep(atUs, (consumes) => {
        for (const consume of consumes) {
          const topic = messages.topic(consume.system, consume.target);
          const group = topic === undefined ? undefined : topics.get(topic.number)?.groups[topic.groups.indexOf(groupOf(consume))];
          group?.publishes.add(context.learned.mayBeCut(consume.startUs), 1, 1);
        }
      });

    const judge = (atUs: number, report: Report): void => {
      if (waiting === 0) return;
      for (const found of topics.values()) {
        let kept = 0;
        for (const row of found.open) {
          const verdict = missedBy(row, found, atUs);
          if (verdict === 'open') {
            found.open[kept] = row;
            kept += 1;
            continue;
          }
          waiting -= 1;
          messages.unpin(row);
          if (verdict === undefined) continue;
          // Where publishes of consumed messages are missing, so are consumers of published ones: spans are sampled or lost.
          const { of, missing } = context.learned.countOf(verdict.publishes);
          if (missing * 100 > of - missing || context.learned.lostShare() > 0.01 || context.learned.missingLinkShare() > 0.3) continue;
          const publish = messages.noteOf(row);
          const { target } = messages.topicOf(row);
          const messageId = messages.idOf(row);
          const place = context.placeOf(target, messages.domainOf(row));
          report({
            place: `${publish.service}\0${target}\0${verdict.name}`,
            grade: 'risk',
            atUs: publish.endUs,
            complete: messages.isComplete(row),
            spans: [spanOfNote(publish)],
            domain: place.domainName,
            ...(place.collection === undefined ? {} : { collection: place.collection }),
            objectKey: messages.keyOf(row),
            service: publish.service,
            facts: {
              destination: target,
              group: verdict.name,
              messageId,
              peers: verdict.taken,
              longestWaitMs: Math.round(verdict.highLagUs / 1000),
            },
            tell: () => ({
              title: `A message from ${publish.service} to ${target === '' ? 'a queue' : `\`${target}\``} was never consumed by ${verdict.name}`,
              explanation: `${publish.service} published a message${messageId === '' ? '' : ` (${messageId})`} to ${target === '' ? 'a queue' : `\`${target}\``}, and no span shows ${verdict.name} taking it up; it took up ${verdict.taken} others, none after more than ${durationWords(Math.max(0, verdict.highLagUs))}.`,
            }),
          });
        }
        if (kept < found.open.length) found.open.length = kept;
      }
    };

    return {
      inspect(trace) {
        if (!trace.hasMessages) return;
        for (const unit of trace.units) {
          for (const publish of unit.publishes) {
            if (publish.failed || (publish.message?.batch ?? 1) > 1) continue;
            const row = messages.note(publish, unit.complete);
            if (row === noMessage || !messages.follow(row)) continue;
            if (early.size > 0) {
              hashSpan(hash, idsOf(publish));
              takeEarly(row, publish);
              const id = messages.idOf(row);
              if (id !== '') {
                hash.start().text(publish.system).text(id).end();
                takeEarly(row, publish);
              }
            }
            const found = stateOf(messages.topicOf(row));
            if (found.open.length < openMax && messages.pin(row)) {
              found.open.push(row);
              waiting += 1;
            }
          }
        }
        for (const unit of trace.units) {
          for (const consume of unit.consumes) {
            const { system, endUs } = consume;
            messages.noteTaken(system, consume.target, endUs);
            let isKnown = false;
            let firstLow = 0;
            let firstHigh = 0;
            eachProducer(hash, consume, unit.entry === consume ? unit : undefined, (low, high) => {
              if (firstLow === 0 && firstHigh === 0) {
                firstLow = low;
                firstHigh = high;
              }
              const row = messages.ofSpan(low, high, endUs, retainUs);
              if (row === noMessage || !messages.isFollowed(row)) return;
              take(row, consume);
              isKnown = true;
            });
            const id = consume.message?.id ?? '';
            if (id !== '') {
              const row = messages.ofId(system, id, endUs, retainUs);
              if (row !== noMessage && messages.isFollowed(row)) {
                take(row, consume);
                isKnown = true;
              }
            }
            if (isKnown || (consume.message?.batch ?? 1) > 1) continue;
            if (firstLow === 0 && firstHigh === 0) {
              if (id === '') continue;
              hash.start().text(system).text(id).end();
            } else {
              hash.low = firstLow;
              hash.high = firstHigh;
            }
            const others = early.getAt(hash.low, hash.high, endUs);
            if (others === undefined) early.setAt(hash.low, hash.high, [consume], endUs);
            else if (others.length < 64) others.push(consume);
          }
          // A consumer whose own span was lost still shows by its children: a unit of a consuming service without its entry.
          if (unit.complete) continue;
          for (const other of trace.units)
            for (const publish of other.publishes) {
              const { low, high } = hashSpan(hash, idsOf(publish));
              const row = messages.ofSpan(low, high, publish.endUs, retainUs);
              if (row === noMessage) continue;
              const group = messages.topicOf(row).groups.indexOf(unit.service);
              if (group >= 0) messages.take(row, group);
            }
        }
      },
      advance(atUs, report) {
        // On a grid of half seconds: what is seen at a tick is the same whenever the call comes, and the number of looks is bounded.
        const tickUs = Math.floor(atUs / 500_000) * 500_000;
        if (tickUs <= lastTickUs) return;
        lastTickUs = tickUs;
        countStrangers(tickUs);
        judge(tickUs, report);
      },
      finish(atUs, report) {
        countStrangers(Number.POSITIVE_INFINITY);
        judge(atUs, report);
      },
      bytes: () => waiting * 8 + early.size * bytesPerEarly,
    };
  },
);

function topic(isLost: boolean) {
  return exampleOperations(
    [0, 1, 2, 3, 4, 5, 6, 7].flatMap((i) => {
      const publish = { kind: 'publish' as const, at: i * 1000, trace: `m${i}`, span: `p${i}`, service: 'shop', target: 'orders' };
      const consume = {
        kind: 'consume' as const,
        at: i * 1000 + 40,
        trace: `m${i}`,
        span: `c${i}`,
        parent: `p${i}`,
        service: 'billing',
        target: 'orders',
      };
      return isLost && i === 3 ? [publish] : [publish, consume];
    }),
  );
}
