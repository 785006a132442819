import { trace } from '@opentelemetry/api';

/** How the wrappers say an operation: as an event of the span that was active when it began. */
let statements = 0;

/** Statements of one span are not one transaction; each has an id of its own. */
export function nextTransactionId(span) {
  statements += 1;
  return `${span?.spanContext().spanId ?? 'x'}-${statements}`;
}

export function sayOperation(span, attributes) {
  const target = span?.isRecording() ? span : trace.getActiveSpan();
  target?.addEvent('consistency.operation', attributes);
}

/** Writes of a transaction that has ended, each on the span that it was made under. */
export function sayTransaction({ id, writes, isClear }, outcome) {
  if (!isClear) return;
  for (const write of writes)
    sayOperation(write.span, { ...write.attributes, 'consistency.transaction.id': id, 'consistency.transaction.outcome': outcome });
}
