import { buildGraph } from './dependency-graph.ts';
import { type Edge, edgesOf, isIn, type Transaction } from './isolation-history.ts';

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
export function findCycles(news: readonly Transaction[], round: number): readonly Cycle[] {
  const found: Cycle[] = [];
  for (const component of componentsFrom(news, round)) found.push(...cyclesOf(component));
  return found;
}

interface Frame {
  readonly node: Transaction;
  readonly edges: readonly Edge[];
  next: number;
}

/**
 * Strongly connected components of more than one transaction among those that can be reached from `roots`: Tarjan, "Depth-first search and
 * linear graph algorithms" (1972), without recursion. A cycle with something new in it can be reached from there.
 */
function componentsFrom(roots: readonly Transaction[], round: number): readonly (readonly Transaction[])[] {
  const found: Transaction[][] = [];
  const stack: Transaction[] = [];
  const calls: Frame[] = [];
  let counter = 0;
  const open = (node: Transaction): void => {
    counter += 1;
    node.round = round;
    node.order = counter;
    node.low = counter;
    node.onStack = true;
    stack.push(node);
    calls.push({ node, edges: edgesOf(node), next: 0 });
  };
  for (const root of roots) {
    if (root.round === round || !isIn(root)) continue;
    open(root);
    while (calls.length > 0) {
      const frame = calls[calls.length - 1] as Frame;
      const { node, edges } = frame;
      let descended = false;
      while (frame.next < edges.length) {
        const { to } = edges[frame.next] as Edge;
        frame.next += 1;
        if (to.round !== round) {
          open(to);
          descended = true;
          break;
        }
        if (to.onStack && to.order < node.low) node.low = to.order;
      }
      if (descended) continue;
      calls.pop();
      const parent = calls[calls.length - 1]?.node;
      if (parent !== undefined && node.low < parent.low) parent.low = node.low;
      if (node.low !== node.order) continue;
      const component: Transaction[] = [];
      for (;;) {
        const member = stack.pop() as Transaction;
        member.onStack = false;
        component.push(member);
        if (member === node) break;
      }
      if (component.length > 1) found.push(component.toSorted((a, b) => (a.key < b.key ? -1 : 1)));
    }
  }
  return found;
}

function cyclesOf(component: readonly Transaction[]): readonly Cycle[] {
  const positionOf = new Map(component.map((member, position) => [member, position]));
  const edges: Edge[] = [];
  for (const member of component) for (const edge of edgesOf(member)) if (positionOf.has(edge.to)) edges.push(edge);
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
    for (const edge of own) {
      if (!turns(edge) || cycles.length >= cyclesMax || searches >= searchMax) continue;
      const from = graph.sourceOf(edge);
      const to = graph.targetOf(edge);
      if (told.has(from) && told.has(to)) continue;
      searches += 1;
      const back = graph.path(to, from, returns, visitMax);
      if (back === undefined) continue;
      const all = [edge, ...back].map((number) => edges[number] as Edge);
      if (all.every((other) => told.has(positionOf.get(other.from) ?? -1))) continue;
      for (const other of all) told.add(positionOf.get(other.from) as number);
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
