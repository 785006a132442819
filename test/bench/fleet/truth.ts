import type { Grade } from '../../../src/domain/anomaly.ts';

/** One fault as its injector wrote it down, apart from the spans. */
export interface Truth {
  readonly kind: string;
  readonly grade: Grade;
  /** Isolation class, where the kind has one. */
  readonly model?: string;
  /** What one finding is about: a place in the code for structural kinds, an object or a message for the rest. */
  readonly about: string;
  /** The traces that show it; grows for structural kinds. */
  readonly traces: Set<string>;
  /** Other kinds that the same spans truthfully show too: neither asked for nor counted against. */
  readonly also: readonly string[];
}

export interface TruthLog {
  readonly faults: Map<string, Truth>;
  /** Trace -> kinds that are true of it. */
  readonly allowed: Map<string, Set<string>>;
}

export function createTruthLog(): TruthLog {
  return { faults: new Map(), allowed: new Map() };
}

export function record(
  log: TruthLog,
  fault: { kind: string; grade: Grade; model?: string; about: string; traces: readonly string[]; also?: readonly string[] },
): void {
  const id = `${fault.kind}/${fault.grade}/${fault.about}`;
  const known = log.faults.get(id);
  if (known === undefined) {
    const { kind, grade, about } = fault;
    const model = fault.model === undefined ? {} : { model: fault.model };
    log.faults.set(id, { kind, grade, ...model, about, traces: new Set(fault.traces), also: fault.also ?? [] });
  } else for (const trace of fault.traces) known.traces.add(trace);
  for (const trace of fault.traces) {
    const kinds = log.allowed.get(trace) ?? new Set<string>();
    for (const kind of [fault.kind, ...(fault.also ?? [])]) kinds.add(kind);
    log.allowed.set(trace, kinds);
  }
}
