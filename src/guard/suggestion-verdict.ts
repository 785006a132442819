import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import { type Suggestion, type SuggestionDigest, suggestionDigest } from '../domain/suggestion.ts';
import type { MatchedRule, Verdict } from '../domain/verdict.ts';
import { type Policies, type PolicyContext, policiesOnChange } from './cedar.ts';

/** Everything that a verdict on a suggestion is made from, read by the caller at one moment. */
export interface SuggestionFacts {
  readonly suggestion: Suggestion;
  /** The digest that people see, or approved. */
  readonly digest: SuggestionDigest;
  readonly domain: ConsistencyDomain;
  readonly collection: Collection;
  readonly nowMs: number;
  readonly freeze: { readonly because: string } | null;
  readonly breaker: { readonly because: string } | null;
  /** Suggestions carried out for this collection in the last day, this one left out. */
  readonly movesLastDay: number;
  /** One that is being carried out on the same target now, if there is one. */
  readonly inWork: string | null;
}

/** Changes of placement a day and collection: what is moved more often is thrashing, whoever approves it. */
export const movesPerDay = 6;

interface SuggestionRule {
  readonly id: string;
  readonly sentence: string;
  matches(facts: SuggestionFacts): { readonly reason: string; readonly nearestChange: string | null } | null;
}

/** In code, and no policy relaxes them. All deny: that people must approve is not a rule here but always so. */
export const suggestionRules: readonly SuggestionRule[] = [
  {
    id: 'digest-identity',
    sentence: 'What is done is what was approved.',
    matches: ({ suggestion, digest }) =>
      suggestionDigest(suggestion) === digest
        ? null
        : { reason: 'The suggestion is not the one that the digest names.', nearestChange: 'look at it again' },
  },
  {
    id: 'frozen',
    sentence: 'A frozen domain is not changed by anyone.',
    matches: ({ domain, freeze }) =>
      freeze === null ? null : { reason: `Domain ${domain.name} is frozen: ${freeze.because}.`, nearestChange: `unfreeze ${domain.name}` },
  },
  {
    id: 'breaker-open',
    sentence: 'State that could not be repaired is not moved.',
    matches: ({ domain, breaker }) =>
      breaker === null
        ? null
        : { reason: `The breaker of ${domain.name} is open: ${breaker.because}.`, nearestChange: `close the breaker of ${domain.name}` },
  },
  {
    id: 'residency',
    sentence: 'Data is moved only to regions that it may be in.',
    matches: ({ suggestion, domain }) => {
      const outside = (suggestion.action.intoRegions ?? []).find(
        (region) => domain.residency.length > 0 && !domain.residency.includes(region),
      );
      return outside === undefined
        ? null
        : {
            reason: `Values of ${domain.name} may only be in ${domain.residency.join(', ')}, not in ${outside}.`,
            nearestChange: `allow ${outside} in the residency of ${domain.name}`,
          };
    },
  },
  {
    id: 'strict-domain',
    sentence: 'A strict domain is not served from a weaker tier or a quorum whose reads may be stale.',
    matches: ({ suggestion, domain }) =>
      domain.consistency === 'strict' && (suggestion.kind === 'tier' || canMiss(suggestion.action))
        ? { reason: `Domain ${domain.name} is strict: it has no staleness to spend.`, nearestChange: null }
        : null,
  },
  {
    id: 'move-budget',
    sentence: 'A collection is moved only so often a day.',
    matches: ({ collection, movesLastDay }) =>
      movesLastDay < movesPerDay
        ? null
        : {
            reason: `${collection.name} was changed ${movesLastDay} times in the last day; ${movesPerDay} are allowed.`,
            nearestChange: 'wait',
          },
  },
  {
    id: 'one-at-a-time',
    sentence: 'A target carries out one change at a time.',
    matches: ({ inWork }) =>
      inWork === null ? null : { reason: `${inWork} is being carried out there.`, nearestChange: `wait until ${inWork} has ended` },
  },
];

/** Reads and writes that wait for so few replicas need not have one in common. */
function canMiss({ kind, parameters: { replicas, read, write } }: Suggestion['action']): boolean {
  return kind === 'read-write' && Number(read) + Number(write) <= String(replicas).split(',').length;
}

/** Never `auto`: a change of where state lives is made by people. Any error while deciding denies. */
export function decideOnSuggestion(facts: SuggestionFacts, policies: Policies | undefined): Verdict {
  const rules: MatchedRule[] = [];
  let approvals = Math.max(1, facts.domain.repair.approvals);
  for (const rule of suggestionRules) {
    try {
      const match = rule.matches(facts);
      if (match !== null) rules.push({ id: rule.id, effect: 'denies', reason: match.reason, nearestChange: match.nearestChange });
    } catch (error) {
      rules.push(failed(rule.id, error));
    }
  }
  if (policies !== undefined) {
    try {
      const said = policiesOnChange(policies, facts, contextOf(facts));
      rules.push(...said.rules);
      approvals = Math.max(approvals, said.approvals);
    } catch (error) {
      rules.push(failed('policies', error));
    }
  }
  if (rules.some(({ effect }) => effect === 'denies')) return { is: 'deny', rules };
  return { is: 'review', approvals, role: 'approver', rules };
}

/** A policy sees a suggestion as a repair without rows, by the strategy `suggest-<kind>`: one about hours or regions holds for both. */
function contextOf({ suggestion, collection, nowMs }: SuggestionFacts): PolicyContext {
  const now = new Date(nowMs);
  const regions = suggestion.action.intoRegions ?? collection.replicas.map(({ region }) => region);
  return {
    rows: 0,
    inserts: 0,
    updates: 0,
    deletes: 0,
    replicas: [],
    regions: [...new Set(regions)].toSorted(),
    columns: [],
    classes: [],
    strategy: `suggest-${suggestion.kind}`,
    // Shown only where the 95 % interval of the gain excludes zero.
    confidencePercent: 95,
    reversible: true,
    chosenBy: 'heuristic',
    modelAgrees: true,
    rowsLastHour: 0,
    caseReturns: 0,
    verifiedBefore: 0,
    failedBefore: 0,
    hourUtc: now.getUTCHours(),
    weekdayUtc: ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'][now.getUTCDay()] ?? 'sunday',
  };
}

function failed(id: string, error: unknown): MatchedRule {
  return {
    id: `evaluation-error:${id}`,
    effect: 'denies',
    reason: `The rule ${id} could not be evaluated: ${error instanceof Error ? error.message : String(error)}`,
    nearestChange: 'correct the rule, or the facts that it was given',
  };
}
