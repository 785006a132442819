import type { Outcome } from '../domain/outcome.ts';
import type { Proposal } from '../domain/proposal.ts';

/** What became of a proposal, for calibration and the report. */
export function outcomeOf(input: {
  readonly proposal: Proposal;
  readonly is: Outcome['is'];
  readonly atMs: number;
  readonly reason?: string;
}): Outcome {
  const { proposal } = input;
  return {
    proposalId: proposal.id,
    caseId: proposal.caseId,
    domain: proposal.domain,
    collection: proposal.collection,
    strategy: proposal.strategy,
    chosenBy: proposal.choice.by,
    is: input.is,
    confidence: proposal.confidence,
    rows: proposal.effects.length,
    atMs: input.atMs,
    ...(input.reason === undefined ? {} : { reason: input.reason }),
  };
}
