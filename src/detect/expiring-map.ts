interface Kept<V> {
  value: V;
  lastUs: number;
}

/** Entries held at most, whatever the input: beyond it new keys are not taken (their hash order is arbitrary, so this samples). */
const entriesMax = 200_000;

/**
 * A map whose entries are forgotten when they have not been touched for `retainUs` of event time. Whether an entry is still there depends
 * on event times only, never on when {@link ExpiringMap.sweep} ran: a late sweep must not let a finding through that an early one hides.
 * A class, and empty until the first entry, because session detectors hold one for each of hundreds of thousands of objects.
 */
export class ExpiringMap<V> {
  readonly #retainUs: number;
  #entries: Map<string, Kept<V>> | undefined;
  #sweptUs = Number.NEGATIVE_INFINITY;

  constructor(retainUs: number) {
    this.#retainUs = retainUs;
  }

  /** The value if it was touched within `retainUs` before `atUs`; touches it. */
  get(key: string, atUs: number): V | undefined {
    const kept = this.#entries?.get(key);
    if (kept === undefined || atUs - kept.lastUs > this.#retainUs) return undefined;
    if (atUs > kept.lastUs) kept.lastUs = atUs;
    return kept.value;
  }

  set(key: string, value: V, atUs: number): void {
    this.#entries ??= new Map();
    if (this.#entries.size >= entriesMax && !this.#entries.has(key)) return;
    this.#entries.set(key, { value, lastUs: atUs });
  }

  delete(key: string): void {
    this.#entries?.delete(key);
  }

  /** Drops entries whose time is over at `atUs`, and calls `gone` with each. Does so now and then: calling it often costs nothing. */
  sweep(atUs: number, gone?: (value: V, key: string) => void): void {
    if (this.#entries === undefined || atUs - this.#sweptUs < Math.min(this.#retainUs / 4, 30_000_000)) return;
    this.#sweptUs = atUs;
    for (const [key, kept] of this.#entries) {
      if (atUs - kept.lastUs <= this.#retainUs) continue;
      this.#entries.delete(key);
      gone?.(kept.value, key);
    }
  }

  *values(): Generator<V> {
    for (const kept of this.#entries?.values() ?? []) yield kept.value;
  }

  get size(): number {
    return this.#entries?.size ?? 0;
  }
}

export function createExpiringMap<V>(retainUs: number): ExpiringMap<V> {
  return new ExpiringMap<V>(retainUs);
}
