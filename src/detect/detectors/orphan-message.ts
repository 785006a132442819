import type { Operation } from '../../domain/operation.ts';
import { type Report, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { groupOf, producerKeys, spanKey } from '../message-flow.ts';
import { noteOf, type SpanNote, spanOfNote } from '../span-note.ts';

/** What is kept of a message: there is one for every publish, for minutes. */
interface Published extends SpanNote {
  readonly system: string;
  readonly target: string;
  readonly domain: string;
  readonly messageId: string;
  readonly messageKey: string;
}

interface Sent {
  readonly publish: Published;
  /** Groups that took it up; few. */
  takenBy: readonly string[];
  readonly complete: boolean;
}

const nobody: readonly string[] = [];

interface Group {
  readonly name: string;
  /** Distinct messages taken up, and the longest that one of them waited. */
  taken: number;
  missed: number;
  /** Messages it took up whose publish was never seen. */
  strangers: number;
  highLagUs: number;
  /** When the newest messages that it took up were sent, rising; for overtaking. */
  readonly sentUs: number[];
}

interface Topic {
  readonly groups: Map<string, Group>;
  readonly open: Sent[];
}

/** Send times remembered per group. */
const sentTimesMax = 64;
/** Messages of one topic that wait for judgement; beyond it the topic is sampled by arrival. */
const openMax = 20_000;

/** A message that a group never took up, though it took up its peers. */
export const orphanMessage = traceDetector(
  {
    id: 'orphan-message',
    scope: 'message',
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
    const topics = createExpiringMap<Topic>(3_600_000_000);
    const bySpan = createExpiringMap<Sent>(retainUs);
    const byId = createExpiringMap<Sent>(retainUs);
    /** Messages taken up whose publisher's trace is not over yet. */
    const early = createExpiringMap<Operation[]>(20_000_000);
    let waiting = 0;
    let lastTickUs = Number.NEGATIVE_INFINITY;

    const topicOf = (operation: Pick<Operation, 'system' | 'target' | 'endUs'>): Topic => {
      const key = `${operation.system}\0${operation.target}`;
      let found = topics.get(key, operation.endUs);
      if (found === undefined) {
        found = { groups: new Map(), open: [] };
        topics.set(key, found, operation.endUs);
      }
      return found;
    };

    const take = (sent: Sent, consume: Operation): void => {
      const name = groupOf(consume);
      if (sent.takenBy.includes(name)) return;
      sent.takenBy = [...sent.takenBy, name];
      const { groups } = topicOf(sent.publish);
      let group = groups.get(name);
      if (group === undefined) {
        if (groups.size >= 64) return;
        group = { name, taken: 0, missed: 0, strangers: 0, highLagUs: 0, sentUs: [] };
        groups.set(name, group);
      }
      group.taken += 1;
      group.highLagUs = Math.max(group.highLagUs, consume.startUs - sent.publish.endUs);
      if (group.sentUs.length >= sentTimesMax) group.sentUs.shift();
      group.sentUs.push(sent.publish.startUs);
    };

    /** The group that surely missed the message by `atUs`; 'open' while one still may take it up. */
    const missedBy = (sent: Sent, { groups, open }: Topic, atUs: number): Group | 'open' | undefined => {
      const ageUs = atUs - sent.publish.endUs;
      let verdict: 'open' | undefined;
      for (const group of groups.values()) {
        if (sent.takenBy.includes(group.name)) continue;
        const later = group.sentUs.filter((sentUs) => sentUs > sent.publish.endUs).length;
        const declared = context.learned.topicLag(sent.publish.target);
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
      if (groups.size === 0 && ageUs < settings.deadlineMs * 1000) return 'open';
      return verdict;
    };

    /** Messages that wait although the group has taken up later ones: it chooses, or is far behind; either way no single one is lost. */
    const passedBy = (group: Group, open: readonly Sent[]): number => {
      const lastSentUs = Math.max(...group.sentUs);
      let passed = -1;
      for (const sent of open) if (sent.publish.endUs < lastSentUs && !sent.takenBy.includes(group.name)) passed += 1;
      return Math.max(0, passed);
    };

    const countStrangers = (atUs: number): void =>
      early.sweep(atUs, (consumes) => {
        for (const consume of consumes) {
          const group = topicOf(consume).groups.get(groupOf(consume));
          if (group !== undefined) group.strangers += 1;
        }
      });

    const judge = (atUs: number, report: Report): void => {
      if (waiting === 0) return;
      for (const found of topics.values()) {
        let kept = 0;
        for (const sent of found.open) {
          const verdict = missedBy(sent, found, atUs);
          if (verdict === 'open') {
            found.open[kept] = sent;
            kept += 1;
            continue;
          }
          waiting -= 1;
          if (verdict === undefined) continue;
          // Where publishes of consumed messages are missing, so are consumers of published ones: spans are sampled or lost.
          if (verdict.strangers * 100 > verdict.taken || context.learned.lostShare() > 0.01 || context.learned.missingLinkShare() > 0.3)
            continue;
          const { publish } = sent;
          const place = context.placeOf(publish.target, publish.domain);
          report({
            place: `${publish.service}\0${publish.target}\0${verdict.name}`,
            grade: 'risk',
            atUs: publish.endUs,
            complete: sent.complete,
            spans: [spanOfNote(publish)],
            domain: place.domainName,
            ...(place.collection === undefined ? {} : { collection: place.collection }),
            objectKey: publish.messageKey,
            service: publish.service,
            facts: {
              destination: publish.target,
              group: verdict.name,
              messageId: publish.messageId,
              peers: verdict.taken,
              longestWaitMs: Math.round(verdict.highLagUs / 1000),
            },
            tell: () => ({
              title: `A message from ${publish.service} to ${publish.target === '' ? 'a queue' : `\`${publish.target}\``} was never consumed by ${verdict.name}`,
              explanation: `${publish.service} published a message${publish.messageId === '' ? '' : ` (${publish.messageId})`} to ${publish.target === '' ? 'a queue' : `\`${publish.target}\``}, and no span shows ${verdict.name} taking it up; it took up ${verdict.taken} others, none after more than ${durationWords(Math.max(0, verdict.highLagUs))}.`,
            }),
          });
        }
        found.open.length = kept;
      }
      topics.sweep(atUs);
      bySpan.sweep(atUs);
      byId.sweep(atUs);
    };

    return {
      inspect(trace) {
        if (!trace.hasMessages) return;
        for (const unit of trace.units) {
          for (const publish of unit.publishes) {
            if (publish.failed || (publish.message?.batch ?? 1) > 1) continue;
            const key = spanKey(publish.traceId, publish.spanId);
            if (bySpan.get(key, publish.endUs) !== undefined) continue;
            const sent: Sent = { publish: publishedOf(publish), takenBy: nobody, complete: unit.complete };
            const idKey = sent.publish.messageId === '' ? '' : `${publish.system}\0${sent.publish.messageId}`;
            bySpan.set(key, sent, publish.endUs);
            if (idKey !== '') byId.set(idKey, sent, publish.endUs);
            if (early.size > 0)
              for (const earlyKey of idKey === '' ? [key] : [key, idKey]) {
                for (const consume of early.get(earlyKey, publish.endUs) ?? []) take(sent, consume);
                early.delete(earlyKey);
              }
            const found = topicOf(publish);
            if (found.open.length < openMax) {
              found.open.push(sent);
              waiting += 1;
            }
          }
        }
        for (const unit of trace.units) {
          for (const consume of unit.consumes) {
            let isKnown = false;
            for (const key of producerKeys(consume, unit.entry === consume ? unit : undefined)) {
              const sent = bySpan.get(key, consume.endUs);
              if (sent === undefined) continue;
              take(sent, consume);
              isKnown = true;
            }
            if (consume.message !== undefined && consume.message.id !== '') {
              const sent = byId.get(`${consume.system}\0${consume.message.id}`, consume.endUs);
              if (sent !== undefined) take(sent, consume);
              isKnown ||= sent !== undefined;
            }
            if (isKnown || (consume.message?.batch ?? 1) > 1) continue;
            const [key] = [
              ...producerKeys(consume, unit.entry === consume ? unit : undefined),
              ...(consume.message?.id ? [`${consume.system}\0${consume.message.id}`] : []),
            ];
            if (key === undefined) continue;
            const others = early.get(key, consume.endUs);
            if (others === undefined) early.set(key, [consume], consume.endUs);
            else if (others.length < 64) others.push(consume);
          }
          // A consumer whose own span was lost still shows by its children: a unit of a consuming service without its entry.
          if (unit.complete) continue;
          for (const other of trace.units)
            for (const publish of other.publishes) {
              const sent = bySpan.get(spanKey(publish.traceId, publish.spanId), publish.endUs);
              if (sent === undefined || sent.takenBy.includes(unit.service)) continue;
              if (topicOf(publish).groups.has(unit.service)) sent.takenBy = [...sent.takenBy, unit.service];
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
      size: () => bySpan.size + byId.size + topics.size,
    };
  },
);

function publishedOf(publish: Operation): Published {
  return {
    ...noteOf(publish),
    system: publish.system,
    target: publish.target,
    domain: publish.facts?.domain ?? '',
    messageId: publish.message?.id ?? '',
    messageKey: publish.message?.key ?? '',
  };
}

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
