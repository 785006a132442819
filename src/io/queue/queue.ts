import type { Bell } from '../../domain/bell.ts';

/** One ring. `id` keeps a ring that is repeated from being heard twice while the first still waits; what ran is forgotten. */
export interface Ring {
  readonly id: string;
  readonly subject: string;
}

/**
 * The doorbell: tells some worker, in some process, that there is something to look at. At least once while it is up, not at all
 * if it loses its data: our own tables, read by the sweeper, are the truth. Implemented on PostgreSQL and on Redis, tried by
 * `test/conformance/queue.test.ts`.
 */
export interface Queue {
  /** `postgres` or `redis`, for logs and metrics. */
  readonly backend: string;
  /** Resolves when the queue has taken the rings; throws Failure where it cannot. */
  ring(bell: Bell, rings: readonly Ring[], signal: AbortSignal): Promise<void>;
  /**
   * Has `work` called for each ring of this bell, at most `concurrency` at once in this process. `work` never throws for expected
   * outcomes; what it throws is reported to `failed` and not tried again by the queue: the sweeper rings again for what is due.
   */
  answer(
    bell: Bell,
    concurrency: number,
    work: (subject: string, signal: AbortSignal) => Promise<void>,
    failed: (subject: string, error: unknown) => void,
  ): Promise<void>;
  /** Rings that wait to be answered, for /metrics. */
  waiting(bell: Bell): Promise<number>;
  /** Takes no more rings, waits for work in progress, at most `graceMs`. */
  close(graceMs: number): Promise<void>;
}
