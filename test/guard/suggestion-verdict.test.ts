import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { suggestionDigest } from '../../src/domain/suggestion.ts';
import { move } from '../../src/forecast/suggesters/move.ts';
import { quorum } from '../../src/forecast/suggesters/quorum.ts';
import { tier } from '../../src/forecast/suggesters/tier.ts';
import type { Suggester } from '../../src/forecast/suggester.ts';
import { parsePolicies, type Policies } from '../../src/guard/cedar.ts';
import { decideOnSuggestion, movesPerDay, type SuggestionFacts, suggestionRules } from '../../src/guard/suggestion-verdict.ts';

function factsOf(suggester: Suggester): SuggestionFacts {
  const subject = { ...suggester.example, rng: createRng('verdict') };
  const [suggestion] = suggester.suggest(subject);
  if (suggestion === undefined) throw new Error('the example suggests');
  const { domain, collection, nowMs } = subject;
  return {
    suggestion,
    digest: suggestionDigest(suggestion),
    domain,
    collection,
    nowMs,
    freeze: null,
    breaker: null,
    movesLastDay: 0,
    inWork: null,
  };
}

function policies(text: string): Policies {
  const parsed = parsePolicies([{ name: 'p.cedar', text }]);
  if (parsed.is === 'error') throw new Error(parsed.problems.join());
  return parsed.policies;
}

const deniedBy = (facts: SuggestionFacts, set?: Policies): readonly string[] => {
  const verdict = decideOnSuggestion(facts, set);
  return verdict.is === 'deny' ? verdict.rules.filter(({ effect }) => effect === 'denies').map(({ id }) => id) : [];
};

describe('the verdict on a suggestion', () => {
  const facts = factsOf(move);

  test('is a review by as many people as the domain asks for, never automatic', () => {
    expect(decideOnSuggestion(facts, undefined)).toMatchObject({ is: 'review', approvals: 1, rules: [] });
    const two = { ...facts.domain, repair: { ...facts.domain.repair, approvals: 2 } };
    expect(decideOnSuggestion({ ...facts, domain: two }, undefined)).toMatchObject({ is: 'review', approvals: 2 });
  });

  test('denies, each rule by its own cause alone', () => {
    expect(deniedBy({ ...facts, freeze: { because: 'an audit' } })).toEqual(['frozen']);
    expect(deniedBy({ ...facts, breaker: { because: 'a repair failed' } })).toEqual(['breaker-open']);
    expect(deniedBy({ ...facts, domain: { ...facts.domain, residency: ['eu'] } })).toEqual(['residency']);
    expect(deniedBy({ ...facts, movesLastDay: movesPerDay })).toEqual(['move-budget']);
    expect(deniedBy({ ...facts, inWork: 'split-1' })).toEqual(['one-at-a-time']);
    const served = factsOf(tier);
    expect(deniedBy({ ...served, domain: { ...served.domain, consistency: 'strict' } })).toEqual(['strict-domain']);
    // Clients whose reads and writes need not meet may read what is old.
    const asked = factsOf({ ...quorum, ...quorum.also });
    expect(asked.suggestion.action.parameters).toMatchObject({ read: 2, write: 1 });
    expect(deniedBy({ ...asked, domain: { ...asked.domain, consistency: 'strict' } })).toEqual(['strict-domain']);
    const meeting = { ...asked.suggestion, action: { ...asked.suggestion.action, parameters: { replicas: 'a,b,c', read: 2, write: 2 } } };
    const strict = { ...asked.domain, consistency: 'strict' as const };
    expect(deniedBy({ ...asked, suggestion: meeting, digest: suggestionDigest(meeting), domain: strict })).toEqual([]);
    expect(deniedBy({ ...facts, suggestion: { ...facts.suggestion, kind: 'merge' } })).toEqual(['digest-identity']);
    expect(suggestionRules.map(({ id }) => id)).toHaveLength(7);
  });

  test('asks the policies: one that forbids denies, one that forbids automation may ask for more people', () => {
    const never = policies(
      `@id("no-moves") @reason("Nothing is moved.") forbid(principal, action, resource) when { context.strategy == "suggest-move" };`,
    );
    expect(deniedBy(facts, never)).toEqual(['no-moves']);
    const three = policies(
      `@id("abroad") @reason("Three people decide on what goes to us.") @approvals("3") forbid(principal, action == Action::"repair-automatically", resource) when { context.regions.contains("us") };`,
    );
    expect(decideOnSuggestion(facts, three)).toMatchObject({ is: 'review', approvals: 3 });
    const broken = policies(
      `@id("overflow") @reason("r") forbid(principal, action, resource) when { 9223372036854775807 + context.hourUtc > 0 };`,
    );
    const atNoon = { ...facts, nowMs: Date.UTC(2026, 0, 1, 12) };
    expect(deniedBy(atNoon, broken)).toEqual(['evaluation-error:overflow']);
  });
});
