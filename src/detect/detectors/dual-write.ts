import { JoinedTexts } from '../../base/joined-texts.ts';
import type { Operation } from '../../domain/operation.ts';
import { grainUs } from '../causality.ts';
import { isCacheSystem } from '../cached-copy.ts';
import { type DetectionContext, type Finding, type Report, spanOf, traceDetector } from '../detector.ts';
import { exampleOperations, type Step } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { createHabits, type Habits } from '../habits.ts';
import { producerKeys, spanKey } from '../message-flow.ts';
import { keyOf, storeOf, type TraceView, targetOf, type Unit, unitWords } from '../trace-view.ts';
import { type WriteOutcome, writeOutcomes } from '../write-outcome.ts';

/** Where messages go because something failed; sending there is part of handling the failure. */
const failureDestination = /dlq|dlx|dead[-_.]?letter|(^|[-_.])(error|errors|retry|retries|failed|poison)([-_.]|$)/i;

/** How long a consumer is remembered, for publishes that end, as failed, after their message was taken up. */
const consumedUs = 60_000_000;

/**
 * How long a finding is kept that a lost span might explain: until then it shows how the place behaves, and whether spans are lost at all. A
 * place that was never right is told at once where no parent is missing.
 */
const doubtUs = 30_000_000;
const doubtfulMax = 10_000;

/** A service and what it publishes to: few, and asked for with every message. */
const topics = new JoinedTexts(10_000);

interface Doubtful {
  readonly topic: string;
  readonly dueUs: number;
  readonly finding: Finding;
}

/** A publish whose spans say that it failed; its answer may have been lost, and then a consumer shows. */
interface Unsent {
  readonly keys: readonly string[];
  readonly dueUs: number;
  readonly finding: Finding;
}

/** A database write and a publish in one unit of work with nothing that ties them together. */
export const dualWrite = traceDetector(
  {
    id: 'dual-write',
    scope: 'trace',
    concerns: ['messages'],
    grades: ['structural', 'proven'],
    title: 'Dual write',
    sentence:
      'A service writes its database and publishes a message in one unit of work without an outbox: a crash or a refusal between the two leaves one without the other.',
    fix: 'Write the message into an outbox table in the same transaction as the row, and let a relay (or change data capture) publish it.',
    needs: 'nothing',
    options: {
      settleMs: {
        is: 'number',
        unit: 'ms',
        default: 1000,
        min: 0,
        max: 600_000,
        says: 'How long after a publish that failed a consumer may still show that the message left.',
      },
    },
    example: () => checkout('none'),
    twin: () => checkout('outbox'),
  },
  (settings, context) => {
    const consumed = createExpiringMap<true>(consumedUs);
    const habits = createHabits(context.learned);
    let unsent: Unsent[] = [];
    let doubtful: Doubtful[] = [];
    const settle = (atUs: number, report: Report): void => {
      const open: Doubtful[] = [];
      for (const one of doubtful) {
        if (one.dueUs > atUs) open.push(one);
        else if (!habits.isUsuallyRight(one.topic)) report(one.finding);
      }
      doubtful = open;
    };
    const tell = (one: Unsent, report: Report): void => {
      if (!one.keys.some((key) => consumed.get(key, one.dueUs) === true)) report(one.finding);
    };
    return {
      inspect(trace, report) {
        if (!trace.hasMessages) return;
        for (const unit of trace.units) {
          for (const consume of unit.consumes) {
            for (const key of producerKeys(consume, unit)) consumed.set(key, true, consume.endUs);
            if (consume.message !== undefined && consume.message.id !== '')
              consumed.set(`id\0${consume.system}\0${consume.message.id}`, true, consume.endUs);
          }
        }
        if (!trace.hasWrites) return;
        for (const unit of trace.units) {
          if (unit.publishes.length === 0 || unit.writes.length === 0) continue;
          const tellOf = (topic: string): Report => {
            if (!habits.isDoubtful(topic) || doubtful.length >= doubtfulMax) return report;
            return (finding) => void doubtful.push({ topic, dueUs: trace.endUs + doubtUs, finding });
          };
          inspectUnit(trace, unit, context, habits, tellOf, (finding, attempts) => {
            const keys = attempts.flatMap((attempt) => [
              spanKey(attempt.traceId, attempt.spanId),
              ...(attempt.message !== undefined && attempt.message.id !== '' ? [`id\0${attempt.system}\0${attempt.message.id}`] : []),
            ]);
            unsent.push({ keys, dueUs: trace.endUs + settings.settleMs * 1000, finding });
          });
        }
      },
      advance(atUs, report) {
        consumed.sweep(atUs);
        if (doubtful.length > 0) settle(atUs, report);
        if (unsent.length === 0) return;
        const open: Unsent[] = [];
        for (const one of unsent) {
          if (one.dueUs > atUs) open.push(one);
          else tell(one, report);
        }
        unsent = open;
      },
      finish(_atUs, report) {
        settle(Number.POSITIVE_INFINITY, report);
        for (const one of unsent) tell(one, report);
        unsent = [];
      },
      bytes: () => consumed.size * 100 + (unsent.length + doubtful.length) * 1_000,
    };
  },
);

