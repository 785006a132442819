import { createHash } from 'node:crypto';
import { createRng } from '../../base/rng.ts';
import { meanScores, partsOf } from '../../forecast/backtest-panel.ts';
import { memberOf } from '../../forecast/examples.ts';
import type { Grid } from '../../forecast/time-grid.ts';
import { saveCheckpoint } from './checkpoint.ts';
import { openModelThread } from './model-thread.ts';
import { syntheticLoad } from './synthetic-load.ts';
import { defaultHidden, defaultTraining } from './training.ts';

/**
 * Trains the start model: the one that forecasts for a user who has no history yet. On generated load only, unless files are given;
 * the same seed, files and backend give the same weights.
 */
export interface StartModelRequest {
  readonly folder: string;
  readonly seed: number;
  readonly extra: readonly { readonly name: string; readonly grid: Grid }[];
  readonly log: (line: string) => void;
}

/** Another set of weights is another version: a released one is not edited. */
export const startModelId = 'contention-v2';

const series = 400;
const steps = 2_400;
const examples = 300_000;
const epochs = 8;

export async function trainStartModel({ folder, seed, extra, log }: StartModelRequest): Promise<void> {
  const panel = [...syntheticLoad(series, steps, createRng(seed).fork('load')), ...extra];
  const members = panel.map(({ name, grid }) => memberOf(name, grid, partsOf(grid.values.length).trainEnd));
  const digest = createHash('sha256');
  for (const { grid } of panel) digest.update(new Uint8Array(grid.values.buffer));
  const dataDigest = digest.digest('hex');
  const options = { ...defaultTraining, weightDecay: 0.03, epochs };
  const thread = await openModelThread();
  try {
    log(`training on ${panel.length} series with ${thread.backend}`);
    const trained = await thread.train({ members, seed, examples, hidden: defaultHidden, options });
    await thread.use(trained, null);
    const results = await thread.backtest(members, 6);
    const contenders = ['model', 'naive', 'seasonal-naive', 'exponential-smoothing', 'ridge'];
    const scores = Object.fromEntries(contenders.map((id) => [id, meanScores(results, id)]));
    const record = {
      seed,
      data: { generated: { series, steps, seed }, files: extra.map(({ name }) => name), sha256: dataDigest },
      windows: trained.windows,
      options,
      backend: thread.backend,
      seconds: Number(trained.seconds.toFixed(1)),
      losses: trained.losses.map((loss) => Number(loss.toPrecision(5))),
      scores,
    };
    await saveCheckpoint(folder, { id: startModelId, shape: trained.shape, weights: trained.weights }, record, cardOf(record));
    log(
      `wrote ${folder}: MASE ${scores['model']?.mase.toFixed(3)} on held-out generated load, naive ${scores['naive']?.mase.toFixed(3)}, ridge ${scores['ridge']?.mase.toFixed(3)}`,
    );
  } finally {
    await thread.close();
  }
}

function cardOf(record: {
  readonly seed: number;
  readonly data: {
    readonly generated: { readonly series: number; readonly steps: number };
    readonly files: readonly string[];
    readonly sha256: string;
  };
  readonly windows: number;
  readonly backend: string;
  readonly scores: Readonly<
    Record<
      string,
      { readonly mase: number; readonly wql: number; readonly coverage80: number; readonly coverage90: number; readonly coverage95: number }
    >
  >;
}): string {
  const rows = Object.entries(record.scores).map(
    ([id, s]) =>
      `| ${id} | ${s.mase.toFixed(3)} | ${s.wql.toFixed(4)} | ${(100 * s.coverage80).toFixed(1)} % | ${(100 * s.coverage90).toFixed(1)} % | ${(100 * s.coverage95).toFixed(1)} % |`,
  );
  return `# ${startModelId}

A global quantile network (two hidden layers and a linear skip) that forecasts the next 12 steps of a load series, and their maximum,
at nine quantile levels. It is the start model: it forecasts until an installation has history enough to train on, mixed with rules
and experts by what each was worth on the series (\`src/forecast/mix.ts\`); the scores below are the mixture's.

- **Trained on** ${record.data.generated.series} generated series of ${record.data.generated.steps} steps of a minute, five minutes and an hour (days, weeks, bursts, jobs, shifts, counters, sparse, flat and flickering load, gaps)${record.data.files.length > 0 ? ` and ${record.data.files.length} files` : ''}, ${record.windows} windows, seed ${record.seed}, on ${record.backend}. Data digest \`${record.data.sha256}\`. No data of anybody else.
- **Made again by** \`homeostat forecast --train models/contention/v2 --seed ${record.seed}\`.
- **Not trained on** any recorded load. Measured on recorded load it never saw by \`npm run bench -- forecast\`.
- **Not for** steps much shorter than a second or longer than a day, and not for series whose past says nothing of their future.

Scores on the last quarter of each generated series, which training did not see (mean over series):

| contender | MASE | WQL | in 80 % band | in 90 % | in 95 % |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`;
}
