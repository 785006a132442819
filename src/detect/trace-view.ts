import type { Operation } from '../domain/operation.ts';
import type { OrderedTrace, TraceShape } from '../domain/ordered-trace.ts';
import { bareName } from './object-place.ts';
import { namedSessionOf } from './session.ts';
import type { WriteOutcome } from './write-outcome.ts';

/**
 * One trace as detectors see it: operations without duplicates in order of start, cut into units. A unit is a local trace: what one
 * service does for one request or message, in one process and so under one possible transaction. Built in O(n log n) of the trace's size.
 *
 * Parents may start after their children (their clocks differ) and may be missing (lost or not sampled): children of one missing
 * parent stay together, because whatever the parent was, they shared it.
 */
export interface TraceView {
  readonly traceId: string;
  readonly operations: readonly Operation[];
  /** No parent is missing. */
  readonly complete: boolean;
  readonly units: readonly Unit[];
  /** Unit of each operation, by position. */
  readonly unitOf: readonly Unit[];
  readonly startUs: number;
  readonly endUs: number;
  /** Position of the parent of each operation, -1 where it has none here. */
  readonly parentOf: readonly number[];
  /** Operations whose parent is not here. */
  readonly missingParents: number;
  /** Dropped because their (span, index) was there already. */
  readonly duplicates: number;
  readonly hasWrites: boolean;
  readonly hasMessages: boolean;
  readonly hasCalls: boolean;
  readonly hasFailures: boolean;
  /** An operation with `consistency.*`, or with a session that has a name. */
  readonly hasFacts: boolean;
  readonly hasSessions: boolean;
  /** What it has in common with traces that are alike, where that is known. */
  readonly shape: TraceShape | undefined;
}

export interface Unit {
  readonly number: number;
  readonly service: string;
  /** The request, message or root that the unit works for; its first operation where the entry is missing. */
  readonly entry: Operation;
  /** The unit in which the entry's parent lies, where it is here. */
  readonly parent: Unit | undefined;
  /** The entry's parent span, if it is here. */
  readonly calledBy: Operation | undefined;
  readonly complete: boolean;
  /** Stores only, in order of start. */
  readonly reads: readonly Operation[];
  readonly writes: readonly Operation[];
  readonly transactions: readonly Operation[];
  readonly publishes: readonly Operation[];
  readonly calls: readonly Operation[];
  /** Hibernate and the like show a transaction's end as an internal span around its flush. */
  readonly commits: readonly Operation[];
  /** Messages that the unit works for: its entry, or `receive` spans without children beneath it. */
  readonly consumes: readonly Operation[];
  readonly sagaSteps: readonly Operation[];
  /** What became of its writes, once someone has asked. */
  outcomes: readonly WriteOutcome[] | undefined;
}

interface MutableUnit extends Unit {
  parent: Unit | undefined;
  complete: boolean;
  entry: Operation;
  reads: Operation[];
  writes: Operation[];
  transactions: Operation[];
  publishes: Operation[];
  calls: Operation[];
  commits: Operation[];
  consumes: Operation[];
  sagaSteps: Operation[];
}

/**
 * What the lists hold where a unit has none of a kind; most units have most lists empty, so they share one array, which nobody adds to. Not
 * frozen: loops over lists that may be frozen are calls out of compiled code.
 */
const none: Operation[] = [];
export const noOperations: readonly Operation[] = none;

/** What the trace began with: by its parent, not by its place, for where clocks differ what was called may seem to have begun first. */
export function rootOf(trace: TraceView): Operation | undefined {
  return (trace.units.find((unit) => unit.entry.parentSpanId === '') ?? trace.units[0])?.entry;
}

export function byStart(a: Operation, b: Operation): number {
  return a.startUs - b.startUs || a.endUs - b.endUs || (a.spanId < b.spanId ? -1 : a.spanId > b.spanId ? 1 : a.index - b.index);
}

/** Up to here sorting by insertion and looking through a list beat sorting by merging and a map: most traces are no longer. */
const shortTrace = 16;

function sortedByStart(unordered: readonly Operation[]): readonly Operation[] {
  if (unordered.length > shortTrace) return unordered.toSorted(byStart);
  const sorted = [...unordered];
  for (let i = 1; i < sorted.length; i += 1) {
    const operation = sorted[i] as Operation;
    let at = i;
    while (at > 0 && byStart(sorted[at - 1] as Operation, operation) > 0) {
      sorted[at] = sorted[at - 1] as Operation;
      at -= 1;
    }
    sorted[at] = operation;
  }
  return sorted;
}

