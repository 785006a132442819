import type { Operation } from '../domain/operation.ts';

/** A session is what the span says, else the trace. */
export function sessionOf(operation: Operation): string {
  if (operation.facts !== undefined && operation.facts.sessionId !== '') return operation.facts.sessionId;
  if (operation.session !== undefined && operation.session !== '') return operation.session;
  return operation.traceId;
}

/**
 * Whether `a` surely ended before `b` began. Hybrid logical clocks decide where both have one of the same form; then wall clocks, where two
 * services' clocks may differ by `skewUs`. One service is taken to have one clock.
 */
export function isBefore(a: Operation, b: Operation, skewUs: number): boolean {
  const hlcA = a.facts?.hlc ?? '';
  const hlcB = b.facts?.hlc ?? '';
  if (hlcA !== '' && hlcA.length === hlcB.length && hlcA !== hlcB) return hlcA < hlcB;
  return a.endUs + (a.service === b.service ? 0 : skewUs) <= b.startUs;
}
