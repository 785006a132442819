import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from './config.ts';
import { createLagBook } from './detect/measured-lag.ts';
import type { Journal } from './io/journal/journal.ts';
import type { TlsFiles } from './io/otlp/tls-files.ts';
import type { Queue } from './io/queue/queue.ts';
import { saveForecasts } from './io/store/forecasts.ts';
import { loadSeriesBlock, packSeries, saveSeriesPoints } from './io/store/series.ts';
import { saveSuggestions } from './io/store/suggestions.ts';
import { sayError } from './io/telemetry/log.ts';
import type { RuntimeContext } from './runtime/context.ts';
import { listToldFindings } from './io/store/anomalies.ts';
import { listLearned } from './io/store/learned.ts';
import { detectStageOptions } from './runtime/detect-options.ts';
import { startDetectLoop } from './runtime/detect-loop.ts';
import { startForecastLoop } from './runtime/forecast-loop.ts';
import { type Ingest, startIngest } from './runtime/ingest-loop.ts';
import { startMeasureLoop } from './runtime/measure-loop.ts';
import { startLoops } from './runtime/start-loops.ts';
import { openSuggestionPlaces } from './runtime/suggestion-places.ts';

/*
 * The path on one page. Each stage is pure and lives in the folder of its name; each arrow is a loop in runtime/ that feeds the
 * stage, carries out what it returns, and keeps it in our own PostgreSQL (io/store), which is the truth. The queue only rings.
 *
 *   OTLP bytes ─ ingest ─► Operation[] ─┬─ detect ───► Anomaly ─────┐      ingest-loop, then detect-loop on its own thread
 *                                       ├─ write evidence ──────────┤
 *                                       └─ forecast ─► Forecast,    │      forecast-loop
 *                                                      Suggestion   │
 *              └► Measurement[] ─► lag in findings' words, series           measure-loop
 *   replicas ─ digests ─ detect/localize ─► Divergence ─► Case ◄────┘      scan-loop
 *   replicas ─ keys that were written ─► compared, suspects ─┘             change-loop: feeds of the stores, and write evidence
 *                                                          │ bell `propose`
 *   Case ─ propose ─► Candidate[] ─ rank, choose ─► Proposal ─ guard ─► Verdict      propose-worker
 *          auto: a Repair and its bell; review: waits for people (approval-queue); deny: on record
 *                                                          │ bell `repair`
 *   Repair ─ guard again ─ apply ─► rows on replicas ─ verify ─► Outcome             repair-worker
 *          sealed: divergences closed; not equal: undone, breaker open; a row changed: proposed again
 */

export interface Pipeline {
  readonly ingest: Ingest | undefined;
  /** What comes in last goes out first: exporters are told to wait, then what is acknowledged is finished. */
  close(): Promise<void>;
}

export interface PipelineOptions {
  readonly config: Config;
  readonly queue: Queue;
  /** Where operations come in, and the PEM texts of TLS; absent: this process does not take them. */
  readonly ingest?: {
    readonly host: string;
    readonly httpPort: number;
    readonly grpcPort: number;
    readonly journal: Journal;
    readonly tls?: TlsFiles;
  };
  /** Whether this process compares, proposes and repairs. */
  readonly isWorker: boolean;
  readonly isOnlyProcess: boolean;
  readonly dataDir: string;
}

const shutdownGraceMs = 20_000;
const modelDir = fileURLToPath(new URL('../models/contention/v2', import.meta.url));

export async function startPipeline(context: RuntimeContext, options: PipelineOptions): Promise<Pipeline> {
  const { config } = options;
  const loops = options.isWorker ? await startLoops(context, options.queue, { isOnlyProcess: options.isOnlyProcess }) : undefined;
  const closeLoops = (): Promise<void> => (loops ?? options.queue).close(shutdownGraceMs);
  try {
    const intake = options.ingest === undefined ? undefined : await startIntake(context, config, options.ingest, options.dataDir);
    return {
      ingest: intake?.ingest,
      close: async () => {
        await intake?.close();
        await closeLoops();
      },
    };
  } catch (error) {
    await closeLoops();
    throw error;
  }
}

async function startIntake(
  context: RuntimeContext,
  config: Config,
  intake: NonNullable<PipelineOptions['ingest']>,
  dataDir: string,
): Promise<{ readonly ingest: Ingest; close(): Promise<void> }> {
  const { database, clock, log } = context;
  const collections = Object.values(context.collections);
  const lag = createLagBook();
  const earlier = { known: await listLearned(database), told: await listToldFindings(database) };
  const detect = startDetectLoop(context, { ...detectStageOptions(config, earlier), waitingDirectory: dataDir }, (anomaly) =>
    lag.explain(anomaly),
  );
  const measure = startMeasureLoop({
    database,
    clock,
    onError: (error) => log('warn', `measurements wait for the store: ${sayError(error)}`),
  });
  const forecast = config.forecast.enabled
    ? startForecastLoop({
        store: {
          saveSeriesPoints: (points) => saveSeriesPoints(database, points),
          loadSeriesBlock: (stepMs, fromMs) => loadSeriesBlock(database, stepMs, fromMs),
          packSeries: (stepMs, beforeMs) => database.transaction((tx) => packSeries(tx, stepMs, beforeMs)),
          saveForecasts: (forecasts) => saveForecasts(database, forecasts),
          saveSuggestions: (suggestions, names) => database.transaction((tx) => saveSuggestions(tx, suggestions, names, clock.nowMs())),
        },
        drain: (nowMs) => detect.drainFeatures(nowMs),
        drainLooks: () => detect.drainLooks(),
        drainLegs: () => detect.drainLegs(),
        clock,
        collections,
        domains: context.domains,
        stepMs: config.forecast.stepMs,
        modelDir,
        ownModelDir: join(dataDir, 'models'),
        retrain: config.forecast.retrain,
        places: openSuggestionPlaces(Object.values(config.targets), context.targets ?? {}, database, (error) =>
          log('warn', `targets: ${sayError(error)}`),
        ),
        onError: (error) => log('warn', `forecast: ${sayError(error)}`),
        log: (line) => log('info', line),
      })
    : undefined;
  const closeConsumers = async (): Promise<void> => {
    await measure.close();
    await forecast?.close();
    await detect.close();
  };
  const ingest = await startIngest({
    host: intake.host,
    httpPort: intake.httpPort,
    grpcPort: intake.grpcPort,
    journal: intake.journal,
    clock,
    logKeys: config.ingest.logKeys,
    corsOrigins: config.ingest.corsOrigins,
    largestBodyBytes: config.ingest.maxBodyMb * 1024 * 1024,
    ...(config.ingest.token === undefined ? {} : { token: config.ingest.token }),
    ...(intake.tls === undefined ? {} : { tls: intake.tls }),
    consumer: detect.consumer,
    onMeasurements: (measurements) => {
      lag.observe(measurements);
      forecast?.measure(measurements);
      measure.observe(measurements);
    },
    onFailure: (error) => log('warn', `operations wait to be processed: ${sayError(error)}`),
  }).catch(async (error: unknown) => {
    // A port that is taken: what was started for it must not outlive its stores.
    await closeConsumers();
    throw error;
  });
  return {
    ingest,
    close: async () => {
      await ingest.close();
      await closeConsumers();
    },
  };
}
