import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { invertEffects } from '../../src/domain/effect.ts';
import { keyText, type Row } from '../../src/domain/row.ts';
import { digestOrAbsent, effectsToward } from '../../src/propose/effects.ts';
import { strategies } from '../../src/propose/registry.ts';
import { simulate } from '../../src/propose/simulate.ts';
import type { Situation } from '../../src/propose/strategy.ts';
import { situations } from '../propose/generated-situation.ts';

/** The situation after the effects went in: what the next comparison would read. */
function afterEffects(situation: Situation, effects: ReturnType<typeof effectsToward>): Situation {
  return {
    ...situation,
    divergences: situation.divergences.map((divergence) => {
      const replicas: Record<string, Row | null> = { ...divergence.replicas };
      for (const effect of effects) {
        if (keyText(situation.shape.key, effect.key) === keyText(situation.shape.key, divergence.key))
          replicas[effect.replica] = effect.after;
      }
      return { ...divergence, replicas };
    }),
  };
}

test('the registry holds each strategy once', () => {
  const ids = strategies.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

describe.each(strategies.map((strategy) => [strategy.id, strategy] as const))('strategy %s', (_, strategy) => {
  test('says everything about itself', () => {
    expect(strategy.id).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(strategy.title.length).toBeGreaterThan(3);
    expect(strategy.sentence).toMatch(/^[A-Z].*\.$/);
    expect(
      strategy.options.safeParse({}).success ||
        strategy.options.safeParse(strategy.example.situation.collection.strategyOptions?.[strategy.id]).success,
    ).toBe(true);
    expect(strategy.explain(strategy.example.situation)).toContain(strategy.title);
  });

  test('settles its example', () => {
    const { situation, wanted } = strategy.example;
    const proposed = strategy.propose(situation);
    if (proposed.is !== 'draft') expect.fail(proposed.because);
    expect(proposed.decisions[0]?.wanted).toEqual(wanted);
    const effects = effectsToward(situation, proposed.decisions);
    expect(effects.length).toBeGreaterThan(0);
    const simulation = simulate(situation, effects);
    expect(simulation.digestsEqual).toBe(true);
    expect(simulation.inverseRestores).toBe(true);
  });

  test('refuses options that it does not know, in words', () => {
    const proposed = strategy.propose(strategy.example.situation, { noSuchOption: 1 });
    expect(proposed.is).toBe('not-mine');
  });

  test('says not-mine where there is nothing to decide', () => {
    expect(strategy.propose({ ...strategy.example.situation, divergences: [] }).is).toBe('not-mine');
  });

  test('does not settle its example once the rows that it looks at are gone', () => {
    const [divergence] = strategy.example.situation.divergences;
    if (divergence === undefined) expect.fail('the example has a divergence');
    const one = Object.fromEntries(Object.entries(divergence.replicas).slice(0, 1));
    const situation = { ...strategy.example.situation, divergences: [{ ...divergence, replicas: one }] };
    const proposed = strategy.propose(situation);
    if (proposed.is === 'draft') expect(effectsToward(situation, proposed.decisions)).toEqual([]);
  });

  test('the generated situations below hold enough that it settles', () => {
    const settled = fc.sample(situations, { numRuns: 1_000, seed: 20 }).filter((situation) => {
      const proposed = strategy.propose(situation);
      return proposed.is === 'draft' && effectsToward(situation, proposed.decisions).length > 0;
    });
    expect(settled.length).toBeGreaterThan(20);
  });

  test('I12: properties: only divergent keys, never the declared authority, reversible, deterministic, settled afterwards', () => {
    fc.assert(
      fc.property(situations, (situation) => {
        const before = JSON.stringify(situation);
        const proposed = strategy.propose(situation);
        expect(strategy.propose(situation)).toEqual(proposed);
        expect(JSON.stringify(situation)).toBe(before);
        if (proposed.is === 'not-mine') {
          expect(proposed.because.length).toBeGreaterThan(0);
          return;
        }
        expect(proposed.margin).toBeGreaterThanOrEqual(0);
        expect(proposed.margin).toBeLessThanOrEqual(1);
        const effects = effectsToward(situation, proposed.decisions);
        const keys = new Map(situation.divergences.map((divergence) => [keyText(situation.shape.key, divergence.key), divergence]));
        for (const effect of effects) {
          const divergence = keys.get(keyText(situation.shape.key, effect.key));
          expect(divergence).toBeDefined();
          const row = divergence?.replicas[effect.replica];
          expect(row).not.toBe(undefined);
          expect(digestOrAbsent(situation.shape, row ?? null)).toBe(effect.expects);
          if (strategy.id === 'authority') expect(effect.replica).not.toBe(situation.collection.authority);
          if (situation.collection.replicas.find(({ id }) => id === effect.replica)?.role === 'cache') expect(effect.kind).toBe('delete');
        }
        if (effects.length === 0) return;
        const simulation = simulate(situation, effects);
        expect(simulation.inverseRestores).toBe(true);
        const after = afterEffects(situation, effects);
        expect(afterEffects(after, invertEffects(effects)).divergences).toEqual(situation.divergences);
        const again = strategy.propose(after);
        if (again.is === 'draft') {
          const settled = new Set(proposed.decisions.map(({ key }) => keyText(situation.shape.key, key)));
          const more = effectsToward(after, again.decisions).filter((effect) => settled.has(keyText(situation.shape.key, effect.key)));
          expect(more).toEqual([]);
        }
        // The order in which replicas and keys are listed says nothing.
        const shuffled: Situation = {
          ...situation,
          divergences: situation.divergences.toReversed().map((divergence) => ({
            ...divergence,
            replicas: Object.fromEntries(Object.entries(divergence.replicas).toReversed()),
          })),
        };
        const other = strategy.propose(shuffled);
        if (other.is !== 'draft') expect.fail('listing order changed the answer');
        expect(effectsToward(shuffled, other.decisions)).toEqual(effects);
      }),
      { numRuns: 400 },
    );
  });
});
