import { Hash64 } from '../../base/hash64.ts';
import type { Operation } from '../../domain/operation.ts';
import { type AnnouncedWrite, AnnouncedWrites } from '../announced-writes.ts';
import { grainOf, grainUs } from '../causality.ts';
import { type Report, spanOf, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { eachProducer, noMessage } from '../sent-messages.ts';
import { hashSpan, idsOf } from '../span-ids.ts';
import { bareName } from '../object-place.ts';
import { type SpanNote, spanOfNote } from '../span-note.ts';
import { calleeOf } from '../trace-lookups.ts';
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
/** The trace of one that waits: some operations. */
const bytesPerLooked = 5_000;

interface Announced {
  readonly publish: SpanNote;
  readonly destination: string;
  readonly service: string;
  readonly writes: readonly AnnouncedWrite[];
}

/** A consumer looked for the object that its message announced before the object could be seen. */
export const notificationBeforeObject = traceDetector(
  {
    id: 'notification-before-object',
    scope: 'message',
    concerns: ['messages'],
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
    const retainUs = settings.retainMs * 1000;
    const { messages } = context;
    const announcedWrites = new AnnouncedWrites(messages, retainUs);
    const waiting = createExpiringMap<Looked>(retainUs);
    const hash = new Hash64();

    const announcedBy = (row: number): Announced | undefined => {
      if (row === noMessage) return undefined;
      const writes = announcedWrites.of(row);
      if (writes.length === 0) return undefined;
      const publish = messages.noteOf(row);
      return { publish, destination: messages.topicOf(row).target, service: publish.service, writes };
    };

    /** A consumer that waits for the message that `hash` names. */
    const inspectWaiting = (row: number, publish: Operation, report: Report): void => {
      const { low, high } = hash;
      const looked = waiting.getAt(low, high, publish.endUs);
      const announced = looked === undefined ? undefined : announcedBy(row);
      if (looked === undefined || announced === undefined) return;
      waiting.deleteAt(low, high);
      inspectConsumer(looked.trace, looked.unit, looked.consume, announced, report);
    };

    const isTold = ({ write, is }: WriteOutcome): boolean =>
      is === 'committed' && !context.learned.isOutbox(targetOf(write)) && !context.learned.isInbox(targetOf(write));

    const announce = (unit: Unit, report: Report): void => {
      const writes = writeOutcomes(unit).filter(isTold);
      if (writes.length === 0) return;
      for (const publish of unit.publishes) {
        const row = messages.note(publish, unit.complete);
        if (row === noMessage) continue;
        announcedWrites.hang(row, publish.message?.key ?? '', writes);
        if (waiting.size === 0) continue;
        hashSpan(hash, idsOf(publish));
        inspectWaiting(row, publish, report);
        const id = messages.idOf(row);
        if (id === '') continue;
        hash.start().text(publish.system).text(id).end();
        inspectWaiting(row, publish, report);
      }
    };

    return {
      inspect(trace, report) {
        if (!trace.hasMessages) return;
        for (const unit of trace.units) if (unit.publishes.length > 0 && unit.writes.length > 0) announce(unit, report);
        for (const unit of trace.units) {
          const consume = unit.consumes[0];
          if (consume === undefined) continue;
          const keys: number[] = [];
          let announced: Announced | undefined;
          eachProducer(hash, consume, unit, (low, high) => {
            keys.push(low, high);
            announced ??= announcedBy(messages.ofSpan(low, high, consume.endUs, retainUs));
          });
          const id = consume.message?.id ?? '';
          if (id !== '') {
            announced ??= announcedBy(messages.ofId(consume.system, id, consume.endUs, retainUs));
            hash.start().text(consume.system).text(id).end();
            keys.push(hash.low, hash.high);
          }
          if (announced !== undefined) inspectConsumer(trace, unit, consume, announced, report);
          // The producer's trace ends later where the message overtook the commit; looks that found what they sought need not wait.
          else if (
            waiting.size < waitingMax &&
            [...unit.reads, ...unit.calls].some((look) => isNotFound(look) || (look.kind === 'read' && !isFound(look)))
          ) {
            for (let i = 0; i < keys.length; i += 2)
              waiting.setAt(keys[i] as number, keys[i + 1] as number, { trace, unit, consume }, consume.endUs);
          }
        }
        waiting.sweep(trace.endUs);
      },
      bytes: () => announcedWrites.bytes + waiting.size * bytesPerLooked,
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
        const isSentEarly = publish.startUs < outcome.settledUs - grainUs;
        const isEarly = isSentEarly && look.startUs + grainOf(look) < outcome.settledUs && !isFound(look);
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
  let found = lastFound.get(trace);
  if (found === undefined) {
    found = new Map();
    for (const other of trace.operations) {
      if (!isFound(other)) continue;
      const startUs = other.startUs + grainOf(other);
      if (!((found.get(lookOf(other)) ?? Number.NEGATIVE_INFINITY) >= startUs)) found.set(lookOf(other), startUs);
    }
    lastFound.set(trace, found);
  }
  return (found.get(lookOf(look)) ?? Number.NEGATIVE_INFINITY) > look.endUs;
}

/** By trace and look, when the last one that found something can have begun. Each of a fan-out's consumers asks. */
const lastFound = new WeakMap<TraceView, Map<string, number>>();

const lookOf = (look: Operation): string => `${look.kind}\0${bareName(targetOf(look))}`;

function isSameObject(write: AnnouncedWrite, look: Operation): boolean {
  if (look.failed && look.errorType !== '' && !isNotFound(look)) return false;
  if (write.table === '' || bareName(write.table) !== bareName(targetOf(look))) return false;
  const key = keyOf(look);
  return write.key === '' || key === '' || write.key === key;
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
