/**
 * One breaker a domain. While it is open nothing in the domain is repaired automatically; detection, proposals and people go
 * on. Only a person closes it: whatever opened it is not cured by waiting.
 */
export type Breaker = { readonly is: 'closed' } | { readonly is: 'open'; readonly because: string; readonly sinceMs: number };

export type BreakerEvent =
  | { readonly is: 'verification-failed'; readonly repairId: string }
  | { readonly is: 'undo-failed'; readonly repairId: string }
  | { readonly is: 'repair-failed'; readonly repairId: string; readonly because: string }
  | { readonly is: 'invariant-broken'; readonly what: string }
  | { readonly is: 'policy-error'; readonly rule: string }
  | { readonly is: 'case-returned'; readonly caseId: string; readonly times: number; readonly cause: string | null }
  | { readonly is: 'closed-by'; readonly person: string };

/** A case that comes back this often after verified repairs has a cause that repair does not touch. */
const returnsUntilOpen = 2;

/** The first reason stays: what opened it is what a person must look at. */
export function trip(breaker: Breaker, event: BreakerEvent, nowMs: number): Breaker {
  if (event.is === 'closed-by') return { is: 'closed' };
  const because = reasonOf(event);
  if (because === null || breaker.is === 'open') return breaker;
  return { is: 'open', because, sinceMs: nowMs };
}

function reasonOf(event: Exclude<BreakerEvent, { is: 'closed-by' }>): string | null {
  switch (event.is) {
    case 'verification-failed':
      return `repair ${event.repairId} did not verify`;
    case 'undo-failed':
      return `repair ${event.repairId} could not be undone`;
    case 'repair-failed':
      return `repair ${event.repairId} failed: ${event.because}`;
    case 'invariant-broken':
      return `an invariant is broken: ${event.what}`;
    case 'policy-error':
      return `the rule ${event.rule} could not be evaluated`;
    case 'case-returned':
      if (event.times < returnsUntilOpen) return null;
      return `case ${event.caseId} came back ${event.times} times: the cause is not fixed${event.cause === null ? '' : ` (${event.cause})`}`;
    default:
      return event satisfies never;
  }
}
