import { buildGraph } from './dependency-graph.ts';
import { type Edge, eachEdge } from './isolation-edges.ts';
import { isIn, type IsolationTables, m, markStride } from './isolation-tables.ts';

/** Adya's classes, most severe first. `-session`: only with the order of transactions within a session. */
export type IsolationModel = 'G0' | 'G1c' | 'G-single' | 'G2-item' | 'G0-session' | 'G1c-session' | 'G-single-session' | 'G2-item-session';

export interface Cycle {
  readonly model: IsolationModel;
  /** From the first transaction round to itself. */
  readonly edges: readonly Edge[];
}

/** Nodes visited per search, and searches and cycles per component: one of thousands of transactions is told by some of its cycles, not all. */
const visitMax = 20_000;
const searchMax = 64;
const cyclesMax = 8;
/** The number of what has left the stack: above all others, so that nothing gets lower by leading to it. */
const offStack = 0x7fff_ffff;

/**
 * Minimal cycles: in each strongly connected component, for each class from the most severe, the shortest cycles through the edges that the
 * class turns on, shortest first. A cycle whose transactions all stand in cycles told already adds nothing. Cost: Tarjan over what is new and
 * what it leads to, then a bounded number of breadth-first searches per component, and components are rare.
 */
export function findCycles(tables: IsolationTables, news: readonly number[], round: number): readonly Cycle[] {
  const found: Cycle[] = [];
  for (const component of componentsFrom(tables, news, round)) found.push(...cyclesOf(tables, component));
  return found;
}

/**
 * Strongly connected components of more than one transaction among those that can be reached from `roots`: Tarjan, "Depth-first search and
 * linear graph algorithms" (1972), without recursion: the targets of the nodes on the path lie in one array, each node's above those of the
 * one before it. A cycle with something new in it can be reached from there.
 */
function componentsFrom(tables: IsolationTables, roots: readonly number[], round: number): readonly (readonly number[])[] {
  const { marks } = tables;
  const found: number[][] = [];
  const stack: number[] = [];
  const path: number[] = [];
  /** Of each node on the path, the lowest number on the stack that it or what it led to leads to. */
  const lows: number[] = [];
  const targets: number[] = [];
  const starts: number[] = [];
  let counter = 0;
  const push = (_kind: Edge['kind'], to: number): void => {
    targets.push(to);
  };
  const open = (node: number): void => {
    counter += 1;
    marks[node * markStride + m.round] = round;
    marks[node * markStride + m.order] = counter;
    stack.push(node);
    path.push(node);
    lows.push(counter);
    starts.push(targets.length);
    eachEdge(tables, node, push);
  };
  for (const root of roots) {
    if (marks[root * markStride + m.round] === round || !isIn(tables, root)) continue;
    open(root);
    while (path.length > 0) {
      const node = path[path.length - 1] as number;
      const start = starts[starts.length - 1] as number;
      let isDescending = false;
      // Targets are taken from the end: what is left of a node's lies between its start and the array's end.
      while (targets.length > start) {
        const to = targets.pop() as number;
        if (marks[to * markStride + m.round] !== round) {
          open(to);
          isDescending = true;
          break;
        }
        const order = marks[to * markStride + m.order] as number;
        if (order < (lows[lows.length - 1] as number)) lows[lows.length - 1] = order;
      }
      if (isDescending) continue;
      path.pop();
      starts.pop();
      const low = lows.pop() as number;
      if (path.length > 0 && low < (lows[lows.length - 1] as number)) lows[lows.length - 1] = low;
      if (low !== marks[node * markStride + m.order]) continue;
      // Nearly all are components of their own.
      if (stack[stack.length - 1] === node) {
        stack.pop();
        marks[node * markStride + m.order] = offStack;
        continue;
      }
      const component: number[] = [];
      for (;;) {
        const member = stack.pop() as number;
        marks[member * markStride + m.order] = offStack;
        component.push(member);
        if (member === node) break;
      }
      if (component.length > 1) found.push(component.toSorted((one, two) => compareNames(tables, one, two)));
    }
  }
  return found;
}

/** By name, so that what is told does not depend on row numbers. */
function compareNames(tables: IsolationTables, a: number, b: number): number {
  const [one, two] = [tables.idOf(a), tables.idOf(b)];
  if (one !== two) return one < two ? -1 : 1;
  return tables.spanOf(a).traceId < tables.spanOf(b).traceId ? -1 : 1;
}

function cyclesOf(tables: IsolationTables, component: readonly number[]): readonly Cycle[] {
  const positionOf = new Map(component.map((member, position) => [member, position]));
  const edges: Edge[] = [];
  for (const from of component)
    eachEdge(tables, from, (kind, to, seen, next) => {
      if (positionOf.has(to)) edges.push({ kind, from, to, seen, next });
    });
  const graph = buildGraph(
    component.length,
    edges.map((edge) => positionOf.get(edge.from) as number),
    edges.map((edge) => positionOf.get(edge.to) as number),
  );
  const own = edges.map((_edge, number) => number);
  const kindOf = (edge: number) => (edges[edge] as Edge).kind;
  const told = new Set<number>();
  const cycles: Cycle[] = [];

  const search = (model: IsolationModel, turns: (edge: number) => boolean, returns: (edge: number) => boolean): void => {
    let searches = 0;
    const candidates: (readonly number[])[] = [];
    for (const edge of own) {
      if (!turns(edge) || searches >= searchMax) continue;
      const from = graph.sourceOf(edge);
      const to = graph.targetOf(edge);
      if (told.has(from) && told.has(to)) continue;
      searches += 1;
      const back = graph.path(to, from, returns, visitMax);
      if (back !== undefined) candidates.push([edge, ...back]);
    }
    // Sorting is stable: among equally short ones the first edge decides.
    for (const cycle of candidates.toSorted((a, b) => a.length - b.length)) {
      if (cycles.length >= cyclesMax) return;
      const members = cycle.map((edge) => graph.sourceOf(edge));
      if (members.every((member) => told.has(member))) continue;
      for (const member of members) told.add(member);
      const all = cycle.map((edge) => edges[edge] as Edge);
      cycles.push({ model: modelOf(model, all), edges: all });
    }
  };

  const isWw = (edge: number) => kindOf(edge) === 'ww';
  const isWr = (edge: number) => kindOf(edge) === 'wr';
  const isRw = (edge: number) => kindOf(edge) === 'rw';
  const isDependency = (edge: number) => isWw(edge) || isWr(edge);
  const isSession = (edge: number) => kindOf(edge) === 'so';
  search('G0', isWw, isWw);
  search('G1c', isWr, isDependency);
  search('G-single', isRw, isDependency);
  search('G2-item', isRw, (edge) => !isSession(edge));
  if (own.some(isSession)) {
    search('G0-session', isWw, (edge) => isWw(edge) || isSession(edge));
    search('G1c-session', isWr, (edge) => isDependency(edge) || isSession(edge));
    search('G-single-session', isRw, (edge) => !isRw(edge));
    search('G2-item-session', isRw, () => true);
  }
  return cycles;
}

/**
 * Two transactions that both read one version and both replaced it: whichever came first in the (unknown or colliding) order of their
 * versions, one depends on the other and missed it. That is a lost update, G-single in either order.
 */
function modelOf(model: IsolationModel, edges: readonly Edge[]): IsolationModel {
  const [one, two] = edges;
  if (model === 'G2-item' && edges.length === 2 && one?.kind === 'rw' && two?.kind === 'rw' && one.seen === two.seen) return 'G-single';
  return model;
}
