import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Effect, invertEffects } from '../../src/domain/effect.ts';
import type { Repair } from '../../src/domain/repair-lifecycle.ts';
import { advance, finalStates, type Progress, type RepairEvent, startProgress, type Step, table } from '../../src/apply/advance.ts';
import { planBatches } from '../../src/apply/plan.ts';
import { planUndo } from '../../src/apply/undo.ts';
import { proposalOf, update } from '../guard/guard-facts.ts';

function run(start: Progress, ...events: readonly RepairEvent['is'][]): { readonly progress: Progress; readonly steps: readonly Step[] } {
  let progress = start;
  const steps: Step[] = [];
  for (const is of events) {
    const next = advance(progress, eventOf(is));
    if (next.is === 'ignored') continue;
    progress = next.progress;
    steps.push(...next.steps);
  }
  return { progress, steps };
}

function eventOf(is: RepairEvent['is']): RepairEvent {
  if (is === 'gave-up') return { is, because: 'the replica is down' };
  return is === 'undo-requested' ? { is, by: 'ada' } : { is };
}
const allEvents = Object.keys(table.planned) as RepairEvent['is'][];

describe('a repair', () => {
  test('of one batch is applied, verified and sealed', () => {
    expect(run(startProgress(1, 0), 'claimed', 'batch-applied', 'verified')).toEqual({
      progress: { state: 'sealed', batch: 0, batches: 1, canaries: 0 },
      steps: [
        { do: 'apply-batch', batch: 0 },
        { do: 'verify', upToBatch: 0 },
        { do: 'record', outcome: 'verified' },
      ],
    });
  });

  test('verifies its canaries before anything else is touched', () => {
    const { steps } = run(
      startProgress(4, 2),
      'claimed',
      'batch-applied',
      'batch-applied',
      'verified',
      'batch-applied',
      'batch-applied',
      'verified',
    );
    expect(steps.map((step) => step.do)).toEqual([
      'apply-batch',
      'apply-batch',
      'verify',
      'apply-batch',
      'apply-batch',
      'verify',
      'record',
    ]);
  });

  test('I2: a row that changed before anything went in makes it stale, later it takes back what went in', () => {
    expect(run(startProgress(2, 0), 'claimed', 'changed-since-read').progress.state).toBe('stale');
    const late = run(startProgress(2, 0), 'claimed', 'batch-applied', 'changed-since-read', 'undone');
    expect(late.progress.state).toBe('compensated');
    expect(late.steps).toContainEqual({ do: 'undo', batches: 1 });
    expect(late.steps.at(-1)).toEqual({ do: 'propose-again' });
  });

  test('I5: a failed verification undoes all that went in and opens the breaker', () => {
    const { progress, steps } = run(startProgress(3, 1), 'claimed', 'batch-applied', 'not-equal', 'undone');
    expect(progress.state).toBe('compensated');
    expect(steps.map((step) => step.do)).toContain('open-breaker');
    expect(steps).toContainEqual({ do: 'undo', batches: 1 });
  });

  test('an undo that finds a row changed leaves it and tells people', () => {
    const { progress, steps } = run(startProgress(1, 0), 'claimed', 'batch-applied', 'verified', 'undo-requested', 'undo-changed');
    expect(progress.state).toBe('failed');
    expect(steps.map((step) => step.do)).toContain('tell-people');
  });

  test('a worker that takes over starts at the first batch; late events of the old one mean nothing to a sealed repair', () => {
    const taken = run(startProgress(3, 0), 'claimed', 'batch-applied', 'claimed');
    expect(taken.steps.at(-1)).toEqual({ do: 'apply-batch', batch: 0 });
    const sealed = run(startProgress(1, 0), 'claimed', 'batch-applied', 'verified').progress;
    for (const is of allEvents.filter((event) => event !== 'undo-requested')) expect(advance(sealed, eventOf(is)).is).toBe('ignored');
  });

  test('properties: total, within its batches, nothing leaves a final state, sealed only after the last batch was verified', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.nat(5),
        fc.array(fc.constantFrom(...allEvents), { maxLength: 30 }),
        (batches, canaries, events) => {
          let progress = startProgress(batches, Math.min(canaries, batches));
          let applied = new Set<number>();
          for (const is of events) {
            const next = advance(progress, eventOf(is));
            if (next.is === 'ignored') continue;
            expect(finalStates).not.toContain(progress.state);
            if (is === 'batch-applied') applied.add(progress.batch);
            if (is === 'undone') applied = new Set();
            for (const step of next.steps) {
              if (step.do === 'apply-batch') {
                expect(step.batch).toBeLessThan(batches);
                // Beyond the canaries only after they were verified: the step then follows `verified` or another batch behind them.
                if (step.batch === progress.canaries && progress.canaries > 0 && is === 'batch-applied')
                  expect(progress.batch).toBeGreaterThanOrEqual(progress.canaries);
              }
              // Whatever is undone covers all that may have gone in.
              if (step.do === 'undo') for (const batch of applied) expect(batch).toBeLessThan(step.batches);
            }
            if (next.progress.state === 'sealed') expect(applied.size).toBe(batches);
            progress = next.progress;
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('batches', () => {
  const effects = (count: number, replica: string): readonly Effect[] =>
    Array.from({ length: count }, (_, index) => update(String(index), replica));

  test('canaries first, one replica a batch', () => {
    const batches = planBatches([...effects(25, 'us'), ...effects(3, 'eu')], { canaryRows: 10, batchRows: 10 });
    expect(batches.map(({ replica, isCanary, effects: rows }) => [replica, isCanary, rows.length])).toEqual([
      ['eu', false, 3],
      ['us', true, 10],
      ['us', false, 10],
      ['us', false, 5],
    ]);
  });

  test('every effect is in exactly one batch, in order within its replica, and the plan is the same each time', () => {
    fc.assert(
      fc.property(
        fc.nat(40),
        fc.nat(40),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
        (us, eu, canaryRows, batchRows) => {
          const all = [...effects(us, 'us'), ...effects(eu, 'eu')];
          const batches = planBatches(all, { canaryRows, batchRows });
          expect(planBatches(all, { canaryRows, batchRows })).toEqual(batches);
          for (const replica of ['us', 'eu']) {
            expect(batches.filter((batch) => batch.replica === replica).flatMap((batch) => batch.effects)).toEqual(
              all.filter((effect) => effect.replica === replica),
            );
          }
          for (const batch of batches) expect(batch.effects.length).toBeLessThanOrEqual(Math.max(canaryRows, batchRows));
        },
      ),
    );
  });
});

describe('undo', () => {
  const proposal = proposalOf([update('1'), update('2')]);
  const repair: Repair = {
    id: 'R1',
    proposalId: 'P1',
    caseId: 'C1',
    domain: 'profiles',
    collection: 'profiles',
    state: 'sealed',
    fence: 1,
    rows: 2,
    approvedBy: [],
    createdAtMs: 0,
    updatedAtMs: 0,
    undoUntilMs: 100,
  };

  test('I3: a sealed repair is undone within its window, each effect expecting what it left', () => {
    const plan = planUndo(proposal, repair, 100);
    expect(plan).toMatchObject({ is: 'undo', effects: invertEffects(proposal.effects) });
  });

  test.each([
    ['too late', proposal, repair, 101],
    ['not sealed', proposal, { ...repair, state: 'applying' as const }, 0],
    ['another proposal', proposal, { ...repair, proposalId: 'P2' }, 0],
    ['a stored inverse that is not the inverse', { ...proposal, inverse: proposal.effects }, repair, 0],
  ])('%s is refused', (_, given, of, now) => {
    expect(planUndo(given, of, now)).toMatchObject({ is: 'refused' });
  });
});
