/**
 * Counters, gauges and histograms of this process, rendered as Prometheus text (exposition format 0.0.4). A metric's series are
 * bounded: labels come from configuration, never from input, and what exceeds the bound is counted as one series `other`.
 */
export interface Metrics {
  count(name: string, labels?: Labels, by?: number): void;
  gauge(name: string, value: number, labels?: Labels): void;
  /** Seconds. */
  observe(name: string, seconds: number, labels?: Labels): void;
  /** Figures that somebody else keeps, read when the page is asked for. */
  collect(name: string, help: string, type: 'counter' | 'gauge', read: () => readonly Sample[]): void;
  render(): string;
}

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

const maximumSeries = 1_000;
const bucketsSeconds = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

interface Histogram {
  readonly labels: Labels;
  readonly buckets: number[];
  sum: number;
  count: number;
}

/** `help` says what each metric is; one that is not in it is a programming error and throws. */
export function createMetrics(help: Readonly<Record<string, string>>): Metrics {
  const counters = new Map<string, Map<string, { labels: Labels; value: number }>>();
  const gauges = new Map<string, Map<string, { labels: Labels; value: number }>>();
  const histograms = new Map<string, Map<string, Histogram>>();
  const collected: { name: string; help: string; type: string; read: () => readonly Sample[] }[] = [];
  const helpOf = (name: string): string => {
    const text = help[name];
    if (text === undefined) throw new RangeError(`metric ${name} is not described`);
    return text;
  };
  function seriesOf<S>(metrics: Map<string, Map<string, S>>, name: string, labels: Labels, make: (labels: Labels) => S): S {
    helpOf(name);
    let series = metrics.get(name);
    if (series === undefined) metrics.set(name, (series = new Map()));
    const bounded = series.size < maximumSeries || series.has(labelText(labels)) ? labels : { series: 'other' };
    const key = labelText(bounded);
    let one = series.get(key);
    if (one === undefined) series.set(key, (one = make(bounded)));
    return one;
  }
  return {
    count: (name, labels = {}, by = 1) => {
      seriesOf(counters, name, labels, (own) => ({ labels: own, value: 0 })).value += by;
    },
    gauge: (name, value, labels = {}) => {
      seriesOf(gauges, name, labels, (own) => ({ labels: own, value: 0 })).value = value;
    },
    observe: (name, seconds, labels = {}) => {
      const histogram = seriesOf(
        histograms,
        name,
        labels,
        (own): Histogram => ({ labels: own, buckets: bucketsSeconds.map(() => 0), sum: 0, count: 0 }),
      );
      histogram.sum += seconds;
      histogram.count += 1;
      for (const [index, bound] of bucketsSeconds.entries())
        if (seconds <= bound) histogram.buckets[index] = (histogram.buckets[index] ?? 0) + 1;
    },
    collect: (name, text, type, read) => void collected.push({ name, help: text, type, read }),
    render: () => {
      const lines: string[] = [];
      for (const [metrics, type] of [
        [counters, 'counter'],
        [gauges, 'gauge'],
      ] as const) {
        for (const [name, series] of metrics) {
          lines.push(`# HELP ${name} ${helpOf(name)}`, `# TYPE ${name} ${type}`);
          for (const { labels, value } of series.values()) lines.push(`${name}${labelText(labels)} ${value}`);
        }
      }
      for (const [name, series] of histograms) {
        lines.push(`# HELP ${name} ${helpOf(name)}`, `# TYPE ${name} histogram`);
        for (const histogram of series.values()) {
          for (const [index, bound] of bucketsSeconds.entries()) {
            lines.push(`${name}_bucket${labelText({ ...histogram.labels, le: String(bound) })} ${histogram.buckets[index] ?? 0}`);
          }
          lines.push(`${name}_bucket${labelText({ ...histogram.labels, le: '+Inf' })} ${histogram.count}`);
          lines.push(
            `${name}_sum${labelText(histogram.labels)} ${histogram.sum}`,
            `${name}_count${labelText(histogram.labels)} ${histogram.count}`,
          );
        }
      }
      for (const { name, help: text, type, read } of collected) {
        const samples = read();
        if (samples.length === 0) continue;
        lines.push(`# HELP ${name} ${text}`, `# TYPE ${name} ${type}`);
        for (const sample of samples) lines.push(`${name}${labelText(sample.labels ?? {})} ${sample.value}`);
      }
      return `${lines.join('\n')}\n`;
    },
  };
}

function labelText(labels: Labels): string {
  const entries = Object.entries(labels);
  if (entries.length === 0) return '';
  return `{${entries
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`)
    .join(',')}}`;
}
