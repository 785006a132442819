/**
 * OpenTelemetry's SDK for JavaScript begins spans on whole milliseconds and measures how long they take in microseconds: a span seems to
 * begin and end up to a millisecond before it did, each span by another amount. What happened side by side then seems to have happened one
 * after the other, and the other way round.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';

type Timed = Omit<Step, 'at' | 'lasts'> & { readonly beginsMs: number; readonly lastsMs: number };

function findingsOf(steps: readonly Timed[], grainMs: number): readonly string[] {
  const detection = createDetection();
  detection.add(
    exampleOperations(
      steps.map(({ beginsMs, lastsMs, ...step }) => ({ ...step, at: Math.floor(beginsMs / grainMs) * grainMs, lasts: lastsMs }) as Step),
    ),
  );
  return detection.finish().map((anomaly) => `${anomaly.kind}/${anomaly.grade}`);
}

const runs = Number(process.env['RUNS'] ?? 1000);
const hundredths = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max }).map((n) => n / 100);

interface Plan {
  readonly does: 'read' | 'write' | 'delete';
  /** From the begin of the one before; negative gaps are what runs side by side. */
  readonly afterMs: number;
  readonly lastsMs: number;
  /** Where within its time it took effect, 0 to 1. */
  readonly effectAt: number;
  readonly trace: number;
}

const plan: fc.Arbitrary<Plan> = fc.record({
  does: fc.constantFrom('read', 'read', 'write', 'write', 'delete'),
  afterMs: hundredths(0, 250),
  lastsMs: hundredths(1, 180),
  effectAt: hundredths(0, 100),
  trace: fc.integer({ min: 0, max: 2 }),
});

/** What one service saw of one object that does everything at one moment, as each operation has it: whatever overlaps, nothing is wrong. */
function atomic(plans: readonly Plan[], isSequential: boolean): readonly Timed[] {
  let at = 0.37;
  // A read that finds nothing beside a delete that is under way is told from one that is wrong by no clock.
  const timed = plans.map((planned) => {
    const one = !isSequential && planned.does === 'delete' ? { ...planned, does: 'write' as const } : planned;
    const beginsMs = at;
    at += isSequential ? one.lastsMs + 0.01 + one.afterMs / 10 : one.afterMs;
    return { ...one, beginsMs, effectMs: beginsMs + one.lastsMs * one.effectAt };
  });
  let version: bigint | undefined;
  let last = 0n;
  const steps = new Map<(typeof timed)[number], Timed>();
  for (const one of timed.toSorted((a, b) => a.effectMs - b.effectMs)) {
    const common = { trace: `t${one.trace}`, target: 'profile', beginsMs: one.beginsMs, lastsMs: one.lastsMs };
    const object = { objectType: 'profile', objectKey: '7', sessionId: 'ada', replicaId: 'eu', replicaRole: 'leader' };
    if (one.does === 'read') {
      steps.set(one, { ...common, kind: 'read', facts: { ...object, version: version ?? '' } });
    } else if (one.does === 'delete') {
      if (version === undefined) continue;
      steps.set(one, { ...common, kind: 'delete', facts: { ...object, versionBase: version } });
      version = undefined;
    } else {
      const versionBase = version ?? '';
      last += 1n;
      version = last;
      const made = versionBase === '' ? ({ kind: 'append', sql: 'insert into profile values (1)' } as const) : ({ kind: 'write' } as const);
      steps.set(one, { ...common, ...made, facts: { ...object, version, versionBase } });
    }
  }
  return timed.flatMap((one) => steps.get(one) ?? []);
}

const transaction = fc.record({
  afterMs: hundredths(0, 250),
  lastsMs: fc.tuple(hundredths(1, 150), hundredths(1, 150)),
  effectAt: hundredths(0, 100),
  does: fc.tuple(fc.constantFrom('read', 'write'), fc.constantFrom('read', 'write')),
  objects: fc.constantFrom(['x', 'y'], ['y', 'x']),
});

