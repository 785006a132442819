/** Plain SVG charts: no library, no axis that is not needed. */
import type { JSX } from 'preact';
import { number } from './words.ts';

const width = 560;

export function Bars({
  series,
  label,
  from,
  to,
}: {
  readonly series: readonly { readonly name: string; readonly tone: string; readonly values: readonly number[] }[];
  readonly label: string;
  readonly from: string;
  readonly to: string;
}): JSX.Element {
  const height = 96;
  const bars = series[0]?.values.length ?? 0;
  const totals = Array.from({ length: bars }, (_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
  const most = Math.max(1, ...totals);
  const step = width / Math.max(1, bars);
  return (
    <figure class="chart">
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`${label}; at most ${most}`} preserveAspectRatio="none">
        {Array.from({ length: bars }, (_, index) => {
          let top = height;
          return series.map((one) => {
            const value = one.values[index] ?? 0;
            const size = (value / most) * (height - 4);
            top -= size;
            return value === 0 ? null : (
              <rect
                key={`${one.name} ${index}`}
                class={`bar-${one.tone}`}
                x={index * step + 1}
                y={top}
                width={Math.max(1, step - 2)}
                height={size}
                rx="1"
              >
                <title>{`${value} ${one.name}`}</title>
              </rect>
            );
          });
        })}
        <line x1="0" x2={width} y1={height - 0.5} y2={height - 0.5} class="axis" />
      </svg>
      <figcaption>
        <span>{from}</span>
        <span>
          {series.map((one) => (
            <span key={one.name} class={`legend legend-${one.tone}`}>
              {one.name}
            </span>
          ))}
        </span>
        <span>{to}</span>
      </figcaption>
    </figure>
  );
}

export interface Band {
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly middle: readonly number[];
}

/** History as one line, then the band and median of what is to come. */
export function LineBand({
  history,
  band,
  label,
  unit,
}: {
  readonly history: readonly number[];
  readonly band?: Band;
  readonly label: string;
  readonly unit: string;
}): JSX.Element {
  const height = 140;
  const count = history.length + (band?.middle.length ?? 0);
  const most = Math.max(1e-9, ...history, ...(band?.high ?? []));
  const x = (index: number): number => (count <= 1 ? 0 : (index / (count - 1)) * width);
  const y = (value: number): number => height - 4 - (Math.max(0, value) / most) * (height - 12);
  const line = (values: readonly number[], offset: number): string =>
    values.map((value, index) => `${index === 0 ? 'M' : 'L'}${x(index + offset).toFixed(1)} ${y(value).toFixed(1)}`).join('');
  const start = history.length;
  const lastValue = history.at(-1);
  const joined = (values: readonly number[]): readonly number[] => (lastValue === undefined ? values : [lastValue, ...values]);
  const offset = lastValue === undefined ? start : start - 1;
  const edge = (values: readonly number[]): readonly string[] =>
    joined(values).map((value, index) => `${x(index + offset).toFixed(1)} ${y(value).toFixed(1)}`);
  const area = band === undefined ? '' : `M${[...edge(band.high), ...edge(band.low).toReversed()].join('L')}Z`;
  return (
    <figure class="chart">
      <svg
        viewBox={`0 0 ${width} ${height}`}
        role="img"
        aria-label={`${label}; at most ${number(most, 1)} ${unit}`}
        preserveAspectRatio="none"
      >
        {band === undefined ? null : <path d={area} class="band" />}
        <path d={line(history, 0)} class="line" />
        {band === undefined ? null : <path d={line(joined(band.middle), offset)} class="line line-ahead" />}
        <line x1={x(Math.max(0, start - 1))} x2={x(Math.max(0, start - 1))} y1="0" y2={height} class="axis axis-now" />
      </svg>
      <figcaption>
        <span>
          up to {number(most, most < 10 ? 1 : 0)} {unit}
        </span>
        <span>{band === undefined ? '' : 'band: what is to come'}</span>
      </figcaption>
    </figure>
  );
}

/** Two curves over the same time. */
export function TwoLines({
  a,
  b,
  label,
}: {
  readonly a: { readonly name: string; readonly values: readonly number[] };
  readonly b: { readonly name: string; readonly values: readonly number[] };
  readonly label: string;
}): JSX.Element {
  const height = 90;
  const most = Math.max(1e-9, ...a.values, ...b.values);
  const line = (values: readonly number[]): string =>
    values
      .map(
        (value, index) =>
          `${index === 0 ? 'M' : 'L'}${((index / Math.max(1, values.length - 1)) * width).toFixed(1)} ${(height - 4 - (value / most) * (height - 8)).toFixed(1)}`,
      )
      .join('');
  return (
    <figure class="chart">
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label} preserveAspectRatio="none">
        <path d={line(a.values)} class="line line-without" />
        <path d={line(b.values)} class="line" />
      </svg>
      <figcaption>
        <span class="legend legend-without">{a.name}</span>
        <span class="legend legend-accent">{b.name}</span>
      </figcaption>
    </figure>
  );
}
