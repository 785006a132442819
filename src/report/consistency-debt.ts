import type { Anomaly, Grade } from '../domain/anomaly.ts';
import type { Case, CaseOrigin } from '../domain/case.ts';
import type { Outcome } from '../domain/outcome.ts';

/**
 * Consistency debt: what the code's unsafe paths have cost, like a balance sheet. A line is one place (a service and what it
 * touches, with one kind of finding); its price is what really happened because of it: cases that it explains, the rows
 * repaired for them and the minutes that they were diverged. Findings that have cost nothing yet are kept, at no price: they are
 * risk, not loss. Where no finding explains a case but a span shows the write that its rows lack, the way on which that write got lost is
 * the place. What neither explains is a line of its own, so that the lines always add up to the total.
 */
export interface DebtReport {
  readonly madeAtMs: number;
  readonly windowDays: number;
  readonly prices: Prices;
  readonly total: Cost;
  /** Dearest first, then by how often the finding is seen. */
  readonly lines: readonly DebtLine[];
  /** The lines whose fix pays back most: at most five, each with something to fix. */
  readonly repayments: readonly { readonly id: string; readonly says: string; readonly saves: number }[];
}

export interface Cost {
  /** Cases. */
  readonly incidents: number;
  readonly rowsRepaired: number;
  readonly minutesDiverged: number;
  /** The three at {@link Prices}, in points. */
  readonly points: number;
}

export interface DebtLine {
  readonly id: string;
  readonly service: string;
  /** What the service touches there: `orders → order-events`, a table, a topic; '' where the finding does not say. */
  readonly edge: string;
  readonly kind: string;
  /** `traced`: a write is seen, and that it never came to a replica, but not why. */
  readonly grade: Grade | 'traced' | 'unexplained';
  readonly title: string;
  readonly fix: string;
  readonly domain: string;
  /** How often it was seen in the window. */
  readonly findings: number;
  readonly cost: Cost;
  /** Points a day, oldest first, `windowDays` long. */
  readonly trend: readonly number[];
  /** Points of the second half of the window minus those of the first: above 0 it is getting worse. */
  readonly change: number;
  /** Fingerprints of the findings in it, for links. */
  readonly anomalies: readonly string[];
  readonly cases: readonly string[];
}

/** Points; only their proportions matter. A case costs a person's attention, a diverged minute some readers, a row little. */
export interface Prices {
  readonly incident: number;
  readonly row: number;
  readonly minute: number;
}

export const defaultPrices: Prices = { incident: 30, row: 0.1, minute: 1 };
const dayMs = 86_400_000;
const maxRepayments = 5;
const unexplained = 'unexplained';

