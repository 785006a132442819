import { describe, expect, test } from 'vitest';
import { compareAfter } from '../../src/verify/compare.ts';
import { outcomeOf } from '../../src/verify/outcome.ts';
import { type Breaker, trip } from '../../src/verify/breaker.ts';
import { proposalOf, update } from '../guard/guard-facts.ts';

describe('comparison afterwards', () => {
  const effects = [update('1'), update('2', 'ap')];
  test('equal where every row is what its effect leaves', () => {
    expect(compareAfter(effects, (_, key) => effects.find((effect) => effect.key === key)?.leaves ?? null)).toEqual({ is: 'equal' });
  });
  test('names the effects whose row is another, or missing', () => {
    expect(compareAfter(effects, (replica) => (replica === 'ap' ? null : (effects[0]?.leaves ?? null)))).toEqual({
      is: 'not-equal',
      effects: [effects[1]],
    });
  });
});

test('an outcome is what calibration learns from', () => {
  expect(outcomeOf({ proposal: proposalOf([update('1')]), rows: 1, is: 'undone', atMs: 5, reason: 'wrong' })).toMatchObject({
    strategy: 'authority',
    is: 'undone',
    confidence: 0.97,
    rows: 1,
    reason: 'wrong',
  });
});

describe('I5: the breaker', () => {
  const closed: Breaker = { is: 'closed' };
  test('opens for what must stop automatic repair, and keeps its first reason', () => {
    const open = trip(closed, { is: 'verification-failed', repairId: 'R1' }, 7);
    expect(open).toEqual({ is: 'open', because: 'repair R1 did not verify', sinceMs: 7 });
    expect(trip(open, { is: 'policy-error', rule: 'x' }, 9)).toBe(open);
  });
  test('opens for a case that returned twice and says that the cause is not fixed', () => {
    expect(trip(closed, { is: 'case-returned', caseId: 'C1', times: 1, cause: null }, 0)).toBe(closed);
    expect(trip(closed, { is: 'case-returned', caseId: 'C1', times: 2, cause: 'span 77f1' }, 0)).toMatchObject({
      because: expect.stringContaining('the cause is not fixed (span 77f1)'),
    });
  });
  test('only a person closes it', () => {
    expect(trip({ is: 'open', because: 'x', sinceMs: 0 }, { is: 'closed-by', person: 'ada' }, 1)).toEqual(closed);
  });
});
