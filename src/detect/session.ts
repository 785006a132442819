import type { Operation } from '../domain/operation.ts';

/** The session that the span names; '' where it is the trace. */
export function namedSessionOf(operation: Operation): string {
  if (operation.facts !== undefined && operation.facts.sessionId !== '') return operation.facts.sessionId;
  return operation.session ?? '';
}

/** A session is what the span says, else the trace. */
export function sessionOf(operation: Operation): string {
  return namedSessionOf(operation) || operation.traceId;
}

/**
 * How long a session that is only a trace is remembered on an object after it last touched it. A trace that was quiet for ten seconds is over;
 * named sessions go on for as long as their detector's option says.
 */
export const traceSessionRetainUs = 60_000_000;
