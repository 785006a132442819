import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import type { Case, CaseOrigin } from '../../src/domain/case.ts';
import type { Outcome } from '../../src/domain/outcome.ts';
import { consistencyDebt, defaultPrices } from '../../src/report/consistency-debt.ts';

const dayMs = 86_400_000;
const nowMs = 100 * dayMs;

const anomaly = (over: Partial<Anomaly> = {}): Anomaly => ({
  kind: 'dual-write',
  grade: 'structural',
  fingerprint: 'a1',
  title: 'checkout writes orders and publishes order-events',
  explanation: '',
  fix: 'Write the message to an outbox table in the same transaction.',
  service: 'checkout',
  count: 36,
  complete: true,
  sampledShare: 1,
  firstSeenUs: 0,
  lastSeenUs: nowMs * 1000,
  spans: [],
  facts: { table: 'orders', destination: 'order-events' },
  ...over,
});
const origin: CaseOrigin = { service: 'accounts', from: 'eu', without: ['ap', 'us'], traceId: 't1' };
const caseOf = (
  id: string,
  cause: string | null,
  daysAgo: number,
  minutes: number,
  lostOn: CaseOrigin | null = null,
): Case & { readonly closedAtMs: number } => ({
  id,
  domain: 'orders',
  collection: 'orders',
  fingerprint: id,
  title: '',
  rows: 1,
  state: 'closed',
  cause,
  origin: lostOn,
  returns: 0,
  openedAtMs: nowMs - daysAgo * dayMs,
  updatedAtMs: 0,
  closedAtMs: nowMs - daysAgo * dayMs + minutes * 60_000,
});
const outcome = (caseId: string, rows: number, is: Outcome['is'] = 'verified'): Outcome => ({
  proposalId: `P-${caseId}`,
  caseId,
  domain: 'orders',
  collection: 'orders',
  strategy: 'authority',
  chosenBy: 'heuristic',
  is,
  confidence: 0.9,
  rows,
  atMs: nowMs,
});

describe('consistency debt', () => {
  const report = consistencyDebt({
    anomalies: [
      anomaly(),
      anomaly({ fingerprint: 'a2', grade: 'proven', count: 2, title: 'its message never left' }),
      anomaly({
        fingerprint: 'a3',
        kind: 'cross-store-write',
        service: 'web',
        facts: { firstTable: 'carts', secondTable: 'carts' },
        count: 5,
      }),
    ],
    cases: [caseOf('C1', 'a2', 1, 10), caseOf('C2', 'a2', 13, 5), caseOf('C3', null, 2, 1), caseOf('C4', 'a1', 40, 5)],
    outcomes: [outcome('C1', 100), outcome('C2', 20), outcome('C3', 1), outcome('C1', 7, 'stale')],
    nowMs,
  });

  test('one line a place, priced by the cases that its findings explain', () => {
    expect(report.lines.map(({ service, edge, kind }) => [service, edge, kind])).toEqual([
      ['checkout', 'orders → order-events', 'dual-write'],
      ['', '', 'unexplained'],
      ['web', 'carts', 'cross-store-write'],
    ]);
    expect(report.lines[0]).toMatchObject({
      grade: 'structural',
      findings: 38,
      anomalies: ['a1', 'a2'],
      cases: ['C1', 'C2'],
      cost: { incidents: 2, rowsRepaired: 120, minutesDiverged: 15, points: 2 * 30 + 120 * 0.1 + 15 },
    });
    expect(report.lines[2]?.cost.points).toBe(0);
  });

  test('has a trend a day and says whether it is getting worse', () => {
    const line = report.lines[0];
    expect(line?.trend).toHaveLength(14);
    expect(line?.trend[1]).toBe(37);
    expect(line?.trend[13]).toBe(50);
    expect(line?.change).toBe(13);
  });

  test('repayments name the fix and what it saves a day', () => {
    expect(report.repayments).toEqual([
      {
        id: report.lines[0]?.id,
        says: 'checkout, orders → order-events: Write the message to an outbox table in the same transaction.',
        saves: 6.21,
      },
    ]);
  });

  test('a case that no finding explains is on the way on which its write got lost, where traces show the write', () => {
    const { lines, repayments } = consistencyDebt({
      anomalies: [anomaly()],
      cases: [
        caseOf('C1', null, 1, 10, origin),
        caseOf('C2', 'gone', 1, 10, origin),
        caseOf('C3', 'a1', 1, 10, origin),
        caseOf('C4', null, 1, 1),
      ],
      outcomes: [],
      nowMs,
    });
    expect(lines.map(({ service, edge, grade, cases }) => [service, edge, grade, cases])).toEqual([
      ['accounts', 'eu → ap and us', 'traced', ['C1', 'C2']],
      ['checkout', 'orders → order-events', 'structural', ['C3']],
      ['', '', 'unexplained', ['C4']],
    ]);
    expect(repayments.map(({ says }) => says.split(':')[0])).toEqual(['accounts, eu → ap and us', 'checkout, orders → order-events']);
  });

  test('the lines add up to the total, whatever the input', () => {
    const someCase = fc.record({
      cause: fc.constantFrom(null, 'a1', 'a2', 'gone'),
      daysAgo: fc.integer({ min: 0, max: 30 }),
      minutes: fc.nat(10_000),
      rows: fc.nat(50),
      lostOn: fc.constantFrom(null, origin, { ...origin, from: null }),
    });
    fc.assert(
      fc.property(fc.array(someCase, { maxLength: 20 }), fc.boolean(), (given, isOld) => {
        const cases = given.map(({ cause, daysAgo, minutes, lostOn }, index) => caseOf(`C${index}`, cause, daysAgo, minutes, lostOn));
        const made = consistencyDebt({
          anomalies: [anomaly(), anomaly({ fingerprint: 'a2', service: 'web', lastSeenUs: isOld ? 0 : nowMs * 1000 })],
          cases,
          outcomes: given.map(({ rows }, index) => outcome(`C${index}`, rows)),
          nowMs,
        });
        const sum = (pick: (line: (typeof made.lines)[number]) => number): number =>
          made.lines.reduce((total, line) => total + pick(line), 0);
        expect(sum(({ cost }) => cost.incidents)).toBe(made.total.incidents);
        expect(sum(({ cost }) => cost.rowsRepaired)).toBe(made.total.rowsRepaired);
        expect(sum(({ cost }) => cost.points)).toBeCloseTo(made.total.points, 0);
        expect(made.total.points).toBeCloseTo(
          made.total.incidents * defaultPrices.incident +
            made.total.rowsRepaired * defaultPrices.row +
            made.total.minutesDiverged * defaultPrices.minute,
          0,
        );
      }),
    );
  });
});
