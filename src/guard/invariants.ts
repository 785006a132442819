import type { Collection } from '../domain/collection.ts';
import { type Effect, effectDigest } from '../domain/effect.ts';
import { hasWithheld } from '../domain/withheld.ts';
import { weighBudget } from './budget.ts';
import type { GuardFacts } from './facts.ts';

/** A rule in code that no policy can relax. A plug-in: one entry of {@link hardInvariants}, and nothing switches on its id. */
export interface HardInvariant {
  readonly id: string;
  /** What it protects, in one sentence. */
  readonly sentence: string;
  readonly effect: 'forbids-auto' | 'denies';
  /** Why the rule matters to these facts and the nearest change that would satisfy it; null: it does not matter to them. */
  matches(facts: GuardFacts): { readonly reason: string; readonly nearestChange: string | null } | null;
}

/** Below this calibrated confidence a person decides (`propose/calibrate.ts` has the error it stands for). */
export const autoConfidence = 0.9;
/** After a failure a strategy earns its autonomy in the domain back with this many verified repairs that people approved. */
export const earnBack = 5;
/** Effects in one proposal; more cannot be reviewed, hashed and applied in one piece. Three replicas times 10,000 keys fit. */
export const maxEffects = 100_000;
/** A case that returns this often says that its cause is not fixed: repairing it again and again by machine hides that. */
export const maxReturns = 2;

/**
 * The order is that in which a person should read them: what can never be, what needs people, what needs time. Denials are
 * for repairs that must not run at all; everything that people may take upon themselves only forbids automatic repair.
 */
