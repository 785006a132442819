/**
 * The ids of a batch with each trace's once, and each parent that is in the batch by its row: as `src/ingest/compact-ids.ts` does it.
 */
import { ids, parentOf, parentRows, rowSlots, traceOf, traceRows } from './memory';

const noParent: u32 = 0xffff;
const parentElsewhere: u32 = 0xfffe;

export namespace idCounts {
  export let traces: u32 = 0;
  /** Parents that are in no row. */
  export let parents: u32 = 0;
}

/** Empties slots of open addressing for so many rows; one less than how many there are, at least twice as many as rows. */
export function emptySlots(rows: u32): u32 {
  let size: u32 = 64;
  while (size < rows * 2) size *= 2;
  memory.fill(rowSlots, 0, size * 4);
  return size - 1;
}

export function mixed(a: u32, b: u32): u32 {
  const hash = ((a * 0x85ebca6b) ^ b) * 0x9e3779b1;
  return hash ^ (hash >> 15);
}

/** Finds the trace of each row, numbered as they come, and its parent's row. */
export function lookAtIds(rows: u32): void {
  lookAtTraces(rows);
  lookAtParents(rows);
}

function lookAtTraces(rows: u32): void {
  const mask = emptySlots(rows);
  let traces: u32 = 0;
  let trace: u32 = 0;
  for (let row: u32 = 0; row < rows; row += 1) {
    const own = ids + row * 32;
    // Spans of a trace often come together.
    if (row == 0 || !isTraceOf(trace, own)) {
      let slot = mixed(load<u32>(own, 4), load<u32>(own, 12)) & mask;
      let found = load<u32>(rowSlots + slot * 4);
      while (found != 0 && !isTraceOf(found - 1, own)) {
        slot = (slot + 1) & mask;
        found = load<u32>(rowSlots + slot * 4);
      }
      if (found == 0) {
        store<u32>(traceRows + traces * 4, row);
        traces += 1;
        store<u32>(rowSlots + slot * 4, traces);
        found = traces;
      }
      trace = found - 1;
    }
    store<u16>(traceOf + row * 2, trace);
  }
  idCounts.traces = traces;
}

function isTraceOf(trace: u32, own: u32): bool {
  const first = ids + load<u32>(traceRows + trace * 4) * 32;
  return load<u64>(first) == load<u64>(own) && load<u64>(first, 8) == load<u64>(own, 8);
}

/** Of two rows with one span id the first tells it. */
function lookAtParents(rows: u32): void {
  const mask = emptySlots(rows);
  for (let row: u32 = 0; row < rows; row += 1) {
    const own = ids + row * 32;
    let slot = mixed(load<u32>(own, 16), load<u32>(own, 20)) & mask;
    while (load<u32>(rowSlots + slot * 4) != 0) slot = (slot + 1) & mask;
    store<u32>(rowSlots + slot * 4, row + 1);
  }
  let elsewhere: u32 = 0;
  for (let row: u32 = 0; row < rows; row += 1) {
    const own = ids + row * 32;
    const parentId = load<u64>(own, 24);
    let parent = noParent;
    if (parentId != 0) {
      let slot = mixed(load<u32>(own, 24), load<u32>(own, 28)) & mask;
      let found = load<u32>(rowSlots + slot * 4);
      while (found != 0 && load<u64>(ids + (found - 1) * 32, 16) != parentId) {
        slot = (slot + 1) & mask;
        found = load<u32>(rowSlots + slot * 4);
      }
      if (found != 0) parent = found - 1;
      else {
        parent = parentElsewhere;
        store<u32>(parentRows + elsewhere * 4, row);
        elsewhere += 1;
      }
    }
    store<u16>(parentOf + row * 2, parent);
  }
  idCounts.parents = elsewhere;
}

/** Ids of traces, spans, and parents elsewhere to `to`; where they end. */
export function writeIds(to: u32, rows: u32): u32 {
  let at = to;
  for (let trace: u32 = 0; trace < idCounts.traces; trace += 1) {
    memory.copy(at, ids + load<u32>(traceRows + trace * 4) * 32, 16);
    at += 16;
  }
  for (let row: u32 = 0; row < rows; row += 1) {
    store<u64>(at, load<u64>(ids + row * 32, 16));
    at += 8;
  }
  for (let parent: u32 = 0; parent < idCounts.parents; parent += 1) {
    store<u64>(at, load<u64>(ids + load<u32>(parentRows + parent * 4) * 32, 24));
    at += 8;
  }
  return at;
}
