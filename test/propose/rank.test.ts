import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { effectDigest, invertEffects } from '../../src/domain/effect.ts';
import type { Outcome } from '../../src/domain/outcome.ts';
import type { Row } from '../../src/domain/row.ts';
import { abstainBelow, calibrate, confidenceOf, strategyRecord } from '../../src/propose/calibrate.ts';
import { proposeCandidates } from '../../src/propose/candidates.ts';
import { exampleSituation } from '../../src/propose/example-situation.ts';
import { buildProposal, editProposal } from '../../src/propose/proposal.ts';
import { rankCandidates } from '../../src/propose/rank.ts';
import { autoConfidence } from '../../src/guard/invariants.ts';
import { situations } from './generated-situation.ts';

const none = calibrate([]);
const rank = (situation: Parameters<typeof rankCandidates>[0]) => rankCandidates(situation, proposeCandidates(situation).candidates, none);
const outcome = (is: Outcome['is'], atMs: number, confidence = 0.95): Outcome => ({
  proposalId: `P${atMs}`,
  caseId: 'C1',
  domain: 'profiles',
  collection: 'profiles',
  strategy: 'majority',
  chosenBy: 'heuristic',
  is,
  confidence,
  rows: 1,
  atMs,
});

describe('rank', () => {
  test('the same effects are one candidate', () => {
    const ranked = rank(
      exampleSituation({ authority: 'eu', rows: { eu: { id: '1', a: 'x' }, us: { id: '1', a: 'y' }, ap: { id: '1', a: 'x' } } }),
    );
    expect(ranked).toMatchObject([{ id: 'c1', strategy: 'authority', agreeing: ['majority'] }]);
  });

  test('a declaration is not outvoted; an inference that is contradicted is not sure enough to act', () => {
    const rows = { eu: { id: '1', a: 'x', at: '1' }, us: { id: '1', a: 'y', at: '2' }, ap: { id: '1', a: 'y', at: '2' } };
    const declared = rank(exampleSituation({ authority: 'eu', classes: { at: 'clock' }, types: { at: 'int' }, rows }));
    expect(declared[0]).toMatchObject({ strategy: 'authority' });
    expect(declared[0]?.confidence).toBeGreaterThanOrEqual(abstainBelow);
    expect(declared[1]?.confidence).toBeLessThan(abstainBelow);
  });

  test('properties: ids in order, digests true, confidence a probability, every candidate converges', () => {
    fc.assert(
      fc.property(situations, (situation) => {
        const ranked = rank(situation);
        expect(ranked.map(({ id }) => id)).toEqual(ranked.map((_, index) => `c${index + 1}`));
        expect(new Set(ranked.map(({ digest }) => digest)).size).toBe(ranked.length);
        for (const candidate of ranked) {
          expect(effectDigest(candidate.effects)).toBe(candidate.digest);
          expect(candidate.confidence).toBeGreaterThan(0);
          expect(candidate.confidence).toBeLessThan(1);
          expect(candidate.simulation.digestsEqual).toBe(true);
        }
        expect(rank({ ...situation, divergences: situation.divergences.toReversed() }).map(({ digest }) => digest)).toEqual(
          ranked.map(({ digest }) => digest),
        );
      }),
    );
  });
});

describe('I14: deletes', () => {
  const rows = { eu: null, us: { id: '1', a: 'x' } };
  const simulated = (situation: Parameters<typeof rankCandidates>[0]) => rank(situation)[0]?.simulation.unexplainedDeletes;
  test('on replicas that take writes are counted unless a trace shows them; followers and caches hold nothing of their own', () => {
    expect(simulated(exampleSituation({ authority: 'eu', rows }))).toBe(1);
    expect(simulated(exampleSituation({ authority: 'eu', roles: { us: 'follower' }, rows }))).toBe(0);
    const deleted = {
      key: { id: '1' },
      kind: 'delete',
      replica: 'eu',
      outcome: 'committed',
      atUs: 1,
      service: 's',
      span: { traceId: '', spanId: '' },
    } as const;
    expect(simulated(exampleSituation({ authority: 'eu', rows, writes: [deleted] }))).toBe(0);
    expect(simulated(exampleSituation({ authority: 'eu', rows, writes: [deleted, { ...deleted, kind: 'write', atUs: 2 }] }))).toBe(1);
  });
});

describe('calibration', () => {
  test('with no outcomes a strategy is taken at its word, and outcomes move it', () => {
    expect(confidenceOf(none, 'profiles', 'majority', 0.95)).toBeCloseTo(0.95);
    const good = calibrate(Array.from({ length: 200 }, (_, index) => outcome('verified', index)));
    const bad = calibrate(Array.from({ length: 200 }, (_, index) => outcome(index % 2 === 0 ? 'undone' : 'verified', index)));
    expect(confidenceOf(good, 'profiles', 'majority', 0.95)).toBeGreaterThan(0.99);
    expect(confidenceOf(bad, 'profiles', 'majority', 0.95)).toBeLessThan(0.6);
    expect(confidenceOf(bad, 'ledger', 'majority', 0.95)).toBeCloseTo(0.95);
  });

  test('more verified outcomes never lower a confidence', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ isRight: fc.boolean(), confidence: fc.double({ min: 0, max: 1, noNaN: true }) })),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (past, margin) => {
          const outcomes = past.map(({ isRight, confidence }, index) => outcome(isRight ? 'verified' : 'undone', index, confidence));
          const before = confidenceOf(calibrate(outcomes), 'profiles', 'majority', margin);
          const after = confidenceOf(calibrate([...outcomes, outcome('verified', 1_000, margin)]), 'profiles', 'majority', margin);
          expect(after).toBeGreaterThanOrEqual(before);
        },
      ),
    );
  });

  test('the record counts since the last failure; what says nothing about the choice counts for nothing', () => {
    const record = strategyRecord(
      calibrate([outcome('verified', 3), outcome('undone', 1), outcome('verified', 0), outcome('stale', 2), outcome('expired', 4)]),
      'profiles',
      'majority',
    );
    expect(record).toEqual({ verified: 2, failed: 1, verifiedSinceFailure: 1 });
  });

  test('the guard asks for the same confidence below which the heuristic abstains', () => expect(autoConfidence).toBe(abstainBelow));
});

