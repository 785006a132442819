import { buildGraph, type DependencyGraph } from './dependency-graph.ts';
import type { Edge, Transaction } from './isolation-history.ts';

/** Adya's classes, most severe first. `-session`: only with the order of transactions within a session. */
export type IsolationModel = 'G0' | 'G1c' | 'G-single' | 'G2-item' | 'G0-session' | 'G1c-session' | 'G-single-session' | 'G2-item-session';

export interface Cycle {
  readonly model: IsolationModel;
  /** From the first transaction round to itself. */
  readonly edges: readonly Edge[];
}

/** Nodes visited per search and searches per component: a component of thousands of transactions is told by some of its cycles, not all. */
const visitMax = 20_000;
const searchMax = 64;
const cyclesMax = 8;

/**
 * Minimal cycles: in each strongly connected component, for each class from the most severe, a shortest cycle through each edge that the class
 * turns on. A cycle whose transactions all stand in cycles told already adds nothing. Cost: Tarjan over the window, then a bounded number of
 * breadth-first searches per component, and components are rare.
 */
export function findCycles(edges: readonly Edge[]): readonly Cycle[] {
  const members: Transaction[] = [];
  const sources: number[] = [];
  const targets: number[] = [];
  const nodeOf = (transaction: Transaction): number => {
    if (transaction.node < 0) {
      transaction.node = members.length;
      members.push(transaction);
    }
    return transaction.node;
  };
  for (const edge of edges) {
    sources.push(nodeOf(edge.from));
    targets.push(nodeOf(edge.to));
  }
  const graph = buildGraph(members.length, sources, targets);
  const found: Cycle[] = [];
  for (const component of graph.components()) {
    if (!component.some((node) => members[node]?.isNew === true)) continue;
    found.push(...cyclesOf(graph, component, edges));
  }
  for (const member of members) member.node = -1;
  return found;
}

function cyclesOf(graph: DependencyGraph, component: readonly number[], edges: readonly Edge[]): readonly Cycle[] {
  const inside = new Set(component);
  const own: number[] = [];
  for (const node of component)
    graph.each(node, (target, edge) => {
      if (inside.has(target)) own.push(edge);
    });
  const kindOf = (edge: number) => (edges[edge] as Edge).kind;
  const isInside = (edge: number) => inside.has(graph.targetOf(edge));
  const told = new Set<number>();
  const cycles: Cycle[] = [];

  const search = (model: IsolationModel, turns: (edge: number) => boolean, returns: (edge: number) => boolean): void => {
    let searches = 0;
    for (const edge of own) {
      if (!turns(edge) || cycles.length >= cyclesMax || searches >= searchMax) continue;
      const from = graph.sourceOf(edge);
      const to = graph.targetOf(edge);
      if (told.has(from) && told.has(to)) continue;
      searches += 1;
      const back = graph.path(to, from, (other) => isInside(other) && returns(other), visitMax);
      if (back === undefined) continue;
      const all = [edge, ...back].map((number) => edges[number] as Edge);
      if (all.every((other) => told.has(other.from.node))) continue;
      for (const other of all) told.add(other.from.node);
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
  if (
    model === 'G2-item' &&
    edges.length === 2 &&
    one?.kind === 'rw' &&
    two?.kind === 'rw' &&
    one.seen !== undefined &&
    one.seen === two.seen
  )
    return 'G-single';
  return model;
}