export function consistencyDebt(input: {
  readonly anomalies: readonly Anomaly[];
  /** Cases opened in the window or still open; `closedAtMs` where closed. */
  readonly cases: readonly (Case & { readonly closedAtMs?: number | null })[];
  readonly outcomes: readonly Outcome[];
  readonly nowMs: number;
  readonly windowDays?: number;
  readonly prices?: Prices;
}): DebtReport {
  const { nowMs } = input;
  const windowDays = input.windowDays ?? 14;
  const prices = input.prices ?? defaultPrices;
  const sinceMs = nowMs - windowDays * dayMs;
  const rowsOfCase = new Map<string, number>();
  for (const outcome of input.outcomes) {
    if (outcome.is !== 'verified' && outcome.is !== 'undone') continue;
    rowsOfCase.set(outcome.caseId, (rowsOfCase.get(outcome.caseId) ?? 0) + outcome.rows);
  }
  const recent = input.cases.filter((each) => each.openedAtMs <= nowMs && (each.closedAtMs ?? nowMs) >= sinceMs);
  const known = new Map(input.anomalies.map((anomaly) => [anomaly.fingerprint, anomaly]));
  const casesOf = Map.groupBy(recent, (each) => {
    const anomaly = each.cause === null ? undefined : known.get(each.cause);
    if (anomaly !== undefined) return placeOf(anomaly);
    return each.origin === null ? unexplained : wayOf(each.origin);
  });
  const findings = Map.groupBy(
    input.anomalies.filter((anomaly) => anomaly.lastSeenUs / 1000 >= sinceMs || casesOf.has(placeOf(anomaly))),
    placeOf,
  );
  const priced = (cases: typeof recent) => priceCases(cases, rowsOfCase, prices, sinceMs, nowMs, windowDays);
  const lines: DebtLine[] = [...findings].flatMap(([id, anomalies]) => {
    // The finding that says most about the place stands for it: the structural one, if there is one, names the code path.
    const first = anomalies.toSorted(
      (a, b) => gradeOrder[a.grade] - gradeOrder[b.grade] || b.count - a.count || (a.fingerprint < b.fingerprint ? -1 : 1),
    )[0];
    if (first === undefined) return [];
    const cases = casesOf.get(id) ?? [];
    return [
      {
        id,
        service: first.service ?? '',
        edge: edgeOf(first),
        kind: first.kind,
        grade: first.grade,
        title: first.title,
        fix: first.fix,
        domain: first.domain ?? cases[0]?.domain ?? '',
        findings: anomalies.reduce((sum, { count }) => sum + count, 0),
        ...priced(cases),
        anomalies: anomalies.map(({ fingerprint }) => fingerprint).toSorted(),
        cases: cases.map((each) => each.id).toSorted(),
      },
    ];
  });
  for (const [id, cases] of casesOf) {
    const origin = cases[0]?.origin ?? null;
    if (origin === null || id !== wayOf(origin)) continue;
    const to = origin.without.join(' and ');
    lines.push({
      id,
      service: origin.service,
      edge: origin.from === null ? `→ ${to}` : `${origin.from} → ${to}`,
      kind: 'lost-write',
      grade: 'traced',
      title: `Writes of ${origin.service}${origin.from === null ? '' : ` on ${origin.from}`} that never reached ${to}`,
      fix: `Feed ${to} from a log (logical replication, change data capture) or an outbox, and retry each change until ${to} confirms it.`,
      domain: cases[0]?.domain ?? '',
      findings: 0,
      ...priced(cases),
      anomalies: [],
      cases: cases.map((each) => each.id).toSorted(),
    });
  }
  const orphans = casesOf.get(unexplained) ?? [];
  if (orphans.length > 0) {
    lines.push({
      id: unexplained,
      service: '',
      edge: '',
      kind: unexplained,
      grade: unexplained,
      title: 'Divergences that nothing in the traces explains',
      fix: 'Send traces of the services that write these collections, with consistency.* attributes.',
      domain: '',
      findings: 0,
      ...priced(orphans),
      anomalies: [],
      cases: orphans.map((each) => each.id).toSorted(),
    });
  }
  const sorted = lines.toSorted((a, b) => b.cost.points - a.cost.points || b.findings - a.findings || (a.id < b.id ? -1 : 1));
  return {
    madeAtMs: nowMs,
    windowDays,
    prices,
    total: priced(recent).cost,
    lines: sorted,
    repayments: sorted
      .filter(({ cost, id }) => cost.points > 0 && id !== unexplained)
      .slice(0, maxRepayments)
      .map(({ id, fix, service, edge, cost }) => ({
        id,
        says: `${[...new Set([service, edge])].filter((part) => part !== '').join(', ')}: ${fix}`,
        saves: round(cost.points / windowDays),
      })),
  };
}

const gradeOrder: Readonly<Record<Grade, number>> = { structural: 0, risk: 1, proven: 2 };

/** One place in the code: the same service, edge and kind, whichever objects it happened to. */
function placeOf(anomaly: Anomaly): string {
  return JSON.stringify([anomaly.service ?? '', edgeOf(anomaly), anomaly.kind]);
}

/** The way on which a write got lost: who wrote where, and which replicas went without. */
function wayOf(origin: CaseOrigin): string {
  return JSON.stringify([origin.service, origin.from, origin.without, 'lost-write']);
}

function edgeOf(anomaly: Anomaly): string {
  const { facts } = anomaly;
  const text = (name: string): string => (typeof facts[name] === 'string' ? facts[name] : '');
  const from = text('table') || text('firstTable') || anomaly.collection || '';
  const to = text('destination') || text('secondTable');
  if (from !== '' && to !== '' && from !== to) return `${from} → ${to}`;
  return from === '' ? to : from;
}

function priceCases(
  cases: readonly (Case & { readonly closedAtMs?: number | null })[],
  rowsOfCase: ReadonlyMap<string, number>,
  prices: Prices,
  sinceMs: number,
  nowMs: number,
  windowDays: number,
): { readonly cost: Cost; readonly trend: readonly number[]; readonly change: number } {
  const trend = Array.from({ length: windowDays }, () => 0);
  let rowsRepaired = 0;
  let minutesDiverged = 0;
  for (const each of cases) {
    const rows = rowsOfCase.get(each.id) ?? 0;
    const minutes = Math.max(0, Math.min(nowMs, each.closedAtMs ?? nowMs) - Math.max(sinceMs, each.openedAtMs)) / 60_000;
    rowsRepaired += rows;
    minutesDiverged += minutes;
    const day = Math.min(windowDays - 1, Math.max(0, Math.floor((each.openedAtMs - sinceMs) / dayMs)));
    trend[day] = (trend[day] ?? 0) + prices.incident + rows * prices.row + minutes * prices.minute;
  }
  const half = Math.floor(windowDays / 2);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return {
    cost: {
      incidents: cases.length,
      rowsRepaired,
      minutesDiverged: round(minutesDiverged),
      points: round(cases.length * prices.incident + rowsRepaired * prices.row + minutesDiverged * prices.minute),
    },
    trend: trend.map(round),
    change: round(sum(trend.slice(-half)) - sum(trend.slice(0, half))),
  };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