export const hardInvariants: readonly HardInvariant[] = [
  {
    id: 'digest-identity',
    sentence: 'The effects are those that the digest names.',
    effect: 'denies',
    matches: ({ proposal }) =>
      effectDigest(proposal.effects) === proposal.digest
        ? null
        : {
            reason: 'The effects are not those that the proposal’s digest names.',
            nearestChange: 'propose it again from the rows as they are',
          },
  },
  {
    id: 'well-formed-effects',
    sentence: 'Every effect concerns a replica of the collection, once per key, and the batch has a bound.',
    effect: 'denies',
    matches: ({ proposal, collection }) => {
      const problem = malformed(proposal.effects, collection);
      return problem === null ? null : { reason: problem, nearestChange: 'propose it again from the rows as they are' };
    },
  },
  {
    id: 'repair-off',
    sentence: 'A domain in mode off is only watched.',
    effect: 'denies',
    matches: ({ domain }) =>
      domain.repair.mode === 'off'
        ? { reason: `Domain ${domain.name} only detects (repair mode off).`, nearestChange: `set repair.mode of ${domain.name} to review` }
        : null,
  },
  {
    id: 'frozen',
    sentence: 'A frozen domain is not repaired by anyone.',
    effect: 'denies',
    matches: ({ domain, freeze }) =>
      freeze === null ? null : { reason: `Domain ${domain.name} is frozen: ${freeze.because}.`, nearestChange: `unfreeze ${domain.name}` },
  },
  {
    id: 'expired',
    sentence: 'A proposal that waited too long is not carried out.',
    effect: 'denies',
    matches: ({ proposal, nowMs }) =>
      proposal.expiresAtMs <= nowMs
        ? { reason: 'The proposal has expired.', nearestChange: 'propose it again from the rows as they are' }
        : null,
  },
  {
    id: 'not-confirmed',
    sentence: 'Lag is not divergence: only confirmed differences are repaired.',
    effect: 'denies',
    matches: ({ isConfirmed }) =>
      isConfirmed
        ? null
        : { reason: 'A replica may still be catching up: the difference is not confirmed.', nearestChange: 'wait until it is confirmed' },
  },
  {
    id: 'residency',
    sentence: 'Values of a domain are written only to regions that it may be in.',
    effect: 'denies',
    matches: ({ proposal, domain, collection }) => {
      if (domain.residency.length === 0) return null;
      const outside = collection.replicas.find(
        (replica) =>
          !domain.residency.includes(replica.region) &&
          proposal.effects.some((effect) => effect.replica === replica.id && effect.after !== null),
      );
      return outside === undefined
        ? null
        : {
            reason: `Replica ${outside.id} is in ${outside.region}; values of ${domain.name} may only be in ${domain.residency.join(', ')}.`,
            nearestChange: `allow ${outside.region} in the residency of ${domain.name}, or leave ${outside.id} out`,
          };
    },
  },
  {
    id: 'withheld-values',
    sentence: 'A row is not replaced or removed by somebody who may not see what it holds.',
    effect: 'denies',
    matches: ({ proposal }) => {
      const hidden = proposal.effects.find((effect) => hasWithheld(effect.before) || hasWithheld(effect.after));
      return hidden === undefined
        ? null
        : {
            reason: `Values of ${hidden.replica} stay in their region, so what would be lost there cannot be seen or restored.`,
            nearestChange: 'let the agent send values (--server-region, where the residency allows it), or repair it in its region',
          };
    },
  },
  {
    id: 'declared-invariant',
    sentence: 'A repair keeps what the collection declares about its rows.',
    effect: 'denies',
    matches: ({ proposal }) => {
      const broken = proposal.simulation.invariants.find(({ holds }) => !holds);
      return broken === undefined
        ? null
        : { reason: `The repair would break "${broken.text}".`, nearestChange: 'choose or edit rows that keep it' };
    },
  },
  {
    id: 'would-not-converge',
    sentence: 'A repair leaves the replicas equal over the keys that it touches.',
    effect: 'denies',
    matches: ({ proposal }) =>
      proposal.simulation.digestsEqual
        ? null
        : { reason: 'The replicas would still differ afterwards.', nearestChange: 'choose effects that make every replica equal' },
  },
  {
    id: 'strict-domain',
    sentence: 'A strict domain is never repaired automatically.',
    effect: 'forbids-auto',
    matches: ({ domain }) =>
      domain.consistency === 'strict' ? { reason: `Domain ${domain.name} is strict: a person decides.`, nearestChange: null } : null,
  },
  {
    id: 'money-column',
    sentence: 'A money column is never changed automatically.',
    effect: 'forbids-auto',
    matches: ({ proposal, collection }) => {
      const column = changedColumns(proposal.effects).find((name) => collection.columnClasses[name] === 'money');
      return column === undefined ? null : { reason: `${column} is money: a person decides.`, nearestChange: null };
    },
  },
  {
    id: 'review-mode',
    sentence: 'A domain in mode review asks people.',
    effect: 'forbids-auto',
    matches: ({ domain }) =>
      domain.repair.mode === 'review'
        ? {
            reason: `Domain ${domain.name} asks before every repair (repair mode review).`,
            nearestChange: `set repair.mode of ${domain.name} to auto`,
          }
        : null,
  },
  {
    id: 'irreversible',
    sentence: 'A repair without an inverse needs two people.',
    effect: 'forbids-auto',
    matches: ({ proposal }) =>
      isReversible(proposal) ? null : { reason: 'It cannot be undone: two people must approve it as irreversible.', nearestChange: null },
  },
  {
    id: 'person-authored',
    sentence: 'What a person chose or edited, other people approve.',
    effect: 'forbids-auto',
    matches: ({ proposal }) =>
      proposal.choice.by === 'person' ? { reason: `${proposal.choice.name} chose it: somebody else approves.`, nearestChange: null } : null,
  },
  {
    id: 'llm-only-choice',
    sentence: 'A language model’s choice alone is never automatic.',
    effect: 'forbids-auto',
    matches: ({ proposal }) =>
      proposal.choice.by === 'llm' && !proposal.choice.agrees
        ? { reason: 'Only the language model chose this; the heuristic chose otherwise.', nearestChange: 'choose what the heuristic chose' }
        : null,
  },
  {
    id: 'unexplained-delete',
    sentence: 'No row is deleted automatically because others lack it: a trace must show its delete.',
    effect: 'forbids-auto',
    matches: ({ proposal }) => {
      const count = proposal.simulation.unexplainedDeletes ?? 0;
      return count === 0
        ? null
        : {
            reason: `It would delete ${count} ${count === 1 ? 'row' : 'rows'} that no trace shows deleted: what the others lack may be new.`,
            nearestChange: 'traces of the services that delete, or a tombstone column',
          };
    },
  },
  {
    id: 'writes-authority',
    sentence: 'The replica that is declared right is not overwritten automatically.',
    effect: 'forbids-auto',
    matches: ({ proposal, collection }) =>
      collection.authority !== undefined && proposal.effects.some(({ replica }) => replica === collection.authority)
        ? {
            reason: `It would change ${collection.authority}, which is declared right.`,
            nearestChange: `leave ${collection.authority} as it is`,
          }
        : null,
  },
  {
    id: 'uncertain',
    sentence: 'An automatic repair is surely right.',
    effect: 'forbids-auto',
    matches: ({ proposal }) =>
      // Written so that NaN does not pass.
      proposal.confidence >= autoConfidence
        ? null
        : {
            reason: `Confidence ${proposal.confidence.toFixed(2)} is below ${autoConfidence.toFixed(2)}.`,
            nearestChange: `a confidence of ${autoConfidence.toFixed(2)} (verified repairs of ${proposal.strategy} raise it)`,
          },
  },
  {
    id: 'autonomy-lost',
    sentence: 'A strategy that failed in a domain asks until it has earned its autonomy back.',
    effect: 'forbids-auto',
    matches: ({ proposal, domain, record }) =>
      record.failed > 0 && record.verifiedSinceFailure < earnBack
        ? {
            reason: `A repair by ${proposal.strategy} failed in ${domain.name}; ${record.verifiedSinceFailure} of ${earnBack} verified since.`,
            nearestChange: `${earnBack - record.verifiedSinceFailure} more verified ${earnBack - record.verifiedSinceFailure === 1 ? 'repair' : 'repairs'} that people approved`,
          }
        : null,
  },
  {
    id: 'breaker-open',
    sentence: 'While a domain’s breaker is open nothing is repaired automatically.',
    effect: 'forbids-auto',
    matches: ({ domain, breaker }) =>
      breaker === null
        ? null
        : { reason: `The breaker of ${domain.name} is open: ${breaker.because}.`, nearestChange: `close the breaker of ${domain.name}` },
  },
  {
    id: 'keeps-returning',
    sentence: 'A case that keeps coming back has a cause that repair does not fix.',
    effect: 'forbids-auto',
    matches: ({ caseReturns }) =>
      caseReturns >= maxReturns
        ? {
            reason: `The case has come back ${caseReturns} times: the cause is not fixed.`,
            nearestChange: 'fix the cause that the case names',
          }
        : null,
  },
  {
    id: 'budget',
    sentence: 'Automatic repair keeps to the domain’s hourly budget of rows.',
    effect: 'forbids-auto',
    matches: ({ proposal, domain, rowsLastHour }) => {
      const { fits, left } = weighBudget(proposal.effects.length, rowsLastHour, domain.repair.rowsPerHour);
      return fits
        ? null
        : {
            reason: `${proposal.effects.length} rows; ${left} of ${domain.repair.rowsPerHour} an hour are left.`,
            nearestChange:
              proposal.effects.length <= domain.repair.rowsPerHour
                ? 'wait until the hour’s budget is free'
                : `set repair.rowsPerHour of ${domain.name} to ${proposal.effects.length + rowsLastHour}`,
          };
    },
  },
];

