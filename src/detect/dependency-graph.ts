/** A small directed graph over integers with shortest paths, in typed arrays (compressed rows). */
export interface DependencyGraph {
  readonly nodes: number;
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
    sourceOf: (edge) => edgeSources[edge] as number,
    targetOf: (edge) => edgeTargets[edge] as number,
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
