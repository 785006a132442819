import { effectDigest } from '../domain/effect.ts';
import type { Candidate } from '../domain/proposal.ts';
import { effectsToward } from './effects.ts';
import { strategies } from './registry.ts';
import { simulate } from './simulate.ts';
import type { Situation, Strategy } from './strategy.ts';

export interface Candidates {
  readonly candidates: readonly Candidate[];
  readonly notMine: readonly { readonly strategy: string; readonly because: string }[];
}

/**
 * Asks every strategy (or `only` the named one) and simulates what they say. A candidate that would break a declared invariant
 * or leave the replicas unequal is reported as refused: the guard would deny it, and a person should see why it is not offered.
 */
export function proposeCandidates(situation: Situation, only?: string, registry: readonly Strategy[] = strategies): Candidates {
  const candidates: Candidate[] = [];
  const notMine: { strategy: string; because: string }[] = [];
  for (const strategy of registry) {
    if (only !== undefined && strategy.id !== only) continue;
    const proposed = strategy.propose(situation);
    if (proposed.is === 'not-mine') {
      notMine.push({ strategy: strategy.id, because: proposed.because });
      continue;
    }
    const effects = effectsToward(situation, proposed.decisions);
    if (effects.length === 0) {
      notMine.push({ strategy: strategy.id, because: 'every replica already holds the row that it wants' });
      continue;
    }
    const simulation = simulate(situation, effects);
    const broken = simulation.invariants.find(({ holds }) => !holds);
    if (broken !== undefined || !simulation.digestsEqual) {
      const because = broken === undefined ? 'the replicas would still differ' : `it would break "${broken.text}"`;
      notMine.push({ strategy: strategy.id, because });
      continue;
    }
    candidates.push({
      strategy: strategy.id,
      effects,
      digest: effectDigest(effects),
      simulation,
      margin: proposed.margin,
      because: proposed.because,
      evidence: proposed.evidence,
      covers: { keys: proposed.decisions.length, of: situation.divergences.length },
    });
  }
  return { candidates, notMine };
}
