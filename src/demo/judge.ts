import { divergingKinds, type Fault, unprovableKinds } from './fault-log.ts';
import type { FoundAnomaly, FoundDivergence } from './homeostat-api.ts';

/** What the service found, held against what was really done. Pure: the log in, the verdict out. */
export interface Judgement {
  /** Faults that had to be found. Late events are no faults of the data: they must not be found. */
  readonly injected: number;
  readonly found: number;
  /** Ids of faults that were not found. */
  readonly missed: readonly string[];
  /** One sentence for each confirmed or proven finding that nothing explains. */
  readonly false: readonly string[];
  readonly perKind: Readonly<Record<string, { readonly injected: number; readonly found: number }>>;
}

/** What the shop's code really permits: a structural finding of these is right, whatever was injected. */
const trueOfTheCode: readonly { readonly kind: string; readonly service: string }[] = [
  // Gift cards are recorded and then announced, with nothing in between.
  { kind: 'dual-write', service: 'orders' },
];

export function judge(options: {
  readonly run: string;
  readonly runStartedMs: number;
  /** This run's and those of earlier runs on the same data, whose damage may only be found now. */
  readonly faults: readonly Fault[];
  readonly divergences: readonly FoundDivergence[];
  readonly anomalies: readonly FoundAnomaly[];
}): Judgement {
  const { run, runStartedMs, faults, divergences, anomalies } = options;
  const confirmed = divergences.filter((divergence) => divergence.confirmedAtMs !== null);
  const mine = faults.filter((fault) => fault.run === run && fault.kind !== 'late-change');

  const isConfirmed = (fault: Fault): boolean =>
    fault.keys.every((key) =>
      confirmed.some(
        (divergence) =>
          divergence.collection === fault.collection &&
          keyOf(divergence) === key &&
          (divergence.confirmedAtMs ?? 0) >= Date.parse(fault.at),
      ),
    );
  const isProven = (fault: Fault): boolean =>
    anomalies.some(
      (anomaly) =>
        (anomaly.grade === 'proven' || unprovableKinds.includes(fault.kind)) && anomaly.kind === fault.kind && concerns(anomaly, fault),
    );
  const isFound = (fault: Fault): boolean =>
    (!divergingKinds.includes(fault.kind) || isConfirmed(fault)) && (fault.kind === 'dropped-change' || isProven(fault));

  const perKind: Record<string, { injected: number; found: number }> = {};
  const missed: string[] = [];
  for (const fault of mine) {
    const counts = (perKind[fault.kind] ??= { injected: 0, found: 0 });
    counts.injected += 1;
    if (isFound(fault)) counts.found += 1;
    else missed.push(fault.id);
  }

  const unexplained = [
    ...confirmed
      .filter((divergence) => (divergence.confirmedAtMs ?? 0) >= runStartedMs)
      .filter(
        (divergence) =>
          !faults.some(
            (fault) =>
              divergingKinds.includes(fault.kind) && fault.collection === divergence.collection && fault.keys.includes(keyOf(divergence)),
          ),
      )
      .map((divergence) => `divergence ${divergence.id}: ${divergence.collection}/${keyOf(divergence)} was reported as confirmed`),
    ...anomalies
      .filter((anomaly) => anomaly.grade !== 'risk' && anomaly.lastSeenUs / 1000 >= runStartedMs)
      .filter(
        (anomaly) =>
          !faults.some((fault) => concerns(anomaly, fault)) &&
          !(
            anomaly.grade === 'structural' &&
            trueOfTheCode.some((truth) => truth.kind === anomaly.kind && truth.service === anomaly.service)
          ),
      )
      .map((anomaly) => `${anomaly.kind} (${anomaly.grade}): ${anomaly.title}: ${anomaly.explanation}`),
  ];
  return { injected: mine.length, found: mine.length - missed.length, missed, false: unexplained, perKind };
}

/** A finding concerns a fault where its witness lies in a trace of the fault, or names the very object. */
function concerns(anomaly: FoundAnomaly, fault: Fault): boolean {
  if (anomaly.spans.some((span) => fault.traces.includes(span.traceId))) return true;
  return (
    anomaly.objectKey !== undefined &&
    anomaly.objectKey !== null &&
    (anomaly.collection === undefined || anomaly.collection === null || anomaly.collection === fault.collection) &&
    fault.keys.includes(anomaly.objectKey)
  );
}

function keyOf(divergence: FoundDivergence): string {
  return Object.values(divergence.key).join('/');
}