/** Transactions of two statements, as a strictly serializable store has them: each happens at a moment between its begin and its end. */
function serializable(plans: readonly (typeof transaction extends fc.Arbitrary<infer T> ? T : never)[]): readonly Timed[] {
  let at = 0.37;
  const timed = plans.map((one, n) => {
    at += one.afterMs;
    return { ...one, n, beginsMs: at, effectMs: at + (one.lastsMs[0] + one.lastsMs[1] + 0.01) * one.effectAt };
  });
  const versions = new Map<string, bigint>();
  return timed
    .toSorted((a, b) => a.effectMs - b.effectMs)
    .flatMap(({ n, beginsMs, lastsMs, does, objects }) =>
      objects.map((objectKey, nth): Timed => {
        const seen = versions.get(objectKey) ?? 1n;
        const facts = { objectType: 'row', objectKey, sessionId: 'ada', transactionId: `T${n}` };
        const common = {
          trace: `t${n}`,
          target: 'row',
          beginsMs: nth === 0 ? beginsMs : beginsMs + lastsMs[0] + 0.01,
          lastsMs: lastsMs[nth] ?? 0,
        };
        if (does[nth] === 'read') return { ...common, kind: 'read', facts: { ...facts, version: seen } };
        versions.set(objectKey, seen + 1n);
        return { ...common, kind: 'write', facts: { ...facts, version: seen + 1n, versionBase: seen } };
      }),
    );
}

const proven = (findings: readonly string[]): readonly string[] => findings.filter((one) => one.endsWith('/proven'));

