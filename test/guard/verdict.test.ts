import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { invertEffects } from '../../src/domain/effect.ts';
import { withheldValue } from '../../src/domain/withheld.ts';
import type { GuardFacts } from '../../src/guard/facts.ts';
import { hardInvariants } from '../../src/guard/invariants.ts';
import { nearMiss, nearMissText } from '../../src/guard/near-miss.ts';
import { decide } from '../../src/guard/verdict.ts';
import { collection, domain, factsOf, proposalOf, update } from './guard-facts.ts';

const withMoney = { ...update('1'), after: { id: '1', name: 'Ada', balance: '2' } };
const cases: readonly (readonly [string, 'deny' | 'review', Partial<GuardFacts>])[] = [
  ['digest-identity', 'deny', { proposal: { ...proposalOf([update('1')]), effects: [update('2')] } }],
  ['well-formed-effects', 'deny', { proposal: proposalOf([]) }],
  ['well-formed-effects', 'deny', { proposal: proposalOf([update('1', 'mars')]) }],
  ['well-formed-effects', 'deny', { proposal: proposalOf([update('1'), update('1')]) }],
  ['well-formed-effects', 'deny', { proposal: proposalOf([{ ...update('1'), collection: 'accounts' }]) }],
  ['well-formed-effects', 'deny', { proposal: proposalOf([{ ...update('1'), kind: 'delete' }]) }],
  ['repair-off', 'deny', { domain: { ...domain, repair: { ...domain.repair, mode: 'off' } } }],
  ['frozen', 'deny', { freeze: { because: 'a release is going out' } }],
  ['expired', 'deny', { nowMs: 1_800_000 }],
  ['not-confirmed', 'deny', { isConfirmed: false }],
  ['residency', 'deny', { domain: { ...domain, residency: ['eu'] } }],
  [
    'withheld-values',
    'deny',
    { proposal: proposalOf([{ ...update('1'), before: { id: '1', name: withheldValue('name', 'Eda'), balance: '1' } }]) },
  ],
  [
    'declared-invariant',
    'deny',
    {
      proposal: proposalOf([update('1')], {
        simulation: { ...proposalOf([]).simulation, invariants: [{ text: 'sum(balance) is unchanged', holds: false }] },
      }),
    },
  ],
  [
    'would-not-converge',
    'deny',
    { proposal: proposalOf([update('1')], { simulation: { ...proposalOf([]).simulation, digestsEqual: false } }) },
  ],
  ['strict-domain', 'review', { domain: { ...domain, consistency: 'strict' } }],
  ['money-column', 'review', { proposal: proposalOf([withMoney]) }],
  ['money-column', 'review', { proposal: proposalOf(invertEffects([{ ...update('1'), kind: 'insert', expects: null, before: null }])) }],
  ['review-mode', 'review', { domain: { ...domain, repair: { ...domain.repair, mode: 'review' } } }],
  ['irreversible', 'review', { proposal: proposalOf([update('1')], { inverse: [] }) }],
  ['person-authored', 'review', { proposal: proposalOf([update('1')], { choice: { by: 'person', name: 'ada' } }) }],
  [
    'llm-only-choice',
    'review',
    {
      proposal: proposalOf([update('1')], {
        choice: { by: 'llm', model: 'm', promptHash: 'h', agrees: false, rootCause: 'unknown', cited: [] },
      }),
    },
  ],
  [
    'unexplained-delete',
    'review',
    { proposal: proposalOf([update('1')], { simulation: { ...proposalOf([]).simulation, unexplainedDeletes: 1 } }) },
  ],
  ['writes-authority', 'review', { collection: { ...collection, authority: 'us' } }],
  ['uncertain', 'review', { proposal: proposalOf([update('1')], { confidence: 0.89 }) }],
  ['uncertain', 'review', { proposal: proposalOf([update('1')], { confidence: Number.NaN }) }],
  ['autonomy-lost', 'review', { record: { verified: 50, failed: 1, verifiedSinceFailure: 4 } }],
  ['breaker-open', 'review', { breaker: { because: 'a repair did not verify' } }],
  ['keeps-returning', 'review', { caseReturns: 2 }],
  ['budget', 'review', { rowsLastHour: 100 }],
];