type ReportUnsent = (finding: Finding, attempts: readonly Operation[]) => void;

function inspectUnit(
  trace: TraceView,
  unit: Unit,
  context: DetectionContext,
  habits: Habits,
  tellOf: (topic: string) => Report,
  reportUnsent: ReportUnsent,
): void {
  const isTied = unit.writes.some(
    (write) =>
      (context.learned.isOutbox(targetOf(write)) && write.kind !== 'delete') || (write.facts !== undefined && write.facts.outboxId !== ''),
  );
  const isRight = isTied || isRelay(unit) || isFastOutbox(unit);
  const { publishes } = unit;
  for (let i = 0; i < publishes.length; i += 1) {
    const { target } = publishes[i] as Operation;
    // Each topic once.
    if (i === 0 || publishes.findIndex((other) => other.target === target) === i) habits.note(topics.of(unit.service, target), isRight);
  }
  if (isRight) return;
  const outcomes = writeOutcomes(unit).filter(({ write }) => isOwnState(write, context));
  if (outcomes.length === 0) return;
  const stores = new Set(outcomes.map(({ write }) => write.system));
  const destinations = new Set<string>();
  for (const publish of unit.publishes) {
    // A queue that lives in the written database can share the transaction.
    if (stores.has(publish.system) || failureDestination.test(publish.target) || destinations.has(publish.target)) continue;
    if (publish.facts !== undefined && publish.facts.outboxId !== '') continue;
    // The span that would tie them may be among those that were lost.
    const topic = topics.of(unit.service, publish.target);
    if (habits.isUsuallyRight(topic)) continue;
    destinations.add(publish.target);
    inspectPair(trace, unit, publish, outcomes, context, tellOf(topic), reportUnsent);
  }
}

