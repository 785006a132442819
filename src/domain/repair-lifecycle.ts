/**
 * A repair's life. `apply/advance.ts` holds the total transition table; the store keeps the current state.
 *
 *   planned ─► applying ─► verifying ─► sealed
 *                 │            └─► undoing ─► compensated
 *                 └─► stale (a row changed since it was read: the case is proposed again)
 *   sealed ─► undoing ─► compensated            (a person asks)
 *   any ─► failed                               (retries used up; the breaker opens)
 */
export type RepairState = 'planned' | 'applying' | 'verifying' | 'sealed' | 'stale' | 'undoing' | 'compensated' | 'failed';

export interface Repair {
  readonly id: string;
  readonly proposalId: string;
  readonly caseId: string;
  readonly domain: string;
  readonly collection: string;
  readonly state: RepairState;
  /** Rises with each claim; a worker that holds a smaller one has lost its claim. */
  readonly fence: number;
  readonly rows: number;
  readonly approvedBy: readonly string[];
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  readonly undoUntilMs: number;
}