describe('proposals', () => {
  const situation = exampleSituation({ authority: 'eu', rows: { eu: { id: '1', a: 'x' }, us: { id: '1', a: 'y' }, ap: null } });
  const ranked = rank(situation);
  const [chosen] = ranked;
  if (chosen === undefined) throw new Error('the authority has a candidate');
  const proposal = buildProposal({
    id: 'P1',
    caseId: 'C1',
    situation,
    ranked,
    chosen,
    choice: { by: 'heuristic' },
    author: 'homeostat',
    nowMs: 1_000,
  });

  test('say the verdict first', () => {
    expect(proposal.says).toBe(
      '1 row of profiles is missing in ap and 1 row of profiles differs in us (a). Repairing them makes all replicas equal. That is what eu, the declared authority, holds. Can be undone for 24 h.',
    );
    const said = (rows: Record<string, Row | null>, more: object = {}): string => {
      const given = exampleSituation({ authority: 'eu', rows, ...more });
      const all = rank(given);
      const [best] = all;
      if (best === undefined) expect.fail('the authority has a candidate');
      return buildProposal({
        id: '',
        caseId: '',
        situation: given,
        ranked: all,
        chosen: best,
        choice: { by: 'heuristic' },
        author: 'homeostat',
        nowMs: 0,
      }).says;
    };
    const [eu, us] = [
      { id: '1', balance: '1930', at: '2' },
      { id: '1', balance: '1880', at: '1' },
    ];
    expect(said({ eu, us }, { classes: { at: 'clock' } })).toMatch(/^Set balance to 1930 on us \(now 1880\)\. /);
    expect(said({ eu, us }, { classes: { balance: 'pii' } })).toMatch(
      /^1 row of profiles differs in us \(at, balance\)\. Setting it makes all replicas equal\. /,
    );
    expect(said({ eu, us: null })).toMatch(/^1 row of profiles is missing in us\. Copying it makes/);
    expect(said({ eu: null, us })).toMatch(/^1 row of profiles is in us that should be gone\. Deleting it makes/);
    expect(said({ eu, us }, { roles: { us: 'cache' } })).toMatch(/^1 row of profiles is stale in us\. Emptying it makes/);
    expect(said({ eu: { ...eu, balance: 'a\u001b[31m\n' }, us })).not.toMatch(/\p{Cc}/u);
    expect(proposal).toMatchObject({
      expiresAtMs: 1_801_000,
      inverse: invertEffects(proposal.effects),
      digest: effectDigest(proposal.effects),
    });
  });

  test('an edit is another proposal with another digest and author', () => {
    const edited = editProposal({
      proposal,
      id: 'P2',
      situation,
      wanted: [{ key: { id: '1' }, row: { id: '1', a: 'z' } }],
      author: 'eve',
      nowMs: 2_000,
    });
    if (edited.is !== 'proposal') expect.fail(edited.because);
    expect(edited.proposal.digest).not.toBe(proposal.digest);
    expect(edited.proposal).toMatchObject({ author: 'eve', choice: { by: 'person', name: 'eve' }, strategy: 'edited' });
    expect(edited.proposal.effects).toHaveLength(3);
    expect(edited.proposal.simulation).toMatchObject({ digestsEqual: true, inverseRestores: true });
  });

  test('an edit with text that is not canonical for its type is refused', () => {
    const typed = exampleSituation({ types: { n: 'numeric' }, rows: { eu: { id: '1', n: '1' }, us: { id: '1', n: '2' } } });
    const edit = (n: string) =>
      editProposal({ proposal, id: 'P2', situation: typed, wanted: [{ key: { id: '1' }, row: { id: '1', n } }], author: 'eve', nowMs: 0 });
    expect(edit('1.50')).toEqual({ is: 'refused', because: 'the value of n is not a numeric in canonical text' });
    expect(edit('1.5').is).toBe('proposal');
  });

  test.each([
    ['a key outside the case', { id: '2' }, { id: '2', a: 'z' }],
    ['another key in the row', { id: '1' }, { id: '2', a: 'z' }],
    ['an unknown column', { id: '1' }, { id: '1', a: 'z', b: '1' }],
    ['a column that is missing', { id: '1' }, { id: '1' }],
    ['a key that is NULL', { id: '1' }, { id: null, a: 'z' }],
  ])('an edit of %s is refused', (_, key, row) => {
    expect(editProposal({ proposal, id: 'P2', situation, wanted: [{ key, row }], author: 'eve', nowMs: 0 }).is).toBe('refused');
  });
});
