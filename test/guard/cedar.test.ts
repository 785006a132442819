import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contextOf, parsePolicies, type Policies } from '../../src/guard/cedar.ts';
import { policySchema } from '../../src/guard/policy-schema.ts';
import { decide } from '../../src/guard/verdict.ts';
import { domain, factsOf, proposalOf, update } from './guard-facts.ts';

function policiesOf(text: string): Policies {
  const parsed = parsePolicies([{ name: 'guards.cedar', text }]);
  if (parsed.is === 'error') expect.fail(parsed.problems.join('\n'));
  return parsed.policies;
}

const rowsGuard = `@id("large-repair") @reason("More than 20 rows: somebody should look.") @approvals("2")
forbid(principal, action == Action::"repair-automatically", resource) when { context.rows > 20 };`;
const many = (count: number) => proposalOf(Array.from({ length: count }, (_, index) => update(String(index))));

describe('policies', () => {
  test('a guard that does not match changes nothing', () => {
    expect(decide(factsOf(), policiesOf(rowsGuard))).toEqual({ is: 'auto', rules: [] });
  });

  test('a guard sends a repair to people, with its reason, its approvals and the nearest change', () => {
    expect(decide(factsOf({ proposal: many(21) }), policiesOf(rowsGuard))).toEqual({
      is: 'review',
      approvals: 2,
      role: 'approver',
      rules: [
        {
          id: 'large-repair',
          effect: 'forbids-auto',
          reason: 'More than 20 rows: somebody should look.',
          nearestChange: 'rows at most 20 (now 21)',
        },
      ],
    });
  });

  test('a guard on every action denies', () => {
    const verdict = decide(
      factsOf(),
      policiesOf(
        '@id("never-us") @reason("us is being moved.") forbid(principal, action, resource) when { context.replicas.contains("us") };',
      ),
    );
    expect(verdict).toMatchObject({ is: 'deny', rules: [{ id: 'never-us', effect: 'denies' }] });
  });

  test('every guard that matched is listed', () => {
    const verdict = decide(
      factsOf({ proposal: many(30) }),
      policiesOf(`${rowsGuard}
@id("no-sunday") @reason("Nobody is here on Sundays.") forbid(principal, action == Action::"repair-automatically", resource) when { context.weekdayUtc == "thursday" };`),
    );
    expect(verdict.rules.map(({ id }) => id)).toEqual(['large-repair', 'no-sunday']);
    expect(verdict.rules[1]?.nearestChange).toMatch(/^run it on a /);
  });

  test('resources are collections in domains', () => {
    const guard =
      '@id("calm") @reason("High risk.") forbid(principal, action == Action::"repair-automatically", resource in Domain::"profiles") when { resource.risk == "high" };';
    expect(decide(factsOf(), policiesOf(guard)).is).toBe('auto');
    expect(decide(factsOf({ domain: { ...domain, risk: 'high' } }), policiesOf(guard)).is).toBe('review');
  });

  test('what policies are given is what the schema says', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(2_000_000_000_000),
        fc.boolean(),
        (rows, confidence, nowMs, isModel) => {
          const choice = isModel
            ? ({ by: 'llm', model: 'm', promptHash: 'h', agrees: false, rootCause: 'unknown', cited: [] } as const)
            : ({ by: 'heuristic' } as const);
          const facts = factsOf({ proposal: { ...many(rows), confidence, choice }, nowMs });
          const context = { ...contextOf(facts) } as Record<string, cedar.CedarValueJson>;
          expect(cedar.checkParseContext({ context, schema: policySchema, action: { type: 'Action', id: 'repair' } })).toEqual({
            type: 'success',
          });
        },
      ),
    );
  });

  test('a policy about repair alone, and one that looks at the action, are asked about it', () => {
    const alone = policiesOf('@id("a") @reason("x") forbid(principal, action == Action::"repair", resource) when { context.rows > 2 };');
    expect(decide(factsOf({ proposal: many(3) }), alone).is).toBe('deny');
    expect(decide(factsOf({ proposal: many(2) }), alone).is).toBe('auto');
    const looks = policiesOf(
      '@id("a") @reason("x") forbid(principal, action, resource) when { action == Action::"repair" && context.rows > 2 };',
    );
    expect(decide(factsOf({ proposal: many(3) }), looks).is).toBe('deny');
    expect(decide(factsOf({ proposal: many(2) }), looks).is).toBe('auto');
    const either = policiesOf(
      '@id("a") @reason("x") forbid(principal, action in [Action::"repair", Action::"repair-automatically"], resource) when { context.rows > 2 };',
    );
    expect(decide(factsOf({ proposal: many(3) }), either).is).toBe('deny');
  });

  test('I5: a guard whose evaluation fails denies, although Cedar would skip it', () => {
    const overflow =
      '@id("overflow") @reason("x") forbid(principal, action, resource) when { context.rows * 9223372036854775807 > 5 && context.rows > 0 };';
    const verdict = decide(factsOf({ proposal: many(3) }), policiesOf(overflow));
    expect(verdict.is).toBe('deny');
    expect(verdict.rules[0]).toMatchObject({ id: 'evaluation-error:overflow', effect: 'denies' });
  });

  test('I5: a guard about one action whose evaluation fails denies too', () => {
    for (const action of ['repair', 'repair-automatically']) {
      const one = policiesOf(
        `@id("o") @reason("x") forbid(principal, action == Action::"${action}", resource) when { context.rows * 9223372036854775807 > 5 };`,
      );
      expect(decide(factsOf({ proposal: many(3) }), one)).toMatchObject({ is: 'deny', rules: [{ id: 'evaluation-error:o' }] });
    }
  });

  test('I10: a permit cannot relax a hard invariant', () => {
    const permit = policiesOf('@id("all") @reason("Everything goes.") permit(principal, action, resource);');
    expect(decide(factsOf({ domain: { ...domain, consistency: 'strict' } }), permit).is).toBe('review');
    expect(decide(factsOf({ isConfirmed: false }), permit).is).toBe('deny');
  });

  test.each([
    ['no @id', 'forbid(principal, action, resource);', /has no @id/],
    ['no @reason', '@id("a") forbid(principal, action, resource);', /"a" has no @reason/],
    [
      'an attribute that does not exist',
      '@id("a") @reason("b") forbid(principal, action, resource) when { context.rowz > 1 };',
      /"a".*rowz/,
    ],
    ['a type error', '@id("a") @reason("b") forbid(principal, action, resource) when { context.rows == "many" };', /policy "a"/],
    ['an unknown action', '@id("a") @reason("b") forbid(principal, action == Action::"drop", resource);', /policy "a"/],
    ['a syntax error', '@id("a")\n@reason("b")\nforbid(principal, action', /guards.cedar: line 3/],
    [
      'two policies of one id',
      '@id("a") @reason("b") forbid(principal, action, resource);@id("a") @reason("b") forbid(principal, action, resource);',
      /two policies/,
    ],
    ['a wrong number of approvals', '@id("a") @reason("b") @approvals("all") forbid(principal, action, resource);', /@approvals/],
    ['a template', '@id("a") @reason("b") forbid(principal == ?principal, action, resource);', /templates/],
  ])('%s is a problem, in words', (_, text, words) => {
    const parsed = parsePolicies([{ name: 'guards.cedar', text }]);
    expect(parsed.is).toBe('error');
    if (parsed.is === 'error') expect(parsed.problems.join('\n')).toMatch(words);
  });

  test('what is wrong is said with the line of its policy, also behind a byte order mark', () => {
    const right = (id: string): string => `@id("${id}")\n@reason("b")\nforbid(principal, action, resource);\n`;
    const problemsOf = (text: string): readonly string[] => {
      const parsed = parsePolicies([{ name: 'guards.cedar', text }]);
      return parsed.is === 'error' ? parsed.problems : [];
    };
    expect(problemsOf(`\uFEFF${right('a')}`)).toEqual([]);
    expect(problemsOf(`\uFEFF${right('a')}\n${right('c')}${right('a')}`)).toEqual(['guards.cedar: line 8: two policies have the @id "a"']);
    expect(problemsOf(`${right('a')}\tforbid(principal, action, resource);`)).toEqual([
      'guards.cedar: line 4: forbid(principal, action, resource);: the policy has no @id("...")',
    ]);
    expect(problemsOf(`${right('a')}\r\n${right('c').replace(';', ' when { context.rowz > 1 };')}`)[0]).toMatch(
      /line 5: policy "c": .*rowz/,
    );
  });

  test('more versions than there is room for still give each its own answers', () => {
    const versions = Array.from({ length: 40 }, (_, index) =>
      policiesOf(
        `@id("v${index}") @reason("x") forbid(principal, action == Action::"repair-automatically", resource) when { context.rows > ${index} };`,
      ),
    );
    for (const round of [0, 1]) {
      for (const [index, policies] of versions.entries()) {
        expect(decide(factsOf({ proposal: many(10) }), policies).is, `version ${index}, round ${round}`).toBe(
          index < 10 ? 'review' : 'auto',
        );
      }
    }
  });
});