describe('hard invariants', () => {
  test('facts to which no rule objects are repaired automatically', () => {
    expect(decide(factsOf(), undefined)).toEqual({ is: 'auto', rules: [] });
  });

  test.each(cases)('%s alone makes it %s', (id, is, over) => {
    const verdict = decide(factsOf(over), undefined);
    expect(verdict.is).toBe(is);
    expect(verdict.rules.map((rule) => rule.id)).toEqual([id]);
    expect(verdict.rules[0]?.reason).toMatch(/\.$/);
  });

  test('each rule has a case above, an id of its own and a sentence', () => {
    expect(hardInvariants.map(({ id }) => id).toSorted()).toEqual([...new Set(cases.map(([id]) => id))].toSorted());
    for (const { sentence } of hardInvariants) expect(sentence).toMatch(/^[A-Z].*\.$/);
  });

  test('I10: a strict domain and a money column are never automatic, whatever else is true', () => {
    fc.assert(
      fc.property(
        fc.record({
          confidence: fc.double({ min: 0, max: 1 }),
          verified: fc.nat(1_000),
          rowsPerHour: fc.nat(1_000_000),
          isStrict: fc.boolean(),
          hasMoney: fc.boolean(),
        }),
        ({ confidence, verified, rowsPerHour, isStrict, hasMoney }) => {
          const verdict = decide(
            factsOf({
              proposal: proposalOf([hasMoney ? withMoney : update('1')], { confidence }),
              domain: { ...domain, consistency: isStrict ? 'strict' : 'eventual', repair: { ...domain.repair, rowsPerHour } },
              record: { verified, failed: 0, verifiedSinceFailure: verified },
            }),
            undefined,
          );
          if (isStrict || hasMoney) expect(verdict.is).not.toBe('auto');
        },
      ),
    );
  });

  test('more objections never make a verdict milder', () => {
    const rank = { auto: 0, review: 1, deny: 2 } as const;
    fc.assert(
      fc.property(fc.subarray([...cases], { minLength: 0 }), fc.nat(cases.length - 1), (some, extra) => {
        const merge = (list: readonly (typeof cases)[number][]): Partial<GuardFacts> =>
          Object.assign({}, ...list.map(([, , over]) => over)) as Partial<GuardFacts>;
        const added = cases[extra];
        if (added === undefined) return;
        // Facts of two cases that set the same field replace each other; only additions are compared.
        if (Object.keys(added[2]).some((key) => key in merge(some))) return;
        const before = decide(factsOf(merge(some)), undefined);
        const after = decide(factsOf(merge([...some, added])), undefined);
        expect(rank[after.is]).toBeGreaterThanOrEqual(rank[before.is]);
      }),
    );
  });

  test('I5: a rule that throws is a deny that says so', () => {
    const broken = new Proxy(factsOf(), {
      get: (target, name) => {
        if (name === 'freeze') throw new RangeError('the store is not reachable');
        return Reflect.get(target, name) as unknown;
      },
    });
    const verdict = decide(broken, undefined);
    expect(verdict.is).toBe('deny');
    expect(verdict.rules.map(({ id }) => id)).toContain('evaluation-error:frozen');
  });

  test('I3: what cannot be undone needs two people even where the domain asks for one', () => {
    const verdict = decide(factsOf({ proposal: proposalOf([update('1')], { inverse: [] }) }), undefined);
    expect(verdict).toMatchObject({ is: 'review', approvals: 2 });
  });
});

describe('near miss', () => {
  test('names every change that is needed', () => {
    const verdict = decide(factsOf({ rowsLastHour: 100, proposal: proposalOf([update('1')], { confidence: 0.5 }) }), undefined);
    expect(nearMiss(verdict)).toMatchObject({
      becomes: 'auto',
      changes: [expect.stringContaining('0.90'), expect.stringContaining('budget')],
    });
  });

  test('says that nothing would do where nothing would', () => {
    const verdict = decide(factsOf({ proposal: proposalOf([withMoney]) }), undefined);
    expect(nearMiss(verdict)).toBeNull();
    expect(nearMissText(verdict)).toBe('none: balance is money: a person decides.');
  });

  test('a denied repair of money can still come to review', () => {
    const verdict = decide(factsOf({ proposal: proposalOf([withMoney]), isConfirmed: false }), undefined);
    expect(nearMiss(verdict)).toEqual({ becomes: 'review', changes: ['wait until it is confirmed'] });
  });
});
