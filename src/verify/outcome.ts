import type { Outcome } from '../domain/outcome.ts';
import type { Proposal } from '../domain/proposal.ts';

/** What became of a proposal, for calibration and the report. */
export function outcomeOf(input: {
  /** Its rows are not needed, and may not have been read. */
  readonly proposal: Omit<Proposal, 'effects' | 'inverse'>;
  readonly rows: number;
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
    rows: input.rows,
    atMs: input.atMs,
    ...(input.reason === undefined || input.reason === '' ? {} : { reason: input.reason }),
  };
}
