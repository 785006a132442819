/**
 * A directed graph over small integers with tagged edges, its strongly connected components and shortest paths in them. Kept in typed
 * arrays (compressed rows), because the isolation checker builds one for every few ten thousand transactions: 40 bytes a node and an edge.
 *
 * Components: Tarjan, "Depth-first search and linear graph algorithms" (1972), without recursion. O(nodes + edges).
 */
export interface DependencyGraph {
  readonly nodes: number;
  /** Calls `visit` with the target and the edge's number for each edge out of `node`. */
  each(node: number, visit: (target: number, edge: number) => void): void;
  /** Components with more than one node. */
  components(): readonly (readonly number[])[];
  /**
   * The shortest path from `from` to `to` over edges that `allows` accepts, as edge numbers; undefined where there is none within `limit`
   * visited nodes.
   */
  path(from: number, to: number, allows: (edge: number) => boolean, limit: number): readonly number[] | undefined;
  sourceOf(edge: number): number;
  targetOf(edge: number): number;
}

export function buildGraph(nodes: number, edgeSources: readonly number[], edgeTargets: readonly number[]): DependencyGraph {
  const edges = edgeSources.length;
  const start = new Int32Array(nodes + 1);
  for (let e = 0; e < edges; e += 1) start[(edgeSources[e] as number) + 1] = (start[(edgeSources[e] as number) + 1] as number) + 1;
  for (let n = 0; n < nodes; n += 1) start[n + 1] = (start[n + 1] as number) + (start[n] as number);
  const fill = start.slice(0, nodes);
  const target = new Int32Array(edges);
  const number = new Int32Array(edges);
  for (let e = 0; e < edges; e += 1) {
    const at = fill[edgeSources[e] as number] as number;
    fill[edgeSources[e] as number] = at + 1;
    target[at] = edgeTargets[e] as number;
    number[at] = e;
  }

  return {
    nodes,
    each(node, visit) {
      for (let i = start[node] as number; i < (start[node + 1] as number); i += 1) visit(target[i] as number, number[i] as number);
    },
    sourceOf: (edge) => edgeSources[edge] as number,
    targetOf: (edge) => edgeTargets[edge] as number,
    components() {
      const found: number[][] = [];
      const order = new Int32Array(nodes);
      const low = new Int32Array(nodes);
      const onStack = new Uint8Array(nodes);
      const next = start.slice(0, nodes);
      const stack: number[] = [];
      const calls: number[] = [];
      let counter = 0;
      for (let root = 0; root < nodes; root += 1) {
        if (order[root] !== 0) continue;
        calls.push(root);
        while (calls.length > 0) {
          const node = calls.at(-1) as number;
          if (order[node] === 0) {
            counter += 1;
            order[node] = counter;
            low[node] = counter;
            stack.push(node);
            onStack[node] = 1;
          }
          let descended = false;
          while ((next[node] as number) < (start[node + 1] as number)) {
            const to = target[next[node] as number] as number;
            next[node] = (next[node] as number) + 1;
            if (order[to] === 0) {
              calls.push(to);
              descended = true;
              break;
            }
            if (onStack[to] === 1 && (order[to] as number) < (low[node] as number)) low[node] = order[to] as number;
          }
          if (descended) continue;
          calls.pop();
          const parent = calls.at(-1);
          if (parent !== undefined && (low[node] as number) < (low[parent] as number)) low[parent] = low[node] as number;
          if (low[node] !== order[node]) continue;
          const component: number[] = [];
          for (;;) {
            const member = stack.pop() as number;
            onStack[member] = 0;
            component.push(member);
            if (member === node) break;
          }
          if (component.length > 1) found.push(component.reverse());
        }
      }
      return found;
    },
    path(from, to, allows, limit) {
      const cameBy = new Map<number, number>();
      const queue = [from];
      for (let head = 0; head < queue.length && head < limit; head += 1) {
        const node = queue[head] as number;
        for (let i = start[node] as number; i < (start[node + 1] as number); i += 1) {
          const edge = number[i] as number;
          const reached = target[i] as number;
          if (!allows(edge) || cameBy.has(reached) || reached === from) continue;
          cameBy.set(reached, edge);
          if (reached === to) {
            const path: number[] = [];
            for (let at = to; at !== from; ) {
              const by = cameBy.get(at) as number;
              path.push(by);
              at = edgeSources[by] as number;
            }
            return path.reverse();
          }
          queue.push(reached);
        }
      }
      return undefined;
    },
  };
}