function inspectPair(
  trace: TraceView,
  unit: Unit,
  publish: Operation,
  outcomes: readonly WriteOutcome[],
  context: DetectionContext,
  report: Report,
  reportUnsent: ReportUnsent,
): void {
  const attempts = unit.publishes.filter((other) => other.target === publish.target);
  const sent = attempts.find((attempt) => !attempt.failed);
  const lasting = outcomes.find(({ is }) => is !== 'aborted');
  const lastWrittenUs = lastCommittedUs(outcomes);
  // What is published after a write failed may be the news of the failure: only a message that surely left before counts.
  const undone = outcomes.find(
    ({ is, write, settledUs }) =>
      is === 'aborted' &&
      sent !== undefined &&
      sent.startUs < settledUs - grainUs &&
      // Not written again.
      !((lastWrittenUs.get(targetOf(write)) ?? Number.NEGATIVE_INFINITY) >= settledUs - grainUs),
  );
  const shown = lasting ?? undone;
  if (shown === undefined) return;
  const table = targetOf(shown.write);
  const sends = new Set(attempts);
  const consumers = [
    ...new Set(trace.units.filter((other) => other.calledBy !== undefined && sends.has(other.calledBy)).map((other) => other.entry.target)),
  ].filter((name) => name !== '' && name !== publish.target);
  const destination = destinationWords(publish, consumers);
  const home = context.placeOf(table, shown.write.facts?.domain ?? '');
  const tables = [...new Set(outcomes.map(({ write }) => targetOf(write)))].filter((name) => name !== '');
  const place = `${unit.service}\0${table}\0${publish.target}`;
  const shared = {
    atUs: publish.endUs,
    complete: unit.complete,
    service: unit.service,
    domain: home.domainName,
    collection: home.collection ?? table,
    facts: {
      service: unit.service,
      table,
      tables: tables.join(', '),
      destination: publish.target,
      consumedFrom: consumers.join(', '),
      system: publish.system,
      store: shown.write.system,
    },
  };
  const order =
    shown.write.startUs <= publish.startUs
      ? `writes ${tableWords(table)} and then publishes to ${destination}`
      : `publishes to ${destination} and then writes ${tableWords(table)}`;
  report({
    ...shared,
    place,
    grade: 'structural',
    spans: [spanOf(shown.write), spanOf(publish)],
    writes: outcomes.filter(({ is }) => is !== 'aborted').map(({ write }) => write),
    tell: () => ({
      title: `${unit.service} writes ${tableWords(table)} and publishes to ${destination} without an outbox`,
      explanation: `In one unit of work ${unitWords(unit)} ${order}, with no outbox row in the transaction: if the process dies or the broker refuses in between, one of the two exists without the other.`,
    }),
  });

  // Each case is one of its own, also where spans do not name the row.
  const objectKey = keyOf(shown.write);
  const caseId = objectKey === '' ? trace.traceId : objectKey;
  if (sent === undefined && lasting?.is === 'committed') {
    const failure = attempts.at(-1) ?? publish;
    const finding: Finding = {
      ...shared,
      realises: place,
      objectKey,
      place: `${unit.service}\0${table}\0${publish.target}\0publish-failed\0${caseId}`,
      grade: 'proven',
      spans: [spanOf(lasting.write), ...(lasting.settledBy === undefined ? [] : [spanOf(lasting.settledBy)]), spanOf(failure)],
      writes: [lasting.write],
      facts: { ...shared.facts, happened: 'write', failed: 'publish' },
      tell: () => ({
        title: `${unit.service} committed ${tableWords(table)} but its message to ${destination} never left`,
        explanation: `${unitWords(unit)} committed its write to ${tableWords(table)}, and the publish to ${destination} failed${failure.errorType === '' ? '' : ` (${failure.errorType})`}${attempts.length > 1 ? ` ${attempts.length} times` : ''}. Whoever relies on the message does not know of the row.`,
      }),
    };
    reportUnsent(finding, attempts);
  }
  if (undone !== undefined && sent !== undefined) {
    report({
      ...shared,
      realises: place,
      objectKey: keyOf(undone.write),
      place: `${unit.service}\0${targetOf(undone.write)}\0${publish.target}\0write-failed\0${keyOf(undone.write) || trace.traceId}`,
      grade: 'proven',
      spans: [
        spanOf(sent),
        spanOf(undone.write),
        ...(undone.settledBy === undefined || undone.settledBy === undone.write ? [] : [spanOf(undone.settledBy)]),
      ],
      writes: [undone.write],
      facts: { ...shared.facts, table: targetOf(undone.write), happened: 'publish', failed: 'write' },
      tell: () => ({
        title: `${unit.service} published to ${destination} but its write to ${tableWords(targetOf(undone.write))} was undone`,
        explanation: `${unitWords(unit)} published to ${destination}, and then its write to ${tableWords(targetOf(undone.write))} ${undone.settledBy === undone.write ? 'failed' : 'was rolled back'}${undone.write.sqlState === '' ? '' : ` (SQLSTATE ${undone.write.sqlState})`}. Consumers act on something that does not exist.`,
      }),
    });
  }
}

/** A write of the service's own state: not a cache, an outbox or an inbox. */
function isOwnState(write: Operation, context: DetectionContext): boolean {
  if (write.facts === undefined ? isCacheSystem(write.system) : write.facts.replicaRole === 'cache') return false;
  const table = targetOf(write);
  return !context.learned.isOutbox(table) && !context.learned.isInbox(table);
}

