import type { Operation } from '../domain/operation.ts';
import { isOutboxName, isInboxName } from './outbox-table.ts';
import { calleeOf, unitsWithin } from './trace-lookups.ts';
import { keyOf, type TraceView, targetOf, type Unit } from './trace-view.ts';
import { writeOutcomes } from './write-outcome.ts';

/** Key of a span in maps. */
export function spanKey(traceId: string, spanId: string): string {
  return traceId + spanId;
}

/** Who consumes: the declared group, else the service. */
export function groupOf(consume: Operation): string {
  const group = consume.message?.consumerGroup ?? '';
  return group === '' ? consume.service : group;
}

/** The message that a unit works on, where it is exactly one. */
export function messageOf(unit: Unit): Operation | undefined {
  const consume = unit.entry.kind === 'consume' ? unit.entry : unit.consumes.length === 1 ? unit.consumes[0] : undefined;
  if (consume === undefined || (consume.message?.batch ?? 1) > 1 || consume.links.length > 1) return undefined;
  return consume;
}

/** Spans that may have sent what `consume` received: links first, then the parent; not the spans of its own service's poll loop. */
export function producerKeys(consume: Operation, unit: Unit | undefined): readonly string[] {
  const keys = consume.links.map((link) => spanKey(link.traceId, link.spanId));
  const parent = unit?.entry === consume ? unit.calledBy : undefined;
  if (consume.parentSpanId !== '' && (parent === undefined || parent.kind === 'publish'))
    keys.push(spanKey(consume.traceId, consume.parentSpanId));
  return keys;
}

/** One lasting change that a unit made, in a form in which two runs of the same code on the same message agree. */
export interface Effect {
  readonly what: string;
  readonly operation: Operation;
}

/**
 * What processing a message changed: committed writes of its unit and of the services it called while at it, and calls that change something
 * outside the trace. Writes that are made to be repeated (ON CONFLICT, a version predicate, an idempotency key, no row touched) are left out,
 * and so are inboxes and outboxes.
 */
export function effectsOf(trace: TraceView, unit: Unit): readonly Effect[] {
  const effects: Effect[] = [];
  for (const other of unitsWithin(trace, unit)) {
    if (other.writes.length > 0)
      for (const { write, is } of writeOutcomes(other)) {
        if (is !== 'committed' || isRepeatable(write)) continue;
        // What is gone is not deleted again, unless it is said that rows were.
        if ((write.kind === 'delete' || write.statement?.verb === 'delete') && (write.rows ?? -1) < 0) continue;
        const table = targetOf(write);
        if (isInboxName(table) || isOutboxName(table)) continue;
        // An insert makes a new key each time; other verbs meet the same row again.
        const isInsert = write.kind === 'append' || write.statement?.verb === 'insert';
        effects.push({ what: `${write.statement?.verb ?? write.kind}\0${table}\0${isInsert ? '' : keyOf(write)}`, operation: write });
      }
    for (const call of other.calls) {
      if (call.failed || (call.idempotencyKey ?? '') !== '' || !/^(POST|PUT|PATCH|DELETE) /.test(call.target)) continue;
      if (calleeOf(trace, call) !== undefined) continue;
      effects.push({ what: `call\0${call.host}\0${call.target}`, operation: call });
    }
  }
  return effects;
}

/** Running it a second time changes nothing, or it changed nothing. */
export function isRepeatable(write: Operation): boolean {
  if ((write.idempotencyKey ?? '') !== '' || (write.facts !== undefined && write.facts.idempotencyKey !== '')) return true;
  if (write.rows === 0) return true;
  return write.statement !== undefined && (write.statement.hasOnConflict || write.statement.hasVersionPredicate);
}

/** `message 17 of orders`, by what identifies it. */
export function messageWords(consume: Operation): string {
  const message = consume.message;
  const topic = consume.target === '' ? 'a queue' : `\`${consume.target}\``;
  if (message === undefined) return `a message of ${topic}`;
  if (message.offset >= 0 && message.partition >= 0) return `message ${message.partition}/${message.offset} of ${topic}`;
  return message.id === '' ? `a message of ${topic}` : `message ${message.id} of ${topic}`;
}
