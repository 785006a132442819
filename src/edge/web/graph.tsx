/** The service graph as traces show it, its lines weighted by the structural findings on them. */
import type { JSX } from 'preact';
import type { LearnedFact } from '../../domain/learned-fact.ts';
import type { StoredAnomaly } from '../../io/store/anomalies.ts';
import { layOut, box, type Point } from './graph-layout.ts';
import { go } from './router.tsx';
import { count, number } from './words.ts';

/** More than this is no picture any more: the busiest lines stay, those with findings first. */
const linesMax = 60;

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

export function ServiceGraph({
  facts,
  anomalies,
}: {
  readonly facts: readonly LearnedFact[];
  readonly anomalies: readonly StoredAnomaly[];
}): JSX.Element | null {
  const lines = graphLines(facts, anomalies);
  if (lines.length === 0) return null;
  const { nodes, ways, width, height } = layOut(lines);
  const mostFindings = Math.max(1, ...lines.map(({ findings }) => findings));
  const mostTraces = Math.max(1, ...lines.map(({ traces }) => traces));
  return (
    <div class="graph-scroll">
      <svg
        class="graph"
        viewBox={`-2 -2 ${width + 4} ${height + 4}`}
        width={width + 4}
        height={height + 4}
        role="img"
        aria-label={`Service graph: ${count(nodes.size, 'node')}, ${count(lines.filter(({ findings }) => findings > 0).length, 'line')} with structural findings`}
      >
        {ways.toReversed().map(({ line, points }) => {
          const weight = line.findings > 0 ? 2 + (4 * line.findings) / mostFindings : 1 + Math.log1p(line.traces) / Math.log1p(mostTraces);
          const open = (): void => go(`/anomalies?grade=structural&service=${encodeURIComponent(line.service)}`);
          return (
            <g
              key={`${line.from} ${line.to}`}
              class={line.findings > 0 ? 'graph-line is-unsafe' : 'graph-line'}
              {...(line.findings > 0 ? { onClick: open, role: 'link', tabIndex: 0 } : {})}
            >
              <title>{line.title}</title>
              <path d={pathOf(points)} stroke-width={weight} />
            </g>
          );
        })}
        {[...nodes].map(([node, { x, y }]) => {
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
        {ways.map(({ line, points }) => {
          const [a, b] = points;
          // In the gap behind the box that it leaves, where nothing else is drawn; above all lines.
          return line.findings === 0 || a === undefined || b === undefined ? null : (
            <text key={`${line.from} ${line.to}`} class="graph-count" x={(a.x + b.x) / 2} y={(a.y + b.y) / 2 - 6} text-anchor="middle">
              {number(line.findings)}
            </text>
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

/** From point to point in curves that leave and arrive level; a line that goes back is straight. */
function pathOf(points: readonly Point[]): string {
  return points
    .map(({ x, y }, index) => {
      const before = points[index - 1];
      if (before === undefined) return `M ${x} ${y}`;
      const bend = Math.max(0, (x - before.x) / 2);
      return `C ${before.x + bend} ${before.y}, ${x - bend} ${y}, ${x} ${y}`;
    })
    .join(' ');
}
