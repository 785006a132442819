/**
 * Layered layout of the service graph (Sugiyama, Tagawa and Toda 1981, in its plainest form): columns by the longest way from a start,
 * a lane in every column that lines to a node only pass, rows ordered by the mean of their neighbours.
 */
export interface Edge {
  readonly from: string;
  readonly to: string;
}

/** Pixels. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Layout<E extends Edge> {
  /** Upper left corner of each node's box. */
  readonly nodes: ReadonlyMap<string, Point>;
  /** For each line, in the order given: the points that it goes through, from the edge of one box to that of the other. */
  readonly ways: readonly { readonly line: E; readonly points: readonly Point[] }[];
  readonly width: number;
  readonly height: number;
}

export const box = { width: 150, height: 26 };
const columnWidth = 210;
const rowHeight = 44;
const laneHeight = 20;
/** A screen holds so many columns. */
const lastColumn = 5;
const sweeps = 4;

export function layOut<E extends Edge>(lines: readonly E[]): Layout<E> {
  const columnOf = columnsOf(lines);
  const columns: string[][] = [];
  const neighbours = new Map<string, string[]>();
  const join = (a: string, b: string): void => {
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const known = neighbours.get(one);
      if (known === undefined) neighbours.set(one, [other]);
      else known.push(other);
    }
  };
  for (const [node, column] of columnOf) (columns[column] ??= []).push(node);
  const lanesOf = lines.map((line) => {
    const lanes: string[] = [];
    let before = line.from;
    for (let column = (columnOf.get(line.from) ?? 0) + 1; column < (columnOf.get(line.to) ?? 0); column += 1) {
      const lane = `${lanePrefix}${column} ${line.to}`;
      if (!neighbours.has(lane)) (columns[column] ??= []).push(lane);
      lanes.push(lane);
      join(before, lane);
      before = lane;
    }
    join(before, line.to);
    return lanes;
  });
  const order = new Map<string, number>();
  for (const column of columns) for (const [row, node] of (column ?? []).entries()) order.set(node, row);
  const meanOf = (node: string): number => {
    const rows = (neighbours.get(node) ?? []).map((other) => order.get(other) ?? 0);
    return rows.length === 0 ? (order.get(node) ?? 0) : rows.reduce((sum, row) => sum + row, 0) / rows.length;
  };
  for (let sweep = 0; sweep < sweeps; sweep += 1)
    for (const column of sweep % 2 === 0 ? columns : columns.toReversed())
      for (const [row, node] of (column ?? []).toSorted((a, b) => meanOf(a) - meanOf(b)).entries()) order.set(node, row);

  const places = new Map<string, Point>();
  let height = 0;
  for (const [column, nodes] of columns.entries()) {
    let y = 0;
    for (const node of (nodes ?? []).toSorted((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0))) {
      places.set(node, { x: column * columnWidth, y });
      const isLane = node.startsWith(lanePrefix);
      height = Math.max(height, y + (isLane ? laneHeight : box.height));
      y += isLane ? laneHeight : rowHeight;
    }
  }
  const at = (node: string): Point => places.get(node) ?? { x: 0, y: 0 };
  const ways = lines.map((line, index) => {
    const a = at(line.from);
    const b = at(line.to);
    if (b.x <= a.x) return { line, points: around(a, b) };
    const middle = box.height / 2;
    const passed = (lanesOf[index] ?? []).flatMap((lane) => {
      const { x, y } = at(lane);
      return [
        { x, y: y + laneHeight / 2 },
        { x: x + box.width, y: y + laneHeight / 2 },
      ];
    });
    return { line, points: [{ x: a.x + box.width, y: a.y + middle }, ...passed, { x: b.x, y: b.y + middle }] };
  });
  return {
    nodes: new Map([...places].filter(([node]) => !node.startsWith(lanePrefix))),
    ways,
    width: (columns.length - 1) * columnWidth + box.width,
    height,
  };
}

/** No node is called so: they begin with their kind. */
const lanePrefix = '\0';

/** Lines are taken in the order given, heaviest first; one that would close a ring does not move its end. */
function columnsOf(lines: readonly Edge[]): Map<string, number> {
  const columnOf = new Map(lines.flatMap(({ from, to }) => [from, to]).map((node) => [node, 0]));
  const next = new Map<string, string[]>();
  const leadsTo = (from: string, to: string): boolean => {
    const seen = new Set([from]);
    for (const node of seen) for (const after of next.get(node) ?? []) seen.add(after);
    return seen.has(to);
  };
  const push = (node: string, column: number): void => {
    if ((columnOf.get(node) ?? 0) >= column) return;
    columnOf.set(node, column);
    for (const after of next.get(node) ?? []) push(after, Math.min(lastColumn, column + 1));
  };
  for (const { from, to } of lines) {
    if (leadsTo(to, from)) continue;
    next.set(from, [...(next.get(from) ?? []), to]);
    push(to, Math.min(lastColumn, (columnOf.get(from) ?? 0) + 1));
  }
  return columnOf;
}

/** A line that does not go forward: from below one box to the near side of the other. */
function around(a: Point, b: Point): readonly Point[] {
  const half = box.width / 2;
  return [
    { x: a.x + half, y: a.y + box.height },
    { x: b.x + half, y: b.y > a.y ? b.y : b.y + box.height },
  ];
}
