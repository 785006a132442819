import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Verdict } from '../../src/domain/verdict.ts';
import { type Approval, approvalState, weighApproval } from '../../src/guard/approvals.ts';
import { checkBeforeApply } from '../../src/guard/before-apply.ts';
import { domain, factsOf, proposalOf, update } from './guard-facts.ts';

const proposal = proposalOf([update('1')]);
const review = (approvals: number): Verdict => ({ is: 'review', approvals, role: 'approver', rules: [] });
const approval = (by: string, over: Partial<Approval> = {}): Approval => ({
  proposalId: 'P1',
  digest: proposal.digest,
  by,
  isHuman: true,
  is: 'approve',
  atMs: 10,
  ...over,
});
const weigh = (given: readonly Approval[], next: Approval, need = 2) =>
  weighApproval({ proposal, verdict: review(need), given, approval: next, nowMs: 20 });

describe('approvals', () => {
  test('two distinct people approve', () => {
    expect(weigh([], approval('ada'))).toEqual({ is: 'accepted', state: { is: 'waiting', have: 1, need: 2 } });
    expect(weigh([approval('ada')], approval('bob'))).toEqual({ is: 'accepted', state: { is: 'approved', by: ['ada', 'bob'] } });
  });

  test.each([
    ['another digest', approval('ada', { digest: proposalOf([update('2')]).digest }), 409, 'digest-identity'],
    ['another proposal', approval('ada', { proposalId: 'P2' }), 409, 'digest-identity'],
    ['a machine', approval('agent', { isHuman: false }), 403, 'human-approver'],
    ['the author', approval('homeostat'), 403, 'not-own-proposal'],
    ['the same person again', approval('ada'), 409, 'distinct-approvers'],
    ['nobody', approval(''), 403, 'not-own-proposal'],
  ])('%s is refused', (_, next, status, rule) => {
    expect(weigh([approval('ada')], next)).toMatchObject({ is: 'refused', status, rule });
  });

  test('an editor does not approve what they edited', () => {
    expect(
      weighApproval({ proposal, verdict: review(1), given: [], approval: approval('eve'), nowMs: 20, editors: ['eve'] }),
    ).toMatchObject({ is: 'refused', rule: 'not-own-proposal' });
    const edited = proposalOf([update('1')], { choice: { by: 'person', name: 'eve' } });
    expect(approvalState(edited, review(1), [approval('eve')], 20)).toMatchObject({ is: 'waiting', have: 0 });
  });

  test('one rejection ends it, and expiry rejects', () => {
    expect(weigh([], approval('ada', { is: 'reject', comment: 'no' }))).toEqual({
      is: 'accepted',
      state: { is: 'rejected', by: 'ada', reason: 'no' },
    });
    expect(approvalState(proposal, review(2), [approval('ada')], 1_800_000)).toEqual({ is: 'expired' });
    expect(approvalState(proposal, review(1), [approval('ada', { atMs: 1_800_000 })], 1_800_000)).toEqual({ is: 'expired' });
  });

  test('nothing releases what the guard denies, but a person may reject it', () => {
    const deny: Verdict = { is: 'deny', rules: [{ id: 'residency', effect: 'denies', reason: '', nearestChange: null }] };
    expect(weighApproval({ proposal, verdict: deny, given: [], approval: approval('ada'), nowMs: 20 })).toMatchObject({
      is: 'refused',
      status: 403,
      rule: 'residency',
    });
  });

  test('I1: only distinct people count who approved this digest in time and did not write it', () => {
    const people = fc.constantFrom('ada', 'bob', 'homeostat', '');
    const other = proposalOf([update('2')]).digest;
    const anyApproval = fc.record({
      proposalId: fc.constantFrom('P1', 'P2'),
      digest: fc.constantFrom(proposal.digest, other),
      by: people,
      isHuman: fc.boolean(),
      is: fc.constantFrom('approve' as const),
      atMs: fc.constantFrom(0, 1_799_999, 1_800_000),
    });
    fc.assert(
      fc.property(fc.array(anyApproval, { maxLength: 12 }), fc.integer({ min: 1, max: 3 }), (given, need) => {
        const oracle = ['ada', 'bob'].filter((person) =>
          given.some(
            (each) =>
              each.by === person && each.isHuman && each.digest === proposal.digest && each.proposalId === 'P1' && each.atMs < 1_800_000,
          ),
        );
        expect(approvalState(proposal, review(need), given, 5).is).toBe(oracle.length >= need ? 'approved' : 'waiting');
      }),
    );
  });
});

describe('before the first row is touched', () => {
  const reviewed = factsOf({ domain: { ...domain, repair: { ...domain.repair, mode: 'review', approvals: 2 } } });
  const check = (over: Partial<Parameters<typeof checkBeforeApply>[0]> = {}) =>
    checkBeforeApply({
      facts: reviewed,
      policies: undefined,
      approvals: [approval('ada'), approval('bob')],
      approvedDigest: proposal.digest,
      fence: 3,
      claimedFence: 3,
      ...over,
    });

  test('I1: a repair goes with the approvals that it needs, and with none where it is automatic', () => {
    expect(check()).toMatchObject({ is: 'go', approvedBy: ['ada', 'bob'] });
    expect(check({ approvals: [approval('ada')] })).toMatchObject({ is: 'stop', rule: 'review-mode' });
    expect(check({ facts: factsOf(), approvals: [] })).toMatchObject({ is: 'go', approvedBy: [] });
  });

  test('I1: approvals of other effects are worth nothing', () => {
    expect(check({ approvedDigest: proposalOf([update('2')]).digest })).toMatchObject({ is: 'stop', rule: 'digest-identity' });
    const swapped = { ...reviewed, proposal: { ...proposal, effects: [update('2')] } };
    expect(check({ facts: swapped })).toMatchObject({ is: 'stop', rule: 'digest-identity' });
  });

  test('I2: a worker that lost its claim stops', () => {
    expect(check({ fence: 4 })).toMatchObject({ is: 'stop', rule: 'fence', retry: 'never' });
  });

  test('a freeze stops it for now, a policy or rule that denies for good', () => {
    expect(check({ facts: { ...reviewed, freeze: { because: 'release' } } })).toMatchObject({ is: 'stop', rule: 'frozen', retry: 'later' });
    expect(check({ facts: { ...reviewed, isConfirmed: false } })).toMatchObject({ is: 'stop', rule: 'not-confirmed', retry: 'never' });
  });

  test('a slow queue does not cost a proposal its approvals', () => {
    expect(check({ facts: { ...reviewed, nowMs: 2_000_000 } })).toMatchObject({ is: 'go' });
    expect(
      check({ facts: { ...reviewed, nowMs: 2_000_000 }, approvals: [approval('ada'), approval('bob', { atMs: 1_900_000 })] }),
    ).toMatchObject({ is: 'stop' });
  });
});
