/** The service graph as traces show it, its lines weighted by the structural findings on them. */
import type { JSX } from 'preact';
import type { LearnedFact } from '../../domain/learned-fact.ts';
import type { StoredAnomaly } from '../../io/store/anomalies.ts';
import { go } from './router.tsx';
import { count, number } from './words.ts';

/** More than this is no picture any more: the busiest lines stay, those with findings first. */
const linesMax = 60;
const column = 210;
const row = 44;
const box = { width: 150, height: 26 };

export interface GraphLine {
  readonly from: string;
  readonly to: string;
  /** Traces that show it. */
  readonly traces: number;
  /** Times that a structural finding was seen on it. */
  readonly findings: number;
  /** What leads to the findings in the table. */
  readonly service: string;
  readonly title: string;
}

type NodeKind = 'service' | 'topic' | 'store';

/** Lines of the graph; each structural finding weighs on the line between its service and what it touches there. */
export function graphLines(facts: readonly LearnedFact[], anomalies: readonly StoredAnomaly[]): readonly GraphLine[] {
  const structural = anomalies.filter((anomaly) => anomaly.grade === 'structural');
  const lines = facts.flatMap((fact): readonly GraphLine[] => {
    const { edge } = fact;
    if (edge === undefined) return [];
    const service = edge.by === 'take' ? edge.to : edge.from;
    const on = structural.filter((anomaly) => anomaly.service === service && isOn(anomaly, edge));
    return [
      {
        from: nodeOf(edge.by === 'take' ? 'topic' : 'service', edge.from),
        to: nodeOf(edge.by === 'send' ? 'topic' : edge.by === 'write' ? 'store' : 'service', edge.to),
        traces: fact.support,
        findings: on.reduce((sum, anomaly) => sum + anomaly.count, 0),
        service,
        title: [
          `${edge.from} → ${edge.to}: ${count(fact.support, 'trace')}`,
          ...on.map((anomaly) => `${number(anomaly.count)} × ${anomaly.title}`),
        ].join('\n'),
      },
    ];
  });
  return lines.toSorted((a, b) => b.findings - a.findings || b.traces - a.traces).slice(0, linesMax);
}

/** A dual write is on the line to its topic, a write across stores on those to the stores, the rest on the line to the other service. */
function isOn(anomaly: StoredAnomaly, edge: NonNullable<LearnedFact['edge']>): boolean {
  const { facts } = anomaly;
  switch (edge.by) {
    case 'send':
      return facts['destination'] === edge.to;
    case 'write':
      return [facts['first'], facts['second']].some((store) => typeof store === 'string' && store.split(' ').includes(edge.to));
    case 'call':
      return facts['failedService'] === edge.to || facts['callee'] === edge.to;
    case 'take':
      return false;
  }
}

const nodeOf = (kind: NodeKind, name: string): string => `${kind} ${name}`;

/** Columns by the longest way from a start, rows by order of weight; rings end where they began. */
export function place(lines: readonly GraphLine[]): ReadonlyMap<string, { readonly x: number; readonly y: number }> {
  const nodes = [...new Set(lines.flatMap(({ from, to }) => [from, to]))];
  const level = new Map(nodes.map((node) => [node, 0]));
  for (let round = 0; round < 6; round += 1)
    for (const { from, to } of lines) {
      const next = (level.get(from) ?? 0) + 1;
      // A ring would push its nodes on for ever: six columns are enough for a screen.
      if (next <= 5 && (level.get(to) ?? 0) < next && !isRing(lines, to, from)) level.set(to, next);
    }
  const rows = new Map<number, number>();
  return new Map(
    nodes.map((node) => {
      const at = level.get(node) ?? 0;
      const y = rows.get(at) ?? 0;
      rows.set(at, y + 1);
      return [node, { x: at * column, y: y * row }];
    }),
  );
}

function isRing(lines: readonly GraphLine[], from: string, to: string): boolean {
  return lines.some((line) => line.from === from && line.to === to);
}

export function ServiceGraph({
  facts,
  anomalies,
}: {
  readonly facts: readonly LearnedFact[];
  readonly anomalies: readonly StoredAnomaly[];
}): JSX.Element | null {
  const lines = graphLines(facts, anomalies);
  if (lines.length === 0) return null;
  const places = place(lines);
  const width = Math.max(...[...places.values()].map(({ x }) => x)) + box.width + 4;
  const height = Math.max(...[...places.values()].map(({ y }) => y)) + box.height + 4;
  const mostFindings = Math.max(1, ...lines.map(({ findings }) => findings));
  const mostTraces = Math.max(1, ...lines.map(({ traces }) => traces));
  return (
    <div class="graph-scroll">
      <svg
        class="graph"
        viewBox={`-2 -2 ${width} ${height}`}
        width={width}
        height={height}
        role="img"
        aria-label={`Service graph: ${count(places.size, 'node')}, ${count(lines.filter(({ findings }) => findings > 0).length, 'line')} with structural findings`}
      >
        {lines.toReversed().map((line) => {
          const a = places.get(line.from);
          const b = places.get(line.to);
          if (a === undefined || b === undefined) return null;
          const isForward = b.x > a.x;
          const x1 = a.x + (isForward ? box.width : box.width / 2);
          const y1 = a.y + (isForward ? box.height / 2 : box.height);
          const x2 = b.x + (isForward ? 0 : box.width / 2);
          const y2 = b.y + (isForward ? box.height / 2 : b.y > a.y ? 0 : box.height);
          const bend = isForward ? (x2 - x1) / 2 : 0;
          const weight = line.findings > 0 ? 2 + (4 * line.findings) / mostFindings : 1 + Math.log1p(line.traces) / Math.log1p(mostTraces);
          const open = (): void => go(`/anomalies?grade=structural&service=${encodeURIComponent(line.service)}`);
          return (
            <g
              key={`${line.from} ${line.to}`}
              class={line.findings > 0 ? 'graph-line is-unsafe' : 'graph-line'}
              {...(line.findings > 0 ? { onClick: open, role: 'link', tabIndex: 0 } : {})}
            >
              <title>{line.title}</title>
              <path d={`M ${x1} ${y1} C ${x1 + bend} ${y1}, ${x2 - bend} ${y2}, ${x2} ${y2}`} stroke-width={weight} />
              {line.findings > 0 ? (
                <text x={(x1 + x2) / 2} y={(y1 + y2) / 2 - 6} text-anchor="middle">
                  {number(line.findings)}
                </text>
              ) : null}
            </g>
          );
        })}
        {[...places].map(([node, { x, y }]) => {
          const [kind = 'service', ...rest] = node.split(' ');
          const name = rest.join(' ');
          return (
            <g key={node} class={`graph-node is-${kind}`} transform={`translate(${x} ${y})`}>
              <title>{`${kind} ${name}`}</title>
              <rect width={box.width} height={box.height} rx={kind === 'service' ? 6 : 13} />
              <text x={box.width / 2} y={box.height / 2 + 4} text-anchor="middle">
                {name.length > 22 ? `${name.slice(0, 21)}…` : name}
              </text>
            </g>
          );
        })}
      </svg>
      <p class="muted">
        Square: service. Round: topic; dashed: store. Amber lines carry structural findings, with how often they were seen; click one to see
        them.
      </p>
    </div>
  );
}
