import type { Operation } from '../domain/operation.ts';
import type { OrderedTrace } from '../domain/ordered-trace.ts';
import { namedSessionOf } from './session.ts';
import { knownOf } from './shape-knowledge.ts';
import { noOperations, type TraceView, type Unit, ViewedTrace, viewOrdered } from './trace-view.ts';

/** Places in the trace of what the lists of a unit hold. */
interface UnitPlan {
  readonly service: string;
  readonly entry: number;
  /** The unit of {@link Unit.parent}, or -1. */
  readonly parent: number;
  /** The place of {@link Unit.calledBy}, or -1. */
  readonly calledBy: number;
  readonly complete: boolean;
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  readonly transactions: readonly number[];
  readonly publishes: readonly number[];
  readonly calls: readonly number[];
  readonly commits: readonly number[];
  readonly consumes: readonly number[];
  readonly sagaSteps: readonly number[];
}

/** How traces of one shape are cut into units: the same for all of them. */
export interface ViewPlan {
  readonly units: readonly UnitPlan[];
  readonly unitOf: readonly number[];
  readonly hasWrites: boolean;
  readonly hasMessages: boolean;
  readonly hasCalls: boolean;
  readonly hasFailures: boolean;
  readonly hasFacts: boolean;
}

/** As {@link viewOrdered}, which is asked once a shape. */
export function viewAlike(trace: OrderedTrace): TraceView {
  const known = knownOf(trace.shape);
  if (known === undefined) return viewOrdered(trace);
  if (known.plan === undefined) {
    const view = viewOrdered(trace);
    known.plan = planOf(view);
    return view;
  }
  return viewBy(known.plan, trace);
}

function planOf(view: TraceView): ViewPlan {
  const { operations, units, hasWrites, hasMessages, hasCalls, hasFailures, hasFacts } = view;
  const places = new Map(operations.map((operation, place) => [operation, place]));
  const placesOf = (list: readonly Operation[]): readonly number[] => list.map((operation) => places.get(operation) as number);
  return {
    units: units.map((unit) => ({
      service: unit.service,
      entry: places.get(unit.entry) as number,
      parent: unit.parent?.number ?? -1,
      calledBy: unit.calledBy === undefined ? -1 : (places.get(unit.calledBy) as number),
      complete: unit.complete,
      reads: placesOf(unit.reads),
      writes: placesOf(unit.writes),
      transactions: placesOf(unit.transactions),
      publishes: placesOf(unit.publishes),
      calls: placesOf(unit.calls),
      commits: placesOf(unit.commits),
      consumes: placesOf(unit.consumes),
      sagaSteps: placesOf(unit.sagaSteps),
    })),
    unitOf: view.unitOf.map(({ number }) => number),
    hasWrites,
    hasMessages,
    hasCalls,
    hasFailures,
    hasFacts,
  };
}

function viewBy(plan: ViewPlan, trace: OrderedTrace): TraceView {
  const { operations } = trace;
  // In order of start.
  const { startUs } = operations[0] as Operation;
  let endUs = 0;
  let hasSessions = false;
  for (let i = 0; i < operations.length; i += 1) {
    const operation = operations[i] as Operation;
    if (operation.endUs > endUs) endUs = operation.endUs;
    if (namedSessionOf(operation) !== '') hasSessions = true;
  }
  const { units: planned, hasWrites, hasMessages, hasCalls, hasFailures, hasFacts } = plan;
  const size = planned.length;
  // oxlint-disable-next-line unicorn/no-new-array -- what is pushed to takes room for seventeen, and Array.from is slow
  const units = new Array<Unit>(size);
  for (let number = 0; number < size; number += 1) {
    const unit = planned[number] as UnitPlan;
    units[number] = {
      number,
      service: unit.service,
      entry: operations[unit.entry] as Operation,
      parent: undefined,
      calledBy: unit.calledBy < 0 ? undefined : operations[unit.calledBy],
      complete: unit.complete,
      reads: picked(operations, unit.reads),
      writes: picked(operations, unit.writes),
      transactions: picked(operations, unit.transactions),
      publishes: picked(operations, unit.publishes),
      calls: picked(operations, unit.calls),
      commits: picked(operations, unit.commits),
      consumes: picked(operations, unit.consumes),
      sagaSteps: picked(operations, unit.sagaSteps),
      outcomes: undefined,
    };
  }
  // A unit may come before the one that it works for, where clocks differ.
  for (let number = 0; number < size; number += 1) {
    const { parent } = planned[number] as UnitPlan;
    if (parent >= 0) (units[number] as { parent: Unit | undefined }).parent = units[parent];
  }
  return new ViewedTrace(trace, units, plan.unitOf, startUs, endUs, hasWrites, hasMessages, hasCalls, hasFailures, hasFacts, hasSessions);
}

function picked(operations: readonly Operation[], places: readonly number[]): readonly Operation[] {
  switch (places.length) {
    case 0:
      return noOperations;
    case 1:
      return [operations[places[0] as number] as Operation];
    case 2:
      return [operations[places[0] as number] as Operation, operations[places[1] as number] as Operation];
    default: {
      // oxlint-disable-next-line unicorn/no-new-array -- as above
      const list = new Array<Operation>(places.length);
      for (let i = 0; i < places.length; i += 1) list[i] = operations[places[i] as number] as Operation;
      return list;
    }
  }
}
