import { invariant } from '../base/assert.ts';
import { effectDigest, invertEffects } from '../domain/effect.ts';
import type { Choice, Proposal } from '../domain/proposal.ts';
import { type Key, keyText, type Row } from '../domain/row.ts';
import { isCanonical } from '../domain/row-encoding.ts';
import { hasWithheld } from '../domain/withheld.ts';
import { effectsToward } from './effects.ts';
import type { RankedCandidate } from './rank.ts';
import { simulate } from './simulate.ts';
import type { Situation } from './strategy.ts';
import { verdictSentence } from './verdict-sentence.ts';

/** The candidate as it will wait, be approved and run. */
export function buildProposal(input: {
  readonly id: string;
  readonly caseId: string;
  readonly situation: Situation;
  readonly ranked: readonly RankedCandidate[];
  readonly chosen: RankedCandidate;
  readonly choice: Choice;
  readonly author: string;
  readonly nowMs: number;
}): Proposal {
  const { chosen, situation } = input;
  invariant(effectDigest(chosen.effects) === chosen.digest, 'a candidate is identified by the digest of its effects', {
    strategy: chosen.strategy,
  });
  return {
    id: input.id,
    caseId: input.caseId,
    domain: situation.domain.name,
    collection: situation.collection.name,
    strategy: chosen.strategy,
    effects: chosen.effects,
    inverse: invertEffects(chosen.effects),
    digest: chosen.digest,
    simulation: chosen.simulation,
    confidence: chosen.confidence,
    says: verdictSentence(situation, chosen.effects, chosen.because, situation.domain.repair.undoHours),
    evidence: [...chosen.evidence, ...causeEvidence(situation)],
    alternatives: input.ranked
      .filter((other) => other.id !== chosen.id)
      .map(({ strategy, digest, because, margin, effects }) => ({ strategy, digest, because, margin, rows: effects.length })),
    choice: input.choice,
    author: input.author,
    createdAtMs: input.nowMs,
    expiresAtMs: input.nowMs + situation.domain.repair.approvalExpiryMinutes * 60_000,
  };
}

/**
 * A person's own idea of the right rows, as a proposal with a digest of its own, simulated like any other. It asks for approval
 * again, and its author cannot give one.
 */
export function editProposal(input: {
  readonly proposal: Proposal;
  readonly id: string;
  readonly situation: Situation;
  readonly wanted: readonly { readonly key: Key; readonly row: Row | null }[];
  readonly author: string;
  readonly nowMs: number;
}): { readonly is: 'proposal'; readonly proposal: Proposal } | { readonly is: 'refused'; readonly because: string } {
  const { situation, proposal } = input;
  const keys = new Set(situation.divergences.map((divergence) => keyText(situation.shape.key, divergence.key)));
  for (const { key, row } of input.wanted) {
    if (!keys.has(keyText(situation.shape.key, key)))
      return { is: 'refused', because: 'a key that is not part of the case cannot be edited here' };
    const problem = row === null ? null : misfit(situation, key, row);
    if (problem !== null) return { is: 'refused', because: problem };
  }
  const effects = effectsToward(
    situation,
    input.wanted.map(({ key, row }) => ({ key, wanted: row })),
  );
  if (effects.length === 0) return { is: 'refused', because: 'every replica already holds these rows' };
  return {
    is: 'proposal',
    proposal: {
      ...proposal,
      id: input.id,
      strategy: 'edited',
      effects,
      inverse: invertEffects(effects),
      digest: effectDigest(effects),
      simulation: simulate(situation, effects),
      // Nothing is known of how often this person is right; a person's edit is never automatic anyway.
      confidence: 0.5,
      says: verdictSentence(situation, effects, `${input.author} edited it.`, situation.domain.repair.undoHours),
      alternatives: [
        {
          strategy: proposal.strategy,
          digest: proposal.digest,
          because: proposal.says,
          margin: proposal.confidence,
          rows: proposal.effects.length,
        },
        ...proposal.alternatives,
      ],
      choice: { by: 'person', name: input.author },
      author: input.author,
      createdAtMs: input.nowMs,
      expiresAtMs: input.nowMs + situation.domain.repair.approvalExpiryMinutes * 60_000,
    },
  };
}

function misfit(situation: Situation, key: Key, row: Row): string | null {
  const { shape } = situation;
  const unknown = Object.keys(row).find((column) => !shape.columns.some(({ name }) => name === column));
  if (unknown !== undefined) return `there is no column ${unknown}`;
  const missing = shape.columns.find(({ name }) => row[name] === undefined);
  if (missing !== undefined) return `the row has no value for ${missing.name}`;
  const empty = shape.columns.find(({ name, nullable }) => !nullable && row[name] === null);
  if (empty !== undefined) return `${empty.name} cannot be NULL`;
  if (hasWithheld(row)) return 'its values stay in their region, so they cannot be written elsewhere';
  const moved = shape.key.find((column) => row[column] !== key[column]);
  if (moved !== undefined) return `the key column ${moved} cannot be changed`;
  const foreign = shape.columns.find(({ name, type }) => {
    const value = row[name] ?? null;
    return value !== null && !isCanonical(type, value);
  });
  return foreign === undefined ? null : `the value of ${foreign.name} is not a ${foreign.type} in canonical text`;
}

function causeEvidence({ cause }: Situation): Proposal['evidence'] {
  if (cause === undefined) return [];
  const [span] = cause.spans;
  return [{ id: 'cause', kind: 'span', says: cause.title, atMs: cause.lastSeenUs / 1000, ...(span === undefined ? {} : { span }) }];
}
