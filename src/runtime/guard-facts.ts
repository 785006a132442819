import { invariant } from '../base/assert.ts';
import type { Proposal } from '../domain/proposal.ts';
import type { GuardFacts } from '../guard/facts.ts';
import type { Queryable } from '../io/store/database.ts';
import { holdDomainState } from '../io/store/domain-state.ts';
import { listRecentOutcomes } from '../io/store/outcomes.ts';
import { countAutomaticRows } from '../io/store/repairs.ts';
import { calibrate, type Calibration, strategyRecord } from '../propose/calibrate.ts';
import type { RuntimeContext } from './context.ts';

/** Outcomes that calibration looks back on: older ones tell of code and data that have changed. */
const outcomesRemembered = 500;
const budgetWindowMs = 3_600_000;

export async function readCalibration(db: Queryable, domain: string): Promise<Calibration> {
  return calibrate((await listRecentOutcomes(db, domain, outcomesRemembered)).toReversed());
}

/**
 * What the guard decides on, read inside `tx`; the domain's freeze and breaker are held until it ends, so that a freeze that was
 * answered to a person is true for everything that commits after it.
 */
export async function readGuardFacts(
  context: RuntimeContext,
  tx: Queryable,
  input: { readonly proposal: Proposal; readonly isConfirmed: boolean; readonly caseReturns: number; readonly exceptRepair?: string },
): Promise<GuardFacts> {
  const { proposal } = input;
  const domain = context.domains[proposal.domain];
  const collection = context.collections[proposal.collection];
  invariant(domain !== undefined && collection !== undefined, 'a proposal belongs to a configured domain and collection', {
    domain: proposal.domain,
    collection: proposal.collection,
  });
  const state = await holdDomainState(tx, proposal.domain);
  const nowMs = context.clock.nowMs();
  return {
    proposal,
    domain,
    collection,
    nowMs,
    isConfirmed: input.isConfirmed,
    freeze: state.frozen ? { because: state.frozenReason ?? 'a person froze it' } : null,
    breaker: state.breaker === 'open' ? { because: state.breakerReason ?? 'it was opened' } : null,
    rowsLastHour: await countAutomaticRows(tx, proposal.domain, nowMs - budgetWindowMs, input.exceptRepair),
    caseReturns: input.caseReturns,
    record: strategyRecord(await readCalibration(tx, proposal.domain), proposal.domain, proposal.strategy),
  };
}
