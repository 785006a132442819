/** How sure a finding is: shown by the data, permitted by the code path, or worth a look. */
export type Grade = 'proven' | 'structural' | 'risk';

export interface SpanRef {
  readonly traceId: string;
  readonly spanId: string;
}

/** A finding from operations. One per distinct place (structural) or object (proven); repeats raise `count`. */
export interface Anomaly {
  /** Detector id: `dual-write`, `lost-update` ... */
  readonly kind: string;
  /** Isolation class (`G1c` ...) where the kind has one. */
  readonly model?: string;
  readonly grade: Grade;
  /** Idempotence key: the same finding from a replay has the same fingerprint. */
  readonly fingerprint: string;
  readonly title: string;
  readonly explanation: string;
  readonly fix: string;
  readonly domain?: string;
  readonly collection?: string;
  readonly objectKey?: string;
  readonly service?: string;
  readonly count: number;
  /** Of a structural finding: how many of those times the other half was really lost. */
  readonly realised?: number;
  /** Times an hour between first and last seen; absent where that is less than a minute, which would be a guess. */
  readonly perHour?: number;
  /** Whether every trace that it was computed from was complete. */
  readonly complete: boolean;
  /** Share of keys looked at, 1 where nothing was sampled. */
  readonly sampledShare: number;
  readonly firstSeenUs: number;
  readonly lastSeenUs: number;
  /** The minimal witness; example traces for a repeated structural finding. */
  readonly spans: readonly SpanRef[];
  /** What the sentences were computed from, for the page and for pricing; no row values. */
  readonly facts: Readonly<Record<string, string | number | boolean>>;
}
