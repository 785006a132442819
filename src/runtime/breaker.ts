import type { Queryable } from '../io/store/database.ts';
import { appendAudit } from '../io/store/audit.ts';
import { getDomainState, setBreaker } from '../io/store/domain-state.ts';
import { publishEvent } from '../io/store/events.ts';
import { type Breaker, type BreakerEvent, trip } from '../verify/breaker.ts';
import type { RuntimeContext } from './context.ts';

/** Tells a domain's breaker what happened; opens it where that is the rule. Appends to the audit chain, so call it last. */
export async function tellBreaker(tx: Queryable, domain: string, event: BreakerEvent, actor: string, nowMs: number): Promise<boolean> {
  const state = await getDomainState(tx, domain);
  const before: Breaker =
    state.breaker === 'open' ? { is: 'open', because: state.breakerReason ?? '', sinceMs: state.breakerAtMs ?? nowMs } : { is: 'closed' };
  const after = trip(before, event, nowMs);
  if (after.is === before.is) return false;
  const because = after.is === 'open' ? after.because : `closed by ${actor}`;
  await setBreaker(tx, domain, after.is, because, nowMs);
  await publishEvent(tx, { kind: 'domain', id: domain, domain, state: `breaker-${after.is}` });
  await appendAudit(
    tx,
    { actor, action: `breaker.${after.is === 'open' ? 'opened' : 'closed'}`, subject: domain, domain, facts: { because } },
    nowMs,
  );
  return true;
}

/** A broken invariant stops automatic repair of its domain, and nothing else: a person is told, detection goes on. */
export async function stopDomain(context: RuntimeContext, domain: string, what: string): Promise<void> {
  context.log('error', `automatic repair of ${domain} has stopped: ${what}`, { domain });
  context.metrics.count('homeostat_invariants_broken_total', { domain });
  await context.database.transaction((tx) => tellBreaker(tx, domain, { is: 'invariant-broken', what }, 'homeostat', context.clock.nowMs()));
}
