import type { SpanRef } from './anomaly.ts';

/**
 * One time that a finding was seen, at a write that was at stake: which trace wrote which version of which object, and when. A finding shows
 * a few traces as examples; a row that differs is looked up here, so that it names its own.
 */
export interface Sighting {
  /** Of the anomaly. */
  readonly fingerprint: string;
  /** How often it had been seen with this one, and which of the writes at stake it is. */
  readonly nth: number;
  readonly write: number;
  readonly collection: string;
  /** '' where the span does not show it. */
  readonly objectKey: string;
  /** '' where the span does not say. */
  readonly version: string;
  readonly service: string;
  /** The span of the write. */
  readonly span: SpanRef;
  /** End of the write, microseconds since 1970. */
  readonly atUs: number;
}
