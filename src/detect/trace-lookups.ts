/**
 * Who called whom in a trace, looked up instead of looked for: a fan-out has a hundred thousand units, each of which asks. Made when first
 * asked for, and gone with the trace.
 */
import type { Operation } from '../domain/operation.ts';
import type { TraceView, Unit } from './trace-view.ts';

interface Lookups {
  readonly callees: ReadonlyMap<Operation, Unit>;
  readonly children: ReadonlyMap<Unit, readonly Unit[]>;
}

const lookups = new WeakMap<TraceView, Lookups>();

function lookupsOf(trace: TraceView): Lookups {
  let known = lookups.get(trace);
  if (known === undefined) {
    const callees = new Map<Operation, Unit>();
    const children = new Map<Unit, Unit[]>();
    for (const unit of trace.units) {
      if (unit.calledBy !== undefined && !callees.has(unit.calledBy)) callees.set(unit.calledBy, unit);
      if (unit.parent === undefined) continue;
      const siblings = children.get(unit.parent);
      if (siblings === undefined) children.set(unit.parent, [unit]);
      else siblings.push(unit);
    }
    known = { callees, children };
    lookups.set(trace, known);
  }
  return known;
}

/** The first unit that an operation led to. */
export function calleeOf(trace: TraceView, call: Operation): Unit | undefined {
  return lookupsOf(trace).callees.get(call);
}

/** The unit and all that it led to without a message in between, in the trace's order. */
export function unitsWithin(trace: TraceView, unit: Unit): readonly Unit[] {
  const { children } = lookupsOf(trace);
  const found = new Set([unit]);
  for (const one of found)
    for (const child of children.get(one) ?? []) if (child.entry.kind !== 'consume' && child.calledBy?.kind !== 'publish') found.add(child);
  return [...found].toSorted((a, b) => a.number - b.number);
}