/** Whether the simulated inverse gives back the rows that were read. */
export function isReversible(proposal: GuardFacts['proposal']): boolean {
  return proposal.simulation.inverseRestores && proposal.inverse.length === proposal.effects.length;
}

/** Columns whose value some effect changes; inserting or deleting a row changes every column that it has a value for. */
export function changedColumns(effects: readonly Effect[]): readonly string[] {
  const changed = new Set<string>();
  for (const { before, after } of effects) {
    for (const column of Object.keys({ ...before, ...after })) {
      if ((before?.[column] ?? null) !== (after?.[column] ?? null)) changed.add(column);
    }
  }
  return [...changed].toSorted();
}

function malformed(effects: readonly Effect[], collection: Collection): string | null {
  if (effects.length === 0) return 'It has no effects.';
  if (effects.length > maxEffects) return `It has ${effects.length} effects; at most ${maxEffects} can be one proposal.`;
  const places = new Set<string>();
  for (const effect of effects) {
    if (effect.collection !== collection.name) return `An effect concerns ${effect.collection}, not ${collection.name}.`;
    if (!collection.replicas.some(({ id }) => id === effect.replica)) return `${effect.replica} is not a replica of ${collection.name}.`;
    if (collection.key.some((column) => typeof effect.key[column] !== 'string')) return 'An effect lacks a key column.';
    const place = JSON.stringify([effect.replica, collection.key.map((column) => effect.key[column])]);
    if (places.has(place)) return `Two effects concern the same key on ${effect.replica}.`;
    places.add(place);
    const isConsistent =
      effect.kind === 'insert'
        ? effect.expects === null && effect.leaves !== null
        : effect.kind === 'delete'
          ? effect.expects !== null && effect.leaves === null
          : effect.expects !== null && effect.leaves !== null && effect.expects !== effect.leaves;
    if (!isConsistent) return `An effect of kind ${effect.kind} does not expect and leave what its kind says.`;
  }
  return null;
}
