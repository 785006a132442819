import type { SpanRef } from './anomaly.ts';
import type { Effect, EffectDigest } from './effect.ts';

/** One reason to believe a proposal; cited by id. */
export interface Evidence {
  readonly id: string;
  readonly kind: 'span' | 'replica' | 'position' | 'declaration' | 'history';
  /** One sentence, no raw values of `pii` columns. */
  readonly says: string;
  readonly atMs?: number;
  readonly span?: SpanRef;
  readonly replica?: string;
}

/** What applying the effects to the rows that were read would give. */
export interface Simulation {
  /** Would the replicas' digests over the touched keys be equal afterwards? */
  readonly digestsEqual: boolean;
  readonly invariants: readonly { readonly text: string; readonly holds: boolean }[];
  readonly rowsTouched: number;
  /** Do effects followed by inverse give back the rows that were read? */
  readonly inverseRestores: boolean;
  /**
   * Rows that would be deleted on replicas that take writes, though no trace shows their delete: absence alone may be an insert
   * that never arrived elsewhere. Absent: not counted.
   */
  readonly unexplainedDeletes?: number;
}

/** What one strategy would do about a case. */
export interface Candidate {
  readonly strategy: string;
  readonly effects: readonly Effect[];
  readonly digest: EffectDigest;
  readonly simulation: Simulation;
  /** The strategy's own certainty in [0, 1], before calibration. */
  readonly margin: number;
  /** One sentence: why this is right. */
  readonly because: string;
  readonly evidence: readonly Evidence[];
  /** How many of the case's keys the effects settle; the rest stay with the case. Absent: all. */
  readonly covers?: { readonly keys: number; readonly of: number };
}

/** Who chose among the candidates. A model's choice alone never makes a repair automatic. */
export type Choice =
  | { readonly by: 'heuristic' }
  | {
      readonly by: 'llm';
      readonly model: string;
      readonly promptHash: string;
      readonly agrees: boolean;
      readonly rootCause: string;
      readonly cited: readonly string[];
    }
  | { readonly by: 'person'; readonly name: string };

/** A candidate chosen for a case, as it waits, is approved and runs. Identified by the digest of its effects. */
export interface Proposal {
  readonly id: string;
  readonly caseId: string;
  readonly domain: string;
  readonly collection: string;
  readonly strategy: string;
  readonly effects: readonly Effect[];
  readonly inverse: readonly Effect[];
  readonly digest: EffectDigest;
  readonly simulation: Simulation;
  /** Calibrated probability in [0, 1] that the repair is right. */
  readonly confidence: number;
  /** The verdict-first sentence for a person. */
  readonly says: string;
  readonly evidence: readonly Evidence[];
  readonly alternatives: readonly {
    readonly strategy: string;
    readonly digest: EffectDigest;
    readonly because: string;
    readonly margin: number;
    readonly rows: number;
  }[];
  readonly choice: Choice;
  /** Who proposed it: `homeostat`, or the person who edited. Authors cannot approve. */
  readonly author: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}
