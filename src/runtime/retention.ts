/**
 * What the journal must still hold: everything that is not settled, and of what is settled the last stretch, because detectors remember
 * (an open saga, a message that nobody has consumed) and their memory is gone after a crash. The stretch is bounded in time and in bytes;
 * what is not settled is bounded by the journal alone, which refuses when it is full.
 *
 *   released ─── settled, within the window ─── taken, waiting for late spans ─── durable
 *            ^ release(upTo)                ^ settled
 */
export class Retention {
  readonly #windowMs: number;
  readonly #mostBytes: number;
  readonly #stretches: { readonly before: number; readonly atMs: number; readonly bytes: number }[] = [];
  #bytes = 0;
  #settled: number;

  constructor(options: { readonly first: number; readonly windowMs: number; readonly mostBytes: number }) {
    this.#settled = options.first;
    this.#windowMs = options.windowMs;
    this.#mostBytes = options.mostBytes;
  }

  /** Everything before `sequence` is settled at `nowMs`; `bytesBetween` says how large a stretch of it is. */
  settle(sequence: number, nowMs: number, bytesBetween: (from: number, to: number) => number): void {
    if (sequence <= this.#settled) return;
    const bytes = bytesBetween(this.#settled, sequence);
    this.#stretches.push({ before: sequence, atMs: nowMs, bytes });
    this.#bytes += bytes;
    this.#settled = sequence;
  }

  /** What may be released at `nowMs`: everything before it; undefined where nothing new may. Says the same until `released`. */
  due(nowMs: number): number | undefined {
    const count = this.#countDue(nowMs);
    return count === 0 ? undefined : this.#stretches[count - 1]?.before;
  }

  /** What `due` said is gone from the journal. */
  released(before: number): void {
    const count = this.#stretches.findIndex((stretch) => stretch.before > before);
    for (const { bytes } of this.#stretches.splice(0, count < 0 ? this.#stretches.length : count)) this.#bytes -= bytes;
  }

  #countDue(nowMs: number): number {
    let kept = this.#bytes;
    let count = 0;
    for (const { atMs, bytes } of this.#stretches) {
      if (atMs > nowMs - this.#windowMs && kept <= this.#mostBytes) break;
      kept -= bytes;
      count += 1;
    }
    return count;
  }
}
