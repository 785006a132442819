import type { SpanRef } from '../../domain/anomaly.ts';
import type { Operation } from '../../domain/operation.ts';
import { type Report, spanOf, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { producerKeys, spanKey } from '../message-flow.ts';
import { bareName } from '../object-place.ts';
import { noteOf, type SpanNote, spanOfNote } from '../span-note.ts';
import { keyOf, targetOf, type TraceView, type Unit } from '../trace-view.ts';
import { type WriteOutcome, writeOutcomes } from '../write-outcome.ts';

/** A consumer that looked before its producer's trace was over. */
interface Looked {
  readonly trace: TraceView;
  readonly unit: Unit;
  readonly consume: Operation;
}

/** Consumers that wait for their producer's trace at most; beyond it they are not judged. */
const waitingMax = 5_000;

interface Announced {
  readonly publish: SpanNote;
  readonly destination: string;
  readonly service: string;
  readonly writes: readonly AnnouncedWrite[];
}

/** What is kept of a committed write: there is one for every message for as long as it is remembered. */
interface AnnouncedWrite {
  readonly table: string;
  readonly key: string;
  readonly host: string;
  readonly domain: string;
  readonly settledUs: number;
  readonly settledBy: SpanRef;
}

function announcedWrite({ write, settledUs, settledBy }: WriteOutcome): AnnouncedWrite {
  return {
    table: targetOf(write),
    key: keyOf(write),
    host: write.host,
    domain: write.facts?.domain ?? '',
    settledUs,
    settledBy: spanOf(settledBy ?? write),
  };
}

/** A consumer looked for the object that its message announced before the object could be seen. */
export const notificationBeforeObject = traceDetector(
  {
    id: 'notification-before-object',
    scope: 'message',
    grades: ['risk'],
    title: 'Message overtakes the object it announces',
    sentence: 'A consumer looked for an object that its message announced and could not find it yet; later it was there.',
    fix: 'Publish after the commit, from an outbox; carry the needed state in the message, or the version to wait for when reading from a replica.',
    needs: 'nothing',
    options: {
      retainMs: {
        is: 'number',
        unit: 'ms',
        default: 60_000,
        min: 100,
        max: 3_600_000,
        says: 'How long a message is remembered until its consumer comes.',
      },
    },
    example: () => announce('early'),
    twin: () => announce('after-commit'),
  },
  (settings, context) => {
    const sent = createExpiringMap<Announced>(settings.retainMs * 1000);
    const waiting = createExpiringMap<Looked>(settings.retainMs * 1000);
    return {
      inspect(trace, report) {
        if (!trace.hasMessages) return;
        for (const unit of trace.units) {
          if (unit.publishes.length === 0 || unit.writes.length === 0) continue;
          const writes = writeOutcomes(unit).filter(
            ({ write, is }) =>
              is === 'committed' && !context.learned.isOutbox(targetOf(write)) && !context.learned.isInbox(targetOf(write)),
          );
          if (writes.length === 0) continue;
          const kept = writes.map(announcedWrite);
          for (const publish of unit.publishes) {
            const announced: Announced = { publish: noteOf(publish), destination: publish.target, service: unit.service, writes: kept };
            const bySpan = spanKey(publish.traceId, publish.spanId);
            const byId = publish.message === undefined || publish.message.id === '' ? '' : `id\0${publish.system}\0${publish.message.id}`;
            sent.set(bySpan, announced, publish.endUs);
            if (byId !== '') sent.set(byId, announced, publish.endUs);
            if (waiting.size === 0) continue;
            for (const key of byId === '' ? [bySpan] : [bySpan, byId]) {
              const looked = waiting.get(key, publish.endUs);
              if (looked === undefined) continue;
              waiting.delete(key);
              inspectConsumer(looked.trace, looked.unit, looked.consume, announced, report);
            }
          }
        }
        for (const unit of trace.units) {
          const consume = unit.consumes[0];
          if (consume === undefined) continue;
          const keys = [
            ...producerKeys(consume, unit),
            ...(consume.message !== undefined && consume.message.id !== '' ? [`id\0${consume.system}\0${consume.message.id}`] : []),
          ];
          const announced = keys.map((key) => sent.get(key, consume.endUs)).find((found) => found !== undefined);
          if (announced !== undefined) inspectConsumer(trace, unit, consume, announced, report);
          // The producer's trace ends later where the message overtook the commit; looks that found what they sought need not wait.
          else if (
            waiting.size < waitingMax &&
            [...unit.reads, ...unit.calls].some((look) => isNotFound(look) || (look.kind === 'read' && !isFound(look)))
          ) {
            for (const key of keys) waiting.set(key, { trace, unit, consume }, consume.endUs);
          }
        }
        sent.sweep(trace.endUs);
        waiting.sweep(trace.endUs);
      },
      size: () => sent.size + waiting.size,
    };

    function inspectConsumer(trace: TraceView, unit: Unit, consume: Operation, announced: Announced, report: Report): void {
      const { publish } = announced;
      for (const look of [...unit.reads, ...unit.calls]) {
        const isCall = look.kind === 'call';
        const isMissing = isNotFound(look);
        if (isCall && !(isMissing && calleeOf(trace, look)?.service === announced.service)) continue;
        const outcome = announced.writes.find((write) => isCall || isSameObject(write, look));
        if (outcome === undefined) continue;
        // Sent before the commit, by the producer's own clock, and looked for before it: it cannot have been visible.
        const isSentEarly = publish.startUs < outcome.settledUs;
        const isEarly = isSentEarly && look.startUs < outcome.settledUs && !isFound(look);
        const isElsewhere = isMissing && look.host !== '' && outcome.host !== '' && look.host !== outcome.host;
        if (!isEarly && !(isMissing && (isSentEarly || isElsewhere || isCall || isFoundLater(trace, look)))) continue;
        const table = outcome.table;
        const place = context.placeOf(table, outcome.domain);
        const lateUs = outcome.settledUs - look.startUs;
        report({
          place: `${announced.service}\0${table}\0${announced.destination}\0${unit.service}`,
          grade: 'risk',
          atUs: look.endUs,
          complete: unit.complete,
          spans: [spanOfNote(publish), spanOf(look), outcome.settledBy],
          domain: place.domainName,
          collection: place.collection ?? table,
          objectKey: outcome.key === '' ? keyOf(look) : outcome.key,
          service: unit.service,
          facts: {
            table,
            destination: announced.destination,
            producer: announced.service,
            notFound: isMissing,
            earlyMs: Math.round(lateUs / 1000),
          },
          tell: () => ({
            title: `${unit.service} looks for \`${table}\` before ${announced.service} has committed it`,
            explanation: `${announced.service} published to \`${announced.destination}\`${isSentEarly ? ' before its write to' : ' after its write to'} \`${table}\` was committed; ${unit.service} took the message up and looked for the object ${lateUs > 0 ? `${durationWords(lateUs)} before it could be seen` : 'where it had not arrived yet'}${isMissing ? ', and did not find it' : ''}.`,
          }),
        });
        return;
      }
    }
  },
);

function isNotFound(look: Operation): boolean {
  return (
    look.rows === 0 ||
    look.facts?.version === '' ||
    look.httpStatus === 404 ||
    /not_?found|no_?rows|noresult|emptyresult/i.test(look.errorType)
  );
}

function isFound(look: Operation): boolean {
  return (look.rows ?? -1) > 0 || (look.facts?.version !== undefined && look.facts.version !== '');
}

/** The same look, later in the trace (a retry or a redelivery), found it. */
function isFoundLater(trace: TraceView, look: Operation): boolean {
  return trace.operations.some(
    (other) =>
      other.kind === look.kind && other.startUs > look.endUs && isFound(other) && bareName(targetOf(other)) === bareName(targetOf(look)),
  );
}

function isSameObject(write: AnnouncedWrite, look: Operation): boolean {
  if (look.failed && look.errorType !== '' && !isNotFound(look)) return false;
  if (write.table === '' || bareName(write.table) !== bareName(targetOf(look))) return false;
  const key = keyOf(look);
  return write.key === '' || key === '' || write.key === key;
}

function calleeOf(trace: TraceView, call: Operation): Unit | undefined {
  return trace.units.find((unit) => unit.calledBy === call);
}

function announce(how: 'early' | 'after-commit') {
  return exampleOperations([
    { kind: 'request', span: 'root', at: 0, lasts: 90, service: 'orders', target: 'POST /orders' },
    { kind: 'transaction', parent: 'root', at: 1, service: 'orders', sql: 'begin' },
    { kind: 'append', parent: 'root', at: 5, service: 'orders', target: 'orders' },
    { kind: 'publish', span: 'p', parent: 'root', at: how === 'early' ? 10 : 75, service: 'orders', target: 'order-events' },
    { kind: 'transaction', parent: 'root', at: 70, service: 'orders', sql: 'commit' },
    { kind: 'consume', span: 'c', parent: 'p', at: how === 'early' ? 20 : 85, lasts: 30, service: 'mail', target: 'order-events' },
    { kind: 'read', parent: 'c', at: how === 'early' ? 25 : 90, service: 'mail', target: 'orders', rows: how === 'early' ? 0 : 1 },
  ]);
}
