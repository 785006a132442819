import type { z } from 'zod';
import type { Anomaly } from '../domain/anomaly.ts';
import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { Divergence } from '../domain/divergence.ts';
import type { Evidence } from '../domain/proposal.ts';
import type { Key, Row, Shape } from '../domain/row.ts';
import type { WriteEvidence } from '../domain/write-evidence.ts';

/**
 * Keys in one proposal. A person cannot read more, one digest names them all, and 10,000 rows of effects are near 10 MB of
 * JSON; a larger case is repaired by several proposals one after the other.
 */
export const maxKeysPerProposal = 10_000;

/** What is known of one case when a repair is sought. Values, no connections: the same situation gives the same proposals. */
export interface Situation {
  readonly collection: Collection;
  readonly domain: ConsistencyDomain;
  readonly shape: Shape;
  /** The case's keys with the rows as just read on each replica; at most {@link maxKeysPerProposal}. */
  readonly divergences: readonly Divergence[];
  /** Writes that traces showed for these keys; may be empty. */
  readonly writes: readonly WriteEvidence[];
  /** The trace finding that explains the case, where one is known. */
  readonly cause?: Anomaly;
  readonly nowMs: number;
}

/** What a strategy decides for one key: the row that `on` (default: every replica that was compared) should hold. */
export type KeyDecision =
  | {
      readonly is: 'wanted';
      /** null: the key should be absent. */
      readonly row: Row | null;
      /** Replicas to bring to `row`; absent: all that were compared. */
      readonly on?: readonly string[];
      /** The strategy's certainty for this key in [0, 1]. */
      readonly margin: number;
      readonly evidence?: readonly Evidence[];
    }
  | { readonly is: 'not-mine'; readonly because: string };

/** A strategy's answer for a whole case: decisions for the keys that it is sure of. */
export type Proposed =
  | {
      readonly is: 'draft';
      readonly decisions: readonly {
        readonly key: Key;
        readonly wanted: Row | null;
        readonly on?: readonly string[];
        readonly margin: number;
      }[];
      /** The smallest margin of its keys: a proposal is as sure as its least sure row. */
      readonly margin: number;
      readonly because: string;
      readonly evidence: readonly Evidence[];
    }
  | { readonly is: 'not-mine'; readonly because: string };

/** One way to settle a divergence. A plug-in: everything about it is in its own file, and nothing else switches on its id. */
export interface Strategy {
  readonly id: string;
  readonly title: string;
  /** What it does and when it is right, in one sentence. */
  readonly sentence: string;
  readonly options: z.ZodType;
  /** Options that were not given take their defaults; malformed ones are `not-mine`, with the reason. */
  propose(situation: Situation, options?: unknown): Proposed;
  /** For a person: why this strategy says what it says about this case. */
  explain(situation: Situation, options?: unknown): string;
  /** A situation it settles, and the row it wants on every replica for the first key. */
  readonly example: { readonly situation: Situation; readonly wanted: Row | null };
}

/** What a strategy's file says; {@link defineStrategy} adds the loop over keys. */
export interface StrategyDefinition<Options extends z.ZodType> {
  readonly id: string;
  readonly title: string;
  readonly sentence: string;
  readonly options: Options;
  /** Whether the case as a whole has what the strategy needs; null: it has. */
  needs(situation: Situation, options: z.output<Options>): string | null;
  decide(divergence: Divergence, situation: Situation, options: z.output<Options>): KeyDecision;
  /** One sentence for `rows` keys: why this is right. */
  because(rows: number, situation: Situation, options: z.output<Options>): string;
  /** Reasons that hold for the whole case. */
  evidence?(situation: Situation, options: z.output<Options>): readonly Evidence[];
  readonly example: { readonly situation: Situation; readonly wanted: Row | null };
}

/** Evidence kept on one candidate: a person reads a handful, and the prompt has a token cap. */
const maxEvidence = 20;

export function defineStrategy<Options extends z.ZodType>(definition: StrategyDefinition<Options>): Strategy {
  const propose = (situation: Situation, given?: unknown): Proposed => {
    const options = definition.options.safeParse(given ?? situation.collection.strategyOptions?.[definition.id] ?? {});
    if (!options.success) return { is: 'not-mine', because: `its options are wrong: ${options.error.issues[0]?.message ?? 'unreadable'}` };
    const missing = definition.needs(situation, options.data);
    if (missing !== null) return { is: 'not-mine', because: missing };
    if (situation.divergences.length > maxKeysPerProposal) {
      return {
        is: 'not-mine',
        because: `a proposal holds at most ${maxKeysPerProposal} keys, this case was given ${situation.divergences.length}`,
      };
    }
    const decisions: { key: Key; wanted: Row | null; on?: readonly string[]; margin: number }[] = [];
    const evidence: Evidence[] = [...(definition.evidence?.(situation, options.data) ?? [])];
    let refusal = 'no key differs';
    let margin = 1;
    for (const divergence of situation.divergences) {
      const decision = definition.decide(divergence, situation, options.data);
      if (decision.is === 'not-mine') {
        refusal = decision.because;
        continue;
      }
      decisions.push({
        key: divergence.key,
        wanted: decision.row,
        ...(decision.on === undefined ? {} : { on: decision.on }),
        margin: decision.margin,
      });
      margin = Math.min(margin, decision.margin);
      evidence.push(...(decision.evidence ?? []));
    }
    if (decisions.length === 0) return { is: 'not-mine', because: refusal };
    return {
      is: 'draft',
      decisions,
      margin,
      because: definition.because(decisions.length, situation, options.data),
      evidence: evidence.slice(0, maxEvidence),
    };
  };
  return {
    id: definition.id,
    title: definition.title,
    sentence: definition.sentence,
    options: definition.options,
    propose,
    explain: (situation, options) => {
      const proposed = propose(situation, options);
      return proposed.is === 'not-mine'
        ? `${definition.title} does not apply: ${proposed.because}.`
        : `${definition.title}: ${proposed.because}`;
    },
    example: definition.example,
  };
}
