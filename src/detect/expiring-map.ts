/**
 * A map whose entries are forgotten when they have not been touched for `retainUs` of event time. Whether an entry is still there depends
 * on event times only, never on when {@link ExpiringMap.sweep} ran: a late sweep must not let a finding through that an early one hides.
 */
export interface ExpiringMap<V> {
  /** The value if it was touched within `retainUs` before `atUs`; touches it. */
  get(key: string, atUs: number): V | undefined;
  set(key: string, value: V, atUs: number): void;
  delete(key: string): void;
  /** Calls `gone` with each entry whose time is over at `atUs` and drops it. */
  sweep(atUs: number, gone?: (value: V, key: string) => void): void;
  values(): IterableIterator<V>;
  readonly size: number;
}

interface Kept<V> {
  value: V;
  lastUs: number;
}

/** Entries held at most, whatever the input: beyond it new keys are not taken (their hash order is arbitrary, so this samples). */
const entriesMax = 400_000;

export function createExpiringMap<V>(retainUs: number): ExpiringMap<V> {
  const entries = new Map<string, Kept<V>>();
  let sweptUs = Number.NEGATIVE_INFINITY;
  const everyUs = Math.max(1, Math.min(retainUs / 4, 30_000_000));
  return {
    get(key, atUs) {
      const kept = entries.get(key);
      if (kept === undefined || atUs - kept.lastUs > retainUs) return undefined;
      if (atUs > kept.lastUs) kept.lastUs = atUs;
      return kept.value;
    },
    set(key, value, atUs) {
      if (entries.size >= entriesMax && !entries.has(key)) return;
      entries.set(key, { value, lastUs: atUs });
    },
    delete(key) {
      entries.delete(key);
    },
    sweep(atUs, gone) {
      if (atUs - sweptUs < everyUs) return;
      sweptUs = atUs;
      for (const [key, kept] of entries) {
        if (atUs - kept.lastUs <= retainUs) continue;
        entries.delete(key);
        gone?.(kept.value, key);
      }
    },
    *values() {
      for (const kept of entries.values()) yield kept.value;
    },
    get size() {
      return entries.size;
    },
  };
}
