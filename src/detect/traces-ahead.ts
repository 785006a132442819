import type { TraceView } from './trace-view.ts';

/** As many as a processor can have look-ups on their way to memory, some times over. */
export const tracesAtOnce = 16;

/**
 * The next traces that detectors will see, in their order. Each is looked up in large tables, and each look-up waits for memory: whoever
 * looks at the places of some traces at a time waits once for all of them.
 */
export class TracesAhead {
  #views: TraceView[] = [];
  readonly #closesUs = new Float64Array(tracesAtOnce);
  #at = 0;

  get isFull(): boolean {
    return this.#views.length === tracesAtOnce;
  }

  get isEmpty(): boolean {
    return this.#views.length === 0;
  }

  /** All that were added since it was empty. */
  get views(): readonly TraceView[] {
    return this.#views;
  }

  /** When the next one closes; Infinity where none is left. */
  get nextUs(): number {
    return this.isEmpty ? Number.POSITIVE_INFINITY : (this.#closesUs[this.#at] as number);
  }

  add(view: TraceView, closesUs: number): void {
    this.#closesUs[this.#views.length] = closesUs;
    this.#views.push(view);
  }

  take(): TraceView | undefined {
    const view = this.#views[this.#at];
    if (view === undefined) return undefined;
    this.#at += 1;
    if (this.#at === this.#views.length) {
      // A list of its own each time: one that is old and points to what is young costs the collector a note at every store.
      this.#views = [];
      this.#at = 0;
    }
    return view;
  }
}
