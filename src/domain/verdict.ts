/** One rule that mattered to a verdict. */
export interface MatchedRule {
  readonly id: string;
  readonly effect: 'forbids-auto' | 'denies' | 'permits';
  /** One sentence. */
  readonly reason: string;
  /** The nearest change that would have allowed it, or null where nothing would. */
  readonly nearestChange: string | null;
}

/** What the guard says of one proposal. Any error while deciding is a deny. */
export type Verdict =
  | { readonly is: 'auto'; readonly rules: readonly MatchedRule[] }
  | { readonly is: 'review'; readonly approvals: number; readonly role: 'approver'; readonly rules: readonly MatchedRule[] }
  | { readonly is: 'deny'; readonly rules: readonly MatchedRule[] };
