/** Divergences and anomalies that share a cause: one line in the queue, however many rows. */
export interface Case {
  readonly id: string;
  readonly domain: string;
  readonly collection: string;
  /** What its members share: replicas that are wrong, kind, columns. Idempotence key among open cases. */
  readonly fingerprint: string;
  /** Verdict-first sentence. */
  readonly title: string;
  readonly rows: number;
  readonly state: 'open' | 'proposed' | 'waiting' | 'repairing' | 'closed';
  /** The trace finding that explains it, by anomaly fingerprint, where one was found. */
  readonly cause: string | null;
  /** The way on which the write got lost that its rows are traced back to, where spans show that write. */
  readonly origin: CaseOrigin | null;
  /** How often it has come back after a verified repair. */
  readonly returns: number;
  readonly openedAtMs: number;
  readonly updatedAtMs: number;
}

export interface CaseOrigin {
  /** Which wrote. */
  readonly service: string;
  /** Replica that has the write; null where the span does not say. */
  readonly from: string | null;
  /** Replicas that went without. */
  readonly without: readonly string[];
  readonly traceId: string;
}
