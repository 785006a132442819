import type { Operation } from '../domain/operation.ts';

/** Width of a slot: no operation waits longer than this beyond the watermark, and looking at a slot twice is avoided. */
export const factSlotUs = 20_000;

/**
 * Operations with `consistency.*` facts, until the watermark has passed them: then they come out in order of their ends, whatever the order in
 * which they went in. Whole slots only: so a slot is sorted once, however often the watermark moves.
 */
export interface FactQueue {
  add(operation: Operation): void;
  /** What ended in slots that are over at `upToUs`, in order of ends; what was added twice comes once. */
  take(upToUs: number): readonly Operation[];
  readonly size: number;
  /** All that ended before has come out, unless it came late. */
  readonly takenUs: number;
}

export function createFactQueue(): FactQueue {
  const slots = new Map<number, Operation[]>();
  let size = 0;
  let firstSlot = Number.POSITIVE_INFINITY;
  let takenUs = Number.NEGATIVE_INFINITY;
  let lastSlot = Number.NaN;
  let lastList: Operation[] = [];
  return {
    add(operation) {
      size += 1;
      const slot = Math.floor(operation.endUs / factSlotUs);
      if (slot === lastSlot) {
        lastList.push(operation);
        return;
      }
      let list = slots.get(slot);
      if (list === undefined) {
        list = [];
        slots.set(slot, list);
        if (slot < firstSlot) firstSlot = slot;
      }
      list.push(operation);
      lastSlot = slot;
      lastList = list;
    },
    take(upToUs) {
      const endSlot = Math.floor(upToUs / factSlotUs);
      takenUs = Math.max(takenUs, endSlot * factSlotUs);
      if (!(firstSlot < endSlot)) return [];
      const due = [...slots.keys()].filter((slot) => slot < endSlot).toSorted((a, b) => a - b);
      const ready: Operation[] = [];
      for (const slot of due) {
        const list = slots.get(slot) ?? [];
        slots.delete(slot);
        size -= list.length;
        list.sort(compareFacts);
        let previous: Operation | undefined;
        for (const operation of list) {
          if (previous !== undefined && isSame(previous, operation)) continue;
          previous = operation;
          ready.push(operation);
        }
      }
      lastSlot = Number.NaN;
      firstSlot = Number.POSITIVE_INFINITY;
      for (const slot of slots.keys()) if (slot < firstSlot) firstSlot = slot;
      return ready;
    },
    get size() {
      return size;
    },
    get takenUs() {
      return takenUs;
    },
  };
}

function isSame(a: Operation, b: Operation): boolean {
  return a.endUs === b.endUs && a.spanId === b.spanId && a.traceId === b.traceId && a.index === b.index;
}

/** The order in which facts are seen. */
export function compareFacts(a: Operation, b: Operation): number {
  return (
    a.endUs - b.endUs ||
    a.startUs - b.startUs ||
    (a.traceId < b.traceId ? -1 : a.traceId > b.traceId ? 1 : 0) ||
    (a.spanId < b.spanId ? -1 : a.spanId > b.spanId ? 1 : 0) ||
    a.index - b.index
  );
}
