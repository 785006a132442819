import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { Proposal } from '../domain/proposal.ts';

/** Everything that a verdict is made from, read by the caller at one moment. */
export interface GuardFacts {
  readonly proposal: Proposal;
  readonly domain: ConsistencyDomain;
  readonly collection: Collection;
  readonly nowMs: number;
  /** Every divergence of the case is `confirmed`: no replica could still be catching up. */
  readonly isConfirmed: boolean;
  /** Set while a person has frozen the domain, or everything. */
  readonly freeze: { readonly because: string } | null;
  /** Set while the domain's breaker is open. */
  readonly breaker: { readonly because: string } | null;
  /** Rows repaired automatically in this domain in the last hour. */
  readonly rowsLastHour: number;
  /** How often the case has come back after a verified repair. */
  readonly caseReturns: number;
  /** What became of this strategy's repairs in this domain. */
  readonly record: { readonly verified: number; readonly failed: number; readonly verifiedSinceFailure: number };
}
