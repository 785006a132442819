/**
 * A dumb checker of small histories: it follows the definitions word by word and looks at every simple cycle. Versions are integers; nothing is
 * shared with the checker that it judges.
 */
export interface Action {
  readonly transaction: number;
  readonly key: number;
  readonly isWrite: boolean;
  readonly version: number;
}

export interface History {
  readonly actions: readonly Action[];
  readonly outcomes: readonly ('committed' | 'aborted' | 'unknown')[];
  /** Session of each transaction; undefined: none. */
  readonly sessions: readonly (number | undefined)[];
}

export interface OracleEdge {
  readonly kind: 'ww' | 'wr' | 'rw' | 'so';
  readonly from: number;
  readonly to: number;
}

export const modelsBySeverity = [
  'G0',
  'G1c',
  'G-single',
  'G2-item',
  'G0-session',
  'G1c-session',
  'G-single-session',
  'G2-item-session',
] as const;

/** Class of a cycle by the kinds of its edges. */
export function classOf(kinds: readonly string[]): string {
  const count = (kind: string): number => kinds.filter((other) => other === kind).length;
  const suffix = count('so') > 0 ? '-session' : '';
  if (count('rw') > 1) return `G2-item${suffix}`;
  if (count('rw') === 1) return `G-single${suffix}`;
  return `${count('wr') > 0 ? 'G1c' : 'G0'}${suffix}`;
}

export function readsAt(history: History): ReadonlySet<number> {
  const isRead = new Set<number>();
  for (const read of history.actions) {
    if (read.isWrite || history.outcomes[read.transaction] !== 'committed') continue;
    const writer = writerOf(history, read.key, read.version);
    if (writer !== undefined && writer !== read.transaction) isRead.add(writer);
  }
  return isRead;
}

function writerOf(history: History, key: number, version: number): number | undefined {
  return history.actions.find((action) => action.isWrite && action.key === key && action.version === version)?.transaction;
}

/** Whether its writer wrote the object again afterwards. */
function isIntermediate(history: History, key: number, version: number): boolean {
  const at = history.actions.findIndex((action) => action.isWrite && action.key === key && action.version === version);
  const write = history.actions[at];
  if (write === undefined) return false;
  return history.actions.slice(at + 1).some((later) => later.isWrite && later.key === key && later.transaction === write.transaction);
}

export function edgesOf(history: History): readonly OracleEdge[] {
  const { actions, outcomes, sessions } = history;
  const isRead = readsAt(history);
  const isIn = (t: number): boolean => outcomes[t] === 'committed' || (outcomes[t] === 'unknown' && isRead.has(t));
  const edges: OracleEdge[] = [];
  const add = (kind: OracleEdge['kind'], from: number, to: number): void => {
    if (from !== to && isIn(from) && isIn(to)) edges.push({ kind, from, to });
  };
  /** Final versions of transactions that are in, rising. */
  const installed = (key: number): readonly Action[] =>
    actions
      .filter((action) => action.isWrite && action.key === key && isIn(action.transaction) && !isIntermediate(history, key, action.version))
      .toSorted((a, b) => a.version - b.version);
  for (const action of actions) {
    const { key, version, transaction } = action;
    const next = installed(key).find((other) => other.version > version);
    if (action.isWrite) {
      for (const read of actions)
        if (!read.isWrite && read.key === key && read.version === version) add('wr', transaction, read.transaction);
      if (next !== undefined && !isIntermediate(history, key, version)) add('ww', transaction, next.transaction);
    } else if (next !== undefined && !(isIntermediate(history, key, version) && next.transaction === writerOf(history, key, version)))
      add('rw', transaction, next.transaction);
  }
  const order = [...new Set(actions.map((action) => action.transaction))];
  order.forEach((from, at) => {
    if (sessions[from] === undefined) return;
    const to = order.slice(at + 1).find((other) => sessions[other] === sessions[from]);
    if (to === undefined) return;
    const lastOf = actions.findLastIndex((action) => action.transaction === from);
    if (lastOf < actions.findIndex((action) => action.transaction === to)) add('so', from, to);
  });
  return edges;
}

/** Length of the shortest simple cycle of each class. */
export function shortestCycles(edges: readonly OracleEdge[], transactions: number): ReadonlyMap<string, number> {
  const shortest = new Map<string, number>();
  const walk = (start: number, at: number, visited: readonly number[], kinds: readonly string[]): void => {
    for (const edge of edges) {
      if (edge.from !== at) continue;
      const all = [...kinds, edge.kind];
      if (edge.to === start) {
        const model = classOf(all);
        shortest.set(model, Math.min(shortest.get(model) ?? Number.POSITIVE_INFINITY, all.length));
      } else if (edge.to > start && !visited.includes(edge.to)) walk(start, edge.to, [...visited, edge.to], all);
    }
  };
  for (let start = 0; start < transactions; start += 1) walk(start, start, [start], []);
  return shortest;
}

/** `model reader key` of every aborted, intermediate or inconsistent own read. */
export function aberrationsOf(history: History): ReadonlySet<string> {
  const { actions, outcomes } = history;
  const found = new Set<string>();
  actions.forEach((read, at) => {
    if (read.isWrite || outcomes[read.transaction] !== 'committed') return;
    const own = actions
      .slice(0, at)
      .findLast((action) => action.isWrite && action.key === read.key && action.transaction === read.transaction);
    if (own !== undefined && own.version !== read.version) found.add(`internal ${read.transaction} ${read.key}`);
    const writer = writerOf(history, read.key, read.version);
    if (writer === undefined || writer === read.transaction) return;
    if (outcomes[writer] === 'aborted') found.add(`G1a ${read.transaction} ${read.key}`);
    else if (isIntermediate(history, read.key, read.version)) found.add(`G1b ${read.transaction} ${read.key}`);
  });
  return found;
}
