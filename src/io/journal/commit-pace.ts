/**
 * When the next commit of a journal may begin. Whatever is in it, a commit costs the disk two writes that it has to wait for, and the CPU as
 * much as some 60 kB of records. So a record that comes a while after the last commit is committed at once, and those that come close upon
 * it are gathered for a few milliseconds.
 */
export class CommitPace {
  readonly #gatherMs: number;
  #lastMs = Number.NEGATIVE_INFINITY;
  #next: Promise<void> | undefined;

  /** `gatherMs`: from the beginning of one commit to that of the next, at least. */
  constructor(gatherMs: number) {
    this.#gatherMs = gatherMs;
  }

  /** Resolves when a record may be put: for all that wait at once, in their order. */
  turn(): Promise<void> {
    if (this.#next !== undefined) return this.#next;
    const waitMs = this.#lastMs + this.#gatherMs - performance.now();
    this.#next = new Promise((resolve) => {
      const begin = (): void => {
        this.#next = undefined;
        this.#lastMs = performance.now();
        resolve();
      };
      if (waitMs > 0) setTimeout(begin, waitMs);
      else queueMicrotask(begin);
    });
    return this.#next;
  }
}
