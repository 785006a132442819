/** What became of a proposal; what calibration learns from. */
export interface Outcome {
  readonly proposalId: string;
  readonly caseId: string;
  readonly domain: string;
  readonly collection: string;
  readonly strategy: string;
  readonly chosenBy: 'heuristic' | 'llm' | 'person';
  readonly is: 'verified' | 'undone' | 'rejected' | 'expired' | 'stale' | 'verification-failed';
  readonly confidence: number;
  readonly rows: number;
  readonly atMs: number;
  /** A person's words, where one rejected or undid it. */
  readonly reason?: string;
}