/** Positions of a trace's spans by their ids. */
class Places {
  readonly #positionOf: Map<string, number> | undefined;

  constructor(size: number) {
    this.#positionOf = size > shortTrace ? new Map() : undefined;
  }

  /** Where the span itself stands; as long as it has not come, its first event or log record. */
  find(operations: readonly Operation[], spanId: string): number {
    if (this.#positionOf !== undefined) return this.#positionOf.get(spanId) ?? -1;
    let first = -1;
    for (let i = 0; i < operations.length; i += 1) {
      if (operations[i]?.spanId !== spanId) continue;
      if (operations[i]?.index === 0) return i;
      if (first < 0) first = i;
    }
    return first;
  }

  note(spanId: string, position: number): void {
    this.#positionOf?.set(spanId, position);
  }
}

/** Used by one view at a time: making them anew took a tenth of the time. */
let scratch = { hasChild: new Uint8Array(64), unitNumber: new Int32Array(64), path: new Int32Array(64) };

function scratchFor(size: number): typeof scratch {
  if (scratch.hasChild.length < size)
    scratch = { hasChild: new Uint8Array(size * 2), unitNumber: new Int32Array(size * 2), path: new Int32Array(size * 2) };
  scratch.hasChild.fill(0, 0, size);
  scratch.unitNumber.fill(-1, 0, size);
  return scratch;
}

/** Any operations of a trace in order, without duplicates, with their parents. */
export function orderTrace(traceId: string, unordered: readonly Operation[]): OrderedTrace {
  const sorted = sortedByStart(unordered);
  const places = new Places(sorted.length);
  const operations: Operation[] = [];
  let duplicates = 0;
  let previous: Operation | undefined;
  for (const operation of sorted) {
    // A duplicate has the same times and so stands next to its original; a span's later operations (index > 0) share its place.
    if (previous !== undefined && previous.index === operation.index && previous.spanId === operation.spanId) {
      duplicates += 1;
      continue;
    }
    previous = operation;
    // An event or a log record can bear an earlier time than its span: clocks of milliseconds, or those of two libraries.
    const known = places.find(operations, operation.spanId);
    if (operation.index === 0 && operations[known]?.index === 0) {
      duplicates += 1;
      continue;
    }
    if (known < 0 || operation.index === 0) places.note(operation.spanId, operations.length);
    operations.push(operation);
  }
  const parentOf: number[] = [];
  let missingParents = 0;
  for (let i = 0; i < operations.length; i += 1) {
    const operation = operations[i] as Operation;
    if (operation.index > 0) {
      const own = places.find(operations, operation.spanId);
      if (own !== i) {
        parentOf.push(own);
        continue;
      }
    }
    if (operation.parentSpanId === '') {
      parentOf.push(-1);
      continue;
    }
    const parent = places.find(operations, operation.parentSpanId);
    if (parent < 0) missingParents += 1;
    parentOf.push(parent === i ? -1 : parent);
  }
  return { traceId, operations, parentOf, missingParents, duplicates };
}

export function viewTrace(traceId: string, unordered: readonly Operation[]): TraceView {
  return viewOrdered(orderTrace(traceId, unordered));
}

export function viewOrdered(trace: OrderedTrace): TraceView {
  const { operations, parentOf } = trace;
  const size = operations.length;
  const { hasChild, unitNumber, path } = scratchFor(size);
  let startUs = Number.POSITIVE_INFINITY;
  let endUs = 0;
  let hasFailures = false;
  let hasFacts = false;
  let hasSessions = false;
  for (let i = 0; i < size; i += 1) {
    const operation = operations[i] as Operation;
    if (operation.startUs < startUs) startUs = operation.startUs;
    if (operation.endUs > endUs) endUs = operation.endUs;
    if (operation.failed) hasFailures = true;
    if (operation.facts !== undefined) hasFacts = true;
    if (namedSessionOf(operation) !== '') hasSessions = true;
    const parent = parentOf[i] as number;
    // A span's later operations hang on its first, which is no child for that.
    if (parent >= 0 && operation.index === 0) hasChild[parent] = 1;
  }

  let units: MutableUnit[] = [];
  let orphanUnits: Map<string, number> | undefined;
  for (let i = 0; i < size; i += 1) {
    let at = i;
    let climbed = 0;
    // Climb to the unit's entry or to what is known already. Parent links that form a ring (broken input) stop at the trace's size.
    while ((unitNumber[at] as number) < 0 && !startsUnit(operations, parentOf, at) && climbed < size) {
      path[climbed] = at;
      climbed += 1;
      at = parentOf[at] as number;
    }
    let number = unitNumber[at] as number;
    if (number < 0) {
      const entry = operations[at] as Operation;
      const lost = parentOf[at] === -1 && entry.parentSpanId !== '' && entry.kind !== 'request' && entry.kind !== 'consume';
      const orphanKey = lost ? `${entry.service}\0${entry.parentSpanId}` : '';
      const shared = lost ? orphanUnits?.get(orphanKey) : undefined;
      if (shared === undefined) {
        number = units.length;
        const parent = parentOf[at] as number;
        units = appended(units, {
          number,
          service: entry.service,
          entry,
          parent: undefined,
          calledBy: parent < 0 ? undefined : operations[parent],
          complete: !lost,
          reads: none,
          writes: none,
          transactions: none,
          publishes: none,
          calls: none,
          commits: none,
          consumes: none,
          sagaSteps: none,
          outcomes: undefined,
        } as MutableUnit);
        if (lost) (orphanUnits ??= new Map()).set(orphanKey, number);
      } else number = shared;
      unitNumber[at] = number;
    }
    for (let step = 0; step < climbed; step += 1) unitNumber[path[step] as number] = number;
  }

  let hasWrites = false;
  let hasMessages = false;
  let hasCalls = false;
  // oxlint-disable-next-line unicorn/no-new-array -- what is pushed to takes room for seventeen, and Array.from is slow
  const unitOf = new Array<number>(size);
  for (let i = 0; i < size; i += 1) {
    const operation = operations[i] as Operation;
    const unit = units[unitNumber[i] as number] as MutableUnit;
    unitOf[i] = unitNumber[i] as number;
    const parent = parentOf[i] as number;
    if (unit.entry === operation && parent >= 0) unit.parent = units[unitNumber[parent] as number];
    switch (operation.kind) {
      case 'read':
        unit.reads = appended(unit.reads, operation);
        break;
      case 'write':
      case 'append':
      case 'delete':
      case 'compensate':
        unit.writes = appended(unit.writes, operation);
        hasWrites = true;
        break;
      case 'transaction':
        unit.transactions = appended(unit.transactions, operation);
        break;
      case 'publish':
        unit.publishes = appended(unit.publishes, operation);
        hasMessages = true;
        break;
      case 'consume':
        hasMessages = true;
        if (
          hasChild[i] === 0 &&
          parent >= 0 &&
          operations[parent]?.service === operation.service &&
          operations[parent]?.kind !== 'publish'
        ) {
          // A `receive` span that ended before the work began: the unit around it does the work.
          const around = units[unitNumber[parent] as number] as MutableUnit;
          around.consumes = appended(around.consumes, operation);
        }
        unit.consumes = appended(unit.consumes, operation);
        break;
      case 'call':
        unit.calls = appended(unit.calls, operation);
        hasCalls = true;
        break;
      case 'saga-step':
        unit.sagaSteps = appended(unit.sagaSteps, operation);
        break;
      case 'request':
        break;
      case 'internal':
        if (operation.spanName.startsWith('Transaction.')) unit.commits = appended(unit.commits, operation);
        break;
    }
  }
  return new ViewedTrace(trace, units, unitOf, startUs, endUs, hasWrites, hasMessages, hasCalls, hasFailures, hasFacts, hasSessions);
}

/** A class, because a trace's id becomes text, and units are found by position, only where someone asks for it. */
export class ViewedTrace implements TraceView {
  readonly operations: readonly Operation[];
  readonly parentOf: readonly number[];
  readonly units: readonly Unit[];
  readonly startUs: number;
  readonly endUs: number;
  readonly hasWrites: boolean;
  readonly hasMessages: boolean;
  readonly hasCalls: boolean;
  readonly hasFailures: boolean;
  readonly hasFacts: boolean;
  readonly hasSessions: boolean;
  readonly #trace: OrderedTrace;
  readonly #unitNumbers: readonly number[];
  #unitOf: readonly Unit[] | undefined;

