/** Key range x time: where a collection is hot, and where it will be. */
import type { JSX, TargetedMouseEvent } from 'preact';
import { useState } from 'preact/hooks';
import { useResource } from './live.ts';
import { Panel } from './parts.tsx';
import { clock, number } from './words.ts';

interface Heat {
  readonly stepMs: number;
  readonly fromMs: number;
  readonly steps: number;
  readonly ranges: readonly { readonly bucket: number; readonly values: readonly number[]; readonly ahead: readonly number[] }[];
}

const width = 560;
/** Steps are minutes long: seconds would say nothing. */
const minute = (ms: number): string => clock(ms).slice(0, 5);
const rowHeight = 7;
/** Shades beside nothing: few enough to be told apart, and one path each instead of six thousand rectangles. */
const shades = 6;

export function HeatMap({ collection, metric }: { readonly collection: string; readonly metric: string }): JSX.Element | null {
  const { data } = useResource<Heat>(`/api/v1/heat?collection=${encodeURIComponent(collection)}&metric=${encodeURIComponent(metric)}`);
  const [pointed, setPointed] = useState<string>();
  if (data === undefined || data.ranges.length === 0) return null;
  const { ranges, steps, stepMs, fromMs } = data;
  const ahead = Math.max(0, ...ranges.map((range) => range.ahead.length));
  const columns = steps + ahead;
  const height = ranges.length * rowHeight;
  const cellWidth = width / columns;
  const most = Math.max(1e-9, ...ranges.flatMap(({ values, ahead: coming }) => [...values, ...coming]));
  // The square root keeps warm ranges visible beside a very hot one.
  const shadeOf = (value: number): number => Math.ceil(Math.sqrt(Math.max(0, value) / most) * shades - 1e-9);
  const paths = Array.from({ length: shades + 1 }, () => '');
  ranges.forEach(({ values, ahead: coming }, row) => {
    const cells = [...values, ...coming];
    for (let from = 0; from < cells.length; ) {
      const shade = shadeOf(cells[from] ?? 0);
      let to = from + 1;
      while (to < cells.length && shadeOf(cells[to] ?? 0) === shade) to += 1;
      const [x, y] = [(from * cellWidth).toFixed(1), row * rowHeight];
      if (shade > 0)
        paths[shade] += `M${x} ${y}h${((to - from) * cellWidth).toFixed(1)}v${rowHeight - 1}h-${((to - from) * cellWidth).toFixed(1)}z`;
      from = to;
    }
  });
  const hottest = ranges.reduce((best, range) => (Math.max(...range.values) > Math.max(...best.values) ? range : best));
  const point = (event: TargetedMouseEvent<SVGSVGElement>): void => {
    const box = event.currentTarget.getBoundingClientRect();
    const range = ranges[Math.floor(((event.clientY - box.top) / box.height) * ranges.length)];
    const step = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const value = range === undefined ? undefined : step < steps ? range.values[step] : range.ahead[step - steps];
    setPointed(
      range === undefined || value === undefined
        ? undefined
        : `range ${range.bucket} at ${minute(fromMs + step * stepMs)}: ${number(value, value < 10 ? 2 : 0)}${step < steps ? '' : ' expected'}`,
    );
  };
  return (
    <Panel title={`${collection}: ${metric} by key range`} aside={<span class="muted">{ranges.length} ranges that did something</span>}>
      <figure class="chart heat">
        <svg
          viewBox={`0 0 ${width} ${height}`}
          role="img"
          aria-label={`${metric} of ${collection} by key range over time; hottest is range ${hottest.bucket} with ${number(Math.max(...hottest.values), 1)}`}
          preserveAspectRatio="none"
          style={{ height: `${Math.max(56, Math.min(320, height))}px` }}
          onMouseMove={point}
          onMouseLeave={() => setPointed(undefined)}
        >
          {paths.map((path, shade) => (path === '' ? null : <path key={shade} d={path} class="heat-cell" opacity={shade / shades} />))}
          <line x1={steps * cellWidth} x2={steps * cellWidth} y1="0" y2={height} class="axis axis-now" />
        </svg>
        <figcaption>
          <span>{minute(fromMs)}</span>
          <span>{pointed ?? `darkest: ${number(most, most < 10 ? 1 : 0)}; right of the dashed line: expected`}</span>
          <span>{minute(fromMs + columns * stepMs)}</span>
        </figcaption>
      </figure>
    </Panel>
  );
}
