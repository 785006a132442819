import type { Operation } from '../domain/operation.ts';
import { type TraceView, viewTrace } from './trace-view.ts';

/**
 * Holds the operations of open traces and says when a stretch of one is over. The rule reads event times only, so how the input was cut
 * into batches, or when the watermark moved, changes nothing:
 *
 *   in order of ends, a trace is cut where the next end is more than `idleUs` later and no parent is missing so far (a parent ends, and so
 *   arrives, after its children), or where it is more than `patienceUs` later whatever is missing.
 *
 * A cut stretch closes, in event time, that long after its last end.
 */
export interface ClosedTrace {
  readonly view: TraceView;
  readonly closesUs: number;
}

interface OpenTrace {
  readonly traceId: string;
  operations: Operation[];
  minEndUs: number;
  maxEndUs: number;
  /** When to look at it next, or Infinity: it waits for its next operation. */
  dueUs: number;
}

/** A trace that outgrows this is cut wherever it is: a broken context that puts everything into one trace must not fill memory. */
const traceOperationsMax = 200_000;
/** Width of the timetable's slots: every look at a slot that is not over costs its length, and there is one with every batch of spans. */
export const traceSlotUs = 50_000;

export interface TraceBuffer {
  add(operation: Operation): void;
  /** Stretches that are over at `upToUs` or a little before: in order of closing, with the time up to which none is missing. */
  close(upToUs: number): { readonly closed: readonly ClosedTrace[]; readonly upToUs: number };
  /** Drops the traces that `keep` refuses. */
  narrow(keep: (traceId: string) => boolean): void;
  /** What waits of a trace, as if it were over now. */
  lookAt(traceId: string): TraceView | undefined;
  readonly traces: number;
  readonly buffered: number;
}

export function createTraceBuffer(idleUs: number, patienceUs: number): TraceBuffer {
  const open = new Map<string, OpenTrace>();
  const timetable = new Map<number, OpenTrace[]>();
  let firstSlot = Number.POSITIVE_INFINITY;
  let buffered = 0;
  let last: OpenTrace | undefined;
  const oversized: ClosedTrace[] = [];

  const schedule = (trace: OpenTrace, dueUs: number): void => {
    trace.dueUs = dueUs;
    const slot = Math.floor(dueUs / traceSlotUs);
    const list = timetable.get(slot);
    if (list === undefined) timetable.set(slot, [trace]);
    else list.push(trace);
    if (slot < firstSlot) firstSlot = slot;
  };

  const closeOne = (trace: OpenTrace, watermarkUs: number, closed: ClosedTrace[]): void => {
    if (trace.maxEndUs - trace.minEndUs <= idleUs) {
      // No cut can lie inside: the whole of it closes or waits.
      const view = viewTrace(trace.traceId, trace.operations);
      const closesUs = trace.maxEndUs + (view.complete ? idleUs : patienceUs);
      if (closesUs > watermarkUs) return schedule(trace, closesUs);
      closed.push({ view, closesUs });
      buffered -= trace.operations.length;
      open.delete(trace.traceId);
      if (last === trace) last = undefined;
      return;
    }
    const byEnd = trace.operations.toSorted((a, b) => a.endUs - b.endUs);
    const spans = new Set<string>();
    const missing = new Set<string>();
    let from = 0;
    for (let i = 0; i < byEnd.length; i += 1) {
      const operation = byEnd[i] as Operation;
      spans.add(operation.spanId);
      missing.delete(operation.spanId);
      if (operation.parentSpanId !== '' && !spans.has(operation.parentSpanId)) missing.add(operation.parentSpanId);
      const waitUs = missing.size === 0 ? idleUs : patienceUs;
      const next = byEnd[i + 1];
      const closesUs = operation.endUs + waitUs;
      if (next !== undefined && next.endUs <= closesUs) continue;
      if (closesUs > watermarkUs) {
        trace.operations = byEnd.slice(from);
        trace.minEndUs = trace.operations[0]?.endUs ?? 0;
        buffered -= from;
        return schedule(trace, closesUs);
      }
      closed.push({ view: viewTrace(trace.traceId, byEnd.slice(from, i + 1)), closesUs });
      from = i + 1;
      // Stretches are judged apart: a streaming run has let the earlier one go by now, and must come to the same cuts.
      spans.clear();
      missing.clear();
    }
    buffered -= byEnd.length;
    open.delete(trace.traceId);
    if (last === trace) last = undefined;
  };

  return {
    add(operation) {
      let trace = last;
      if (trace === undefined || trace.traceId !== operation.traceId) {
        trace = open.get(operation.traceId);
        if (trace === undefined) {
          trace = {
            traceId: operation.traceId,
            operations: [],
            minEndUs: operation.endUs,
            maxEndUs: operation.endUs,
            dueUs: Number.POSITIVE_INFINITY,
          };
          open.set(operation.traceId, trace);
        }
        last = trace;
      }
      trace.operations.push(operation);
      buffered += 1;
      if (operation.endUs < trace.minEndUs) trace.minEndUs = operation.endUs;
      if (operation.endUs > trace.maxEndUs) trace.maxEndUs = operation.endUs;
      const dueUs = operation.endUs + idleUs;
      // One appointment at or before the earliest possible close is enough; it is renewed when it finds that more has come.
      if (dueUs < trace.dueUs) schedule(trace, dueUs);
      if (trace.operations.length >= traceOperationsMax) {
        oversized.push({ view: viewTrace(trace.traceId, trace.operations), closesUs: trace.maxEndUs + idleUs });
        buffered -= trace.operations.length;
        open.delete(trace.traceId);
        last = undefined;
      }
    },
    close(upToUs) {
      const closed: ClosedTrace[] = oversized.splice(0);
      // Whole slots only, so that none is looked at twice; time has come as far as they have.
      const endSlot = Math.floor(upToUs / traceSlotUs);
      const watermarkUs = endSlot * traceSlotUs;
      if (firstSlot < endSlot) {
        // At the end of input time is infinite; slots are then visited in order without walking the gaps between them.
        const due: number[] = [];
        for (const slot of timetable.keys()) if (slot < endSlot) due.push(slot);
        due.sort((a, b) => a - b);
        for (const slot of due) {
          const list = timetable.get(slot);
          if (list === undefined) continue;
          timetable.delete(slot);
          for (const trace of list) {
            if (open.get(trace.traceId) === trace && Math.floor(trace.dueUs / traceSlotUs) === slot) closeOne(trace, watermarkUs, closed);
          }
        }
        firstSlot = Number.POSITIVE_INFINITY;
        for (const slot of timetable.keys()) if (slot < firstSlot) firstSlot = slot;
      }
      return { closed: closed.sort(byClosing), upToUs: watermarkUs };
    },
    narrow(keep) {
      for (const [traceId, trace] of open) {
        if (keep(traceId)) continue;
        buffered -= trace.operations.length;
        open.delete(traceId);
      }
      last = undefined;
    },
    lookAt(traceId) {
      const trace = open.get(traceId);
      return trace === undefined ? undefined : viewTrace(traceId, trace.operations);
    },
    get traces() {
      return open.size;
    },
    get buffered() {
      return buffered;
    },
  };
}

function byClosing(a: ClosedTrace, b: ClosedTrace): number {
  return a.closesUs - b.closesUs || (a.view.traceId < b.view.traceId ? -1 : a.view.traceId > b.view.traceId ? 1 : 0);
}
