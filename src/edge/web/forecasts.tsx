/** What is to come for each hot range, who predicted it, and the suggestions that pay. */
import type { JSX } from 'preact';
import type { StoredForecast } from '../../io/store/forecasts.ts';
import type { StoredSuggestion } from '../../io/store/suggestions.ts';
import type { Listing, Me } from './api.ts';
import { LineBand } from './chart.tsx';
import { Copy, Empty, ExporterVariables } from './empty.tsx';
import { HeatMap } from './heat-map.tsx';
import { useNow, useResource } from './live.ts';
import { Ago, Panel, Tag, Waiting } from './parts.tsx';
import { isShown, SuggestionCard } from './suggestion-card.tsx';
import { number, span } from './words.ts';

type ForecastWithHistory = StoredForecast & { readonly id: string; readonly history?: readonly number[] };

/** Charts on one page; the rest is a filter or the API away. */
const shownForecasts = 12;

export function ForecastsPage({ me }: { readonly me: Me }): JSX.Element {
  const { data: forecasts, error } = useResource<Listing<ForecastWithHistory>>('/api/v1/forecasts?limit=200');
  const { data: suggestions } = useResource<Listing<StoredSuggestion>>('/api/v1/suggestions?limit=50', ['suggestion']);
  const nowMs = useNow(5_000);
  if (forecasts === undefined || suggestions === undefined) return <Waiting what="forecasts" error={error} />;
  if (forecasts.items.length === 0 && suggestions.items.length === 0) {
    return (
      <Empty title="No forecast yet">
        <p>
          Load and contention are counted from traces, by key range, for collections in the configuration. The first forecast comes with the
          first closed step, some ten minutes after the first trace; after a day of history the model has been compared with the simple
          rules often enough to be served where it wins.
        </p>
        <ExporterVariables />
        <p>To try it on a series of your own, without a server:</p>
        <Copy text="npx homeostat forecast load.csv --backtest" />
      </Empty>
    );
  }
  const hot = forecasts.items.toSorted((a, b) => peak(b) - peak(a)).slice(0, shownForecasts);
  const collections = [...new Set(forecasts.items.filter(({ series }) => series.bucket >= 0).map(({ series }) => series.collection))];
  const open = suggestions.items.filter((item) => isShown(item, nowMs));
  return (
    <div class="wide">
      {open.map((item) => (
        <SuggestionCard key={item.id} item={item} me={me} />
      ))}
      {open.length === 0 ? (
        <p class="muted">No suggestion: nothing was found whose gain is surely positive on the recorded history.</p>
      ) : null}
      {collections.map((collection) => (
        <HeatMap key={collection} collection={collection} metric="operations" />
      ))}
      <ServedBy items={forecasts.items} />
      <div class="cards">
        {hot.map((forecast) => (
          <ForecastCard key={forecast.id} forecast={forecast} nowMs={nowMs} />
        ))}
      </div>
      {forecasts.items.length > hot.length ? (
        <p class="muted">
          The {shownForecasts} hottest of {number(forecasts.items.length)} series.
        </p>
      ) : null}
    </div>
  );
}

/** One line over all series: who is served how often, and by which model on what. */
function ServedBy({ items }: { readonly items: readonly StoredForecast[] }): JSX.Element | null {
  const [newest] = items;
  if (newest === undefined) return null;
  const served = Map.groupBy(items, ({ servedBy }) => servedBy);
  const shares = [...served].toSorted((a, b) => b[1].length - a[1].length).map(([id, list]) => `${id} for ${number(list.length)}`);
  return (
    <p class="muted">
      Served: {shares.join(', ')} of {number(items.length)} series. Model: {newest.model}. The model is mixed with simple rules by what each
      was worth on this series; a rule is served alone where it surely did better.
    </p>
  );
}

function peak(forecast: StoredForecast): number {
  return Math.max(...forecast.values.map((row) => row[Math.floor(row.length / 2)] ?? 0));
}

function ForecastCard({ forecast, nowMs }: { readonly forecast: ForecastWithHistory; readonly nowMs: number }): JSX.Element {
  const { data } = useResource<ForecastWithHistory>(`/api/v1/forecasts/${encodeURIComponent(forecast.id)}`);
  const { series, levels } = forecast;
  const middle = levels.reduce((best, level, index) => (Math.abs(level - 0.5) < Math.abs((levels[best] ?? 0) - 0.5) ? index : best), 0);
  const last = levels.length - 1;
  const scores = Object.entries(forecast.scores).toSorted((a, b) => a[1] - b[1]);
  return (
    <Panel
      title={`${series.collection} ${series.bucket === -1 ? 'in all' : `range ${series.bucket}`}`}
      aside={
        <Tag tone="accent" title={forecast.because}>
          {forecast.servedBy}
        </Tag>
      }
    >
      <p class="muted">
        {series.metric} from {series.region === '' ? 'everywhere' : series.region} · every {span(forecast.stepMs)} · made{' '}
        <Ago ms={forecast.madeAtMs} nowMs={nowMs} />
      </p>
      <LineBand
        history={data?.history ?? []}
        band={{
          low: forecast.values.map((row) => row[0] ?? 0),
          middle: forecast.values.map((row) => row[middle] ?? 0),
          high: forecast.values.map((row) => row[last] ?? 0),
        }}
        label={`${series.metric} of ${series.collection}, history and forecast`}
        unit={series.metric}
      />
      <p class="muted">
        At most {number(forecast.maximum[last] ?? 0, 1)} over the horizon ({Math.round((levels[last] ?? 0) * 100)} %).{' '}
        {scores.length === 0
          ? 'Too little history to compare the model with the simple rules yet.'
          : `Error (MASE): ${scores.map(([name, score]) => `${name} ${score.toFixed(2)}`).join(', ')}.`}{' '}
        Served by {forecast.servedBy}: {forecast.because}.
      </p>
    </Panel>
  );
}