/** By table, when the last write that was committed began. */
function lastCommittedUs(outcomes: readonly WriteOutcome[]): ReadonlyMap<string, number> {
  const last = new Map<string, number>();
  for (const { is, write } of outcomes) {
    const table = targetOf(write);
    if (is === 'committed' && !((last.get(table) ?? Number.NEGATIVE_INFINITY) >= write.startUs)) last.set(table, write.startUs);
  }
  return last;
}

function firstPublishUs({ publishes }: Unit): number {
  return publishes.reduce((first, { startUs }) => Math.min(first, startUs), Number.POSITIVE_INFINITY);
}

/**
 * A timer or poller that reads rows, publishes them and then marks or deletes what it read is a relay: the table is its outbox whatever
 * its name, and a crash in between only publishes again. Work for a request is not: there the row's change is what the message tells.
 */
function isRelay(unit: Unit): boolean {
  if (unit.entry.kind === 'request' || unit.entry.kind === 'consume' || unit.consumes.length > 0) return false;
  const sentUs = firstPublishUs(unit);
  const readBefore = new Set<string>();
  for (const read of unit.reads) if (read.startUs <= sentUs) readBefore.add(targetOf(read));
  return unit.writes.every(
    (write) =>
      write.startUs >= sentUs &&
      (write.kind === 'delete' || write.statement?.verb === 'update' || write.statement?.verb === 'delete') &&
      readBefore.has(targetOf(write)),
  );
}

/** A row that is put beside the change, and taken out again once its message is sent: an outbox that its own writer empties. */
function isFastOutbox(unit: Unit): boolean {
  const sentUs = firstPublishUs(unit);
  const placeOf = (write: Operation): string => `${storeOf(write)}\0${targetOf(write)}`;
  const taken = new Set<string>();
  for (const write of unit.writes)
    if (write.startUs >= sentUs && (write.kind === 'delete' || write.statement?.verb === 'delete')) taken.add(placeOf(write));
  if (taken.size === 0) return false;
  const tables = new Map<string, Set<string>>();
  for (const write of unit.writes) {
    const known = tables.get(storeOf(write));
    if (known === undefined) tables.set(storeOf(write), new Set([targetOf(write)]));
    else known.add(targetOf(write));
  }
  return unit.writes.some(
    (put) =>
      (put.kind === 'append' || put.statement?.verb === 'insert') &&
      put.endUs - grainUs <= sentUs &&
      (tables.get(storeOf(put))?.size ?? 0) > 1 &&
      taken.has(placeOf(put)),
  );
}

function tableWords(table: string): string {
  return table === '' ? 'its database' : `\`${table}\``;
}

function destinationWords(publish: Operation, consumers: readonly string[]): string {
  const name = publish.target === '' ? (publish.system === '' ? 'a broker' : publish.system) : `\`${publish.target}\``;
  return consumers.length === 0 ? name : `${name} (consumed from ${consumers.map((consumer) => `\`${consumer}\``).join(', ')})`;
}

function checkout(tie: 'none' | 'outbox') {
  const steps: Step[] = [
    { kind: 'request', span: 'root', at: 0, lasts: 40, service: 'checkout', target: 'POST /orders' },
    { kind: 'transaction', parent: 'root', at: 2, service: 'checkout', sql: 'begin' },
    { kind: 'append', parent: 'root', at: 5, service: 'checkout', target: 'orders' },
  ];
  if (tie === 'outbox') steps.push({ kind: 'append', parent: 'root', at: 10, service: 'checkout', target: 'outbox' });
  steps.push({ kind: 'transaction', parent: 'root', at: 15, service: 'checkout', sql: 'commit' });
  if (tie === 'none') steps.push({ kind: 'publish', parent: 'root', at: 20, service: 'checkout', target: 'order-events' });
  else {
    // The relay works in its own trace.
    const relay = { trace: 'relay', service: 'checkout' };
    steps.push({ ...relay, kind: 'internal', span: 'poll', at: 100, lasts: 20 });
    steps.push({ ...relay, kind: 'read', parent: 'poll', at: 101, target: 'outbox' });
    steps.push({ ...relay, kind: 'publish', parent: 'poll', at: 105, target: 'order-events' });
    steps.push({ ...relay, kind: 'delete', parent: 'poll', at: 110, target: 'outbox' });
  }
  return exampleOperations(steps);
}