describe('starts of whole milliseconds', () => {
  test.each([
    ['one after the other', true],
    ['side by side', false],
  ])('prove nothing of an object that does everything at one moment, %s', (_name, isSequential) => {
    fc.assert(
      fc.property(fc.array(plan, { minLength: 2, maxLength: 8 }), fc.constantFrom(1, 0.001), (plans, grainMs) => {
        expect(proven(findingsOf(atomic(plans, isSequential), grainMs))).toEqual([]);
      }),
      { numRuns: runs },
    );
  });

  test('prove nothing of transactions that each happen at one moment, side by side in one session', () => {
    fc.assert(
      fc.property(fc.array(transaction, { minLength: 2, maxLength: 6 }), fc.constantFrom(1, 0.001), (plans, grainMs) => {
        expect(findingsOf(serializable(plans), grainMs).filter((one) => one.startsWith('isolation'))).toEqual([]);
      }),
      { numRuns: runs },
    );
  });

  test('do not tell the order of messages that are sent side by side', () => {
    fc.assert(
      fc.property(hundredths(0, 100), hundredths(1, 180), hundredths(1, 180), fc.constantFrom(1, 0.001), (apart, one, two, grainMs) => {
        // The second was sent before the first had ended, overtook it, and is processed before it.
        const sentMs = [10.37, 10.37 + Math.min(apart, one - 0.005)];
        const sends: Timed[] = [one, two].map((lastsMs, n) => ({
          kind: 'publish',
          trace: `m${n}`,
          span: `p${n}`,
          target: 'orders',
          message: { key: 'A1' },
          beginsMs: sentMs[n] ?? 0,
          lastsMs,
        }));
        const takes: Timed[] = [1, 0].map((n, nth) => ({
          kind: 'consume',
          trace: `m${n}`,
          span: `c${n}`,
          parent: `p${n}`,
          service: 'billing',
          target: 'orders',
          message: { key: 'A1', consumerGroup: 'billing' },
          beginsMs: 100 + nth * 50,
          lastsMs: 20,
        }));
        expect(findingsOf([...sends, ...takes], grainMs)).toEqual([]);
      }),
      { numRuns: runs },
    );
  });

  test('do not make runs that follow each other overlap; those that overlap by more do', () => {
    const run = (trace: string, beginsMs: number, lastsMs: readonly [number, number], waitMs = 0.02): readonly Timed[] => [
      { kind: 'request', trace, span: trace, beginsMs: beginsMs - 0.01, lastsMs: lastsMs[0] + waitMs + lastsMs[1] + 0.03 },
      { kind: 'read', trace, parent: trace, target: 'accounts', key: '7', beginsMs, lastsMs: lastsMs[0] },
      { kind: 'write', trace, parent: trace, target: 'accounts', key: '7', beginsMs: beginsMs + lastsMs[0] + waitMs, lastsMs: lastsMs[1] },
    ];
    const lasts = fc.tuple(hundredths(1, 150), hundredths(1, 150));
    fc.assert(
      fc.property(hundredths(1, 300), lasts, lasts, hundredths(2, 30), fc.constantFrom(1, 0.001), (begins, first, second, gap, grainMs) => {
        const following = [...run('a', begins, first), ...run('b', begins + first[0] + first[1] + 0.02 + gap, second)];
        expect(findingsOf(following, grainMs)).toEqual([]);
        const overlapping = [...run('a', begins, first, 4), ...run('b', begins + 0.5, second, 4)];
        expect(findingsOf(overlapping, grainMs)).toEqual(['lost-update-risk/risk']);
      }),
      { numRuns: runs },
    );
  });

  test('are not taken for those of clocks that know more: what is read a moment after a write is held against it', () => {
    const object = { objectType: 'profile', objectKey: '7', sessionId: 'ada' };
    const after = (gapMs: number, beginsMs: number): readonly Timed[] => [
      { kind: 'write', trace: 'a', target: 'profile', beginsMs, lastsMs: 0.61, facts: { ...object, version: 5n, versionBase: 4n } },
      { kind: 'read', trace: 'b', target: 'profile', beginsMs: beginsMs + 0.61 + gapMs, lastsMs: 0.4, facts: { ...object, version: 4n } },
    ];
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 999 }), hundredths(1, 300), (thousandths, gapMs) => {
        const beginsMs = 10 + thousandths / 1000;
        expect(findingsOf(after(gapMs, beginsMs), 0.001)).toEqual(['read-your-writes/proven']);
        expect(findingsOf(after(2 + gapMs, beginsMs), 1)).toEqual(['read-your-writes/proven']);
      }),
    );
  });

  test('do not hide that a look found what one before it had not', () => {
    fc.assert(
      fc.property(hundredths(1, 90), hundredths(1, 90), hundredths(0, 99), fc.constantFrom(1, 0.001), (first, second, begins, grainMs) => {
        const at = 25 + begins;
        const look = { kind: 'read', parent: 'c', service: 'mail', target: 'orders', key: '1' } as const;
        const steps: readonly Timed[] = [
          { kind: 'request', span: 'root', beginsMs: 0, lastsMs: 15 },
          { kind: 'append', parent: 'root', target: 'orders', key: '1', beginsMs: 5, lastsMs: 2 },
          { kind: 'publish', parent: 'root', span: 'p', target: 'placed', message: { id: 'm1' }, beginsMs: 10, lastsMs: 2 },
          { kind: 'consume', span: 'c', parent: 'p', service: 'mail', target: 'placed', message: { id: 'm1' }, beginsMs: 20, lastsMs: 30 },
          { ...look, rows: 0, beginsMs: at, lastsMs: first },
          { ...look, rows: 1, beginsMs: at + first + 0.01, lastsMs: second },
        ];
        expect(findingsOf(steps, grainMs)).toContain('notification-before-object/risk');
      }),
      { numRuns: runs },
    );
  });

  test('do not hide that a relay took a row which was committed just before', () => {
    const row = (n: number, beginsMs: number, lastsMs: number): readonly Timed[] => [
      { kind: 'append', trace: `a${n}`, target: 'outbox', beginsMs, lastsMs },
    ];
    const relay = (n: number, beginsMs: number, lastsMs: number): readonly Timed[] => [
      { kind: 'internal', trace: `r${n}`, span: `r${n}`, beginsMs, lastsMs: 3 * lastsMs + 0.1 },
      { kind: 'read', trace: `r${n}`, parent: `r${n}`, target: 'outbox', beginsMs: beginsMs + 0.01, lastsMs },
      { kind: 'publish', trace: `r${n}`, parent: `r${n}`, target: 'orders', beginsMs: beginsMs + lastsMs + 0.02, lastsMs },
    ];
    fc.assert(
      fc.property(hundredths(1, 90), hundredths(1, 30), hundredths(0, 99), fc.constantFrom(1, 0.001), (written, taken, begins, grainMs) => {
        const before = Array.from({ length: 60 }, (_unused, n) => [...row(n, n * 1000, 2), ...relay(n, n * 1000 + 5, 2)]).flat();
        const at = 60_000 + begins;
        // The relay goes on to be heard.
        const after = Array.from(
          { length: 140 },
          (_unused, n): Timed => ({ kind: 'request', trace: `z${n}`, beginsMs: 61_000 + n * 1000, lastsMs: 2 }),
        );
        const last = row(60, at, written);
        const late = (findings: readonly string[]): readonly string[] => findings.filter((one) => one.startsWith('outbox-lag'));
        expect(late(findingsOf([...before, ...last, ...relay(60, at + written + 0.01, taken), ...after], grainMs))).toEqual([]);
        expect(late(findingsOf([...before, ...last, ...after], grainMs))).toEqual(['outbox-lag/proven']);
      }),
      { numRuns: runs / 10 },
    );
  });
});