  constructor(
    trace: OrderedTrace,
    units: readonly Unit[],
    unitNumbers: readonly number[],
    startUs: number,
    endUs: number,
    hasWrites: boolean,
    hasMessages: boolean,
    hasCalls: boolean,
    hasFailures: boolean,
    hasFacts: boolean,
    hasSessions: boolean,
  ) {
    this.#trace = trace;
    this.operations = trace.operations;
    this.parentOf = trace.parentOf;
    this.units = units;
    this.#unitNumbers = unitNumbers;
    this.startUs = startUs;
    this.endUs = endUs;
    this.hasWrites = hasWrites;
    this.hasMessages = hasMessages;
    this.hasCalls = hasCalls;
    this.hasFailures = hasFailures;
    this.hasFacts = hasFacts;
    this.hasSessions = hasSessions;
  }

  get unitOf(): readonly Unit[] {
    return (this.#unitOf ??= this.#unitNumbers.map((number) => this.units[number] as Unit));
  }
  get traceId(): string {
    return this.#trace.traceId;
  }
  get missingParents(): number {
    return this.#trace.missingParents;
  }
  get complete(): boolean {
    return this.#trace.missingParents === 0;
  }
  get duplicates(): number {
    return this.#trace.duplicates;
  }
  get shape(): TraceShape | undefined {
    return this.#trace.shape;
  }
}

function startsUnit(operations: readonly Operation[], parentOf: readonly number[], at: number): boolean {
  const parent = parentOf[at] as number;
  if (parent < 0) return true;
  const operation = operations[at] as Operation;
  if (operation.kind === 'request' || operation.kind === 'consume') return true;
  return operation.service !== (operations[parent] as Operation).service;
}

/** A list that is pushed to takes room for seventeen; most have one or two. */
function appended<T>(list: T[], item: T): T[] {
  if (list.length === 0) return [item];
  if (list.length === 1) return [list[0] as T, item];
  list.push(item);
  return list;
}

/** Whether `unit` is `ancestor` or works, directly or not, for it. */
export function isWithin(unit: Unit, ancestor: Unit): boolean {
  let at: Unit | undefined = unit;
  // Bounded by the number of units: parents of entries cannot form a ring longer than that.
  for (let i = 0; at !== undefined && i < 1000; i += 1) {
    if (at === ancestor) return true;
    at = at.parent;
  }
  return false;
}

/** Stores are few and asked for with every statement; a sender of endless names gets no more of them remembered. */
const storesMax = 10_000;
const stores = new Map<string, { readonly system: string; readonly namespace: string; readonly key: string }[]>();
let storeCount = 0;

/** One store: what a single local transaction could span. MySQL schemas of one server are one store, PostgreSQL databases are not. */
export function storeOf(operation: Operation): string {
  const { system, host, namespace } = operation;
  let ofHost = stores.get(host);
  if (ofHost !== undefined) for (const store of ofHost) if (store.namespace === namespace && store.system === system) return store.key;
  const isOneServer = host !== '' && (system === 'mysql' || system === 'mariadb');
  const key = isOneServer ? `${system}\0${host}` : `${system}\0${host}\0${namespace}`;
  if (storeCount >= storesMax) return key;
  storeCount += 1;
  if (ofHost === undefined) {
    ofHost = [];
    stores.set(host, ofHost);
  }
  if (ofHost.length < storesOfHostMax) ofHost.push({ system, namespace, key });
  return key;
}

/** Looked through one by one. */
const storesOfHostMax = 32;

/** A store in words: `postgresql orders at db-1`. */
export function storeWords(operation: Operation): string {
  const parts = [operation.system === '' ? 'a store' : operation.system];
  if (operation.namespace !== '') parts.push(operation.namespace);
  if (operation.host !== '') parts.push(`at ${operation.host}`);
  return parts.join(' ');
}

/** The table, or what stands for it. */
export function targetOf(operation: Operation): string {
  if (operation.target !== '') return operation.target;
  return operation.facts?.objectType ?? '';
}

export function isSameTable(a: Operation, b: Operation): boolean {
  return bareName(targetOf(a)) === bareName(targetOf(b)) && a.system === b.system;
}

/** The key of the touched row where the span shows it. */
export function keyOf(operation: Operation): string {
  if (operation.facts !== undefined && operation.facts.objectKey !== '') return operation.facts.objectKey;
  return operation.key ?? '';
}

/** Operations of service `name`'s unit as `checkout (POST /orders)`. */
export function unitWords(unit: Unit): string {
  const entry = unit.entry;
  const where = entry.kind === 'request' || entry.kind === 'consume' ? entry.target || entry.spanName : entry.spanName;
  return where === '' || where === unit.service ? unit.service : `${unit.service} (${where})`;
}
