/** What comes in: accepted, rejected, and how fast, from the service's own metrics. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Empty, ExporterVariables } from './empty.tsx';
import { Panel, Problem, Waiting } from './parts.tsx';
import { number } from './words.ts';

interface Sample {
  readonly name: string;
  readonly labels: string;
  readonly value: number;
}

const everyMs = 2_000;

export function IngestPage(): JSX.Element {
  const [samples, setSamples] = useState<readonly Sample[] | undefined>();
  const [rates, setRates] = useState<ReadonlyMap<string, number>>(new Map());
  const [error, setError] = useState<string | null>(null);
  const last = useRef<{ readonly atMs: number; readonly samples: readonly Sample[] } | null>(null);
  useEffect(() => {
    const load = async (): Promise<void> => {
      try {
        const found = parseMetrics(await (await fetch('/metrics')).text());
        const before = last.current;
        const atMs = performance.now();
        if (before !== null) {
          const old = new Map(before.samples.map((sample) => [`${sample.name}${sample.labels}`, sample.value]));
          setRates(
            new Map(
              found.map((sample) => [
                `${sample.name}${sample.labels}`,
                ((sample.value - (old.get(`${sample.name}${sample.labels}`) ?? sample.value)) / (atMs - before.atMs)) * 1000,
              ]),
            ),
          );
        }
        last.current = { atMs, samples: found };
        setSamples(found);
        setError(null);
      } catch (failure) {
        setError(failure instanceof Error ? failure.message : String(failure));
      }
    };
    void load();
    const timer = setInterval(() => void load(), everyMs);
    return () => clearInterval(timer);
  }, []);
  if (samples === undefined) return error === null ? <Waiting what="metrics" /> : <Problem error={{ message: error }} />;
  const shown = samples.filter((sample) => /^homeostat_(ingest|otlp|journal|spans|operations|detect)/.test(sample.name));
  const hasSpans = shown.some((sample) => /spans/.test(sample.name) && sample.value > 0);
  return (
    <div class="wide">
      {hasSpans ? null : (
        <Empty title="No span has come in yet">
          <p>Point an exporter here; the first trace shows within seconds:</p>
          <ExporterVariables />
        </Empty>
      )}
      <Panel title="Ingest" aside={<a href="/metrics">all metrics</a>}>
        <div class="diff-scroll">
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">what</th>
                <th scope="col" class="right">
                  total
                </th>
                <th scope="col" class="right">
                  a second
                </th>
              </tr>
            </thead>
            <tbody>
              {shown.map((sample) => (
                <tr key={`${sample.name}${sample.labels}`}>
                  <th scope="row">
                    {sample.name
                      .replace(/^homeostat_/, '')
                      .replace(/_total$/, '')
                      .replaceAll('_', ' ')}{' '}
                    <span class="muted">{sample.labels}</span>
                  </th>
                  <td class="num">{number(sample.value, Number.isInteger(sample.value) ? 0 : 3)}</td>
                  <td class="num">{!sample.name.endsWith('_now') ? number(rates.get(`${sample.name}${sample.labels}`) ?? 0, 1) : ''}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
    </div>
  );
}

function parseMetrics(text: string): readonly Sample[] {
  return text.split('\n').flatMap((line) => {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    return match === null || line.startsWith('#') ? [] : [{ name: match[1] ?? '', labels: match[2] ?? '', value: Number(match[3]) }];
  });
}
