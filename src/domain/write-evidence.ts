import type { SpanRef } from './anomaly.ts';
import type { Key } from './row.ts';

/** One write that traces showed for a key of a collection: what ties a divergence to the code that caused it. */
export interface WriteEvidence {
  readonly key: Key;
  /** `publish-failed`: the change event of a write never left. */
  readonly kind: 'write' | 'delete' | 'publish-failed';
  /** The replica that took the write; null where the span does not say. */
  readonly replica: string | null;
  readonly version?: string;
  /** What the write was derived from. */
  readonly versionBase?: string;
  /** Hybrid logical clock, as text that sorts. */
  readonly hlc?: string;
  /** Digest of the written row, where the service gives it (`consistency.value.digest`). */
  readonly valueDigest?: string;
  readonly outcome: 'committed' | 'aborted' | 'unknown';
  readonly atUs: number;
  readonly service: string;
  readonly span: SpanRef;
}
