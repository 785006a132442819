import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { registerForecast } from '../../../src/edge/cli/forecast.ts';
import { type CliContext, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { registerQuorum } from '../../../src/edge/cli/quorum.ts';
import { registerSuggest } from '../../../src/edge/cli/suggest.ts';
import { Failure } from '../../../src/base/failure.ts';

let cwd = '';
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'forecast-cli-'));
});
afterAll(() => rm(cwd, { recursive: true }));

async function run(args: readonly string[]): Promise<{ readonly out: string; readonly err: string; readonly code: number }> {
  const out: string[] = [];
  const err: string[] = [];
  let code = 0;
  const context: CliContext = {
    out: (text) => out.push(text),
    err: (text) => err.push(text),
    isTty: false,
    cwd,
    env: {},
    signal: new AbortController().signal,
    exit: (value) => {
      code = value;
    },
    loadConfig: () => {
      throw new Failure('config', 'these commands need no config', 'never');
    },
  };
  await runProgram(createProgram(context, [registerForecast, registerSuggest, registerQuorum], '0.0.0'), context, args);
  return { out: out.join('\n'), err: err.join('\n'), code };
}

/** A day shape with a little noise that repeats: easy to forecast for whoever looks a day back. */
const dailyCsv = (days: number): string =>
  [
    'timestamp,value',
    ...Array.from(
      { length: days * 288 },
      (_, i) => `${1_704_067_200 + i * 300},${Math.round(1_000 + 800 * Math.sin((2 * Math.PI * i) / 288) + 20 * Math.sin(i * 7.3))}`,
    ),
  ].join('\n');

describe('homeostat forecast', () => {
  it('forecasts a series with ordered quantiles and says who is served', async () => {
    await writeFile(join(cwd, 'day.csv'), dailyCsv(5));
    const { out, code } = await run(['forecast', 'day.csv', '--json', '--horizon', '3']);
    const answer = JSON.parse(out) as {
      readonly series: string;
      readonly servedBy: string;
      readonly forecast: { readonly timestamp: string; readonly quantiles: number[] }[];
    };
    expect(code).toBe(0);
    expect(answer.series).toBe('day');
    expect(answer.forecast.map(({ timestamp }) => timestamp)).toEqual([
      '2024-01-06T00:00:00.000Z',
      '2024-01-06T00:05:00.000Z',
      '2024-01-06T00:10:00.000Z',
    ]);
    for (const { quantiles } of answer.forecast) {
      expect(quantiles).toEqual(quantiles.toSorted((a, b) => a - b));
      expect(Math.abs((quantiles[4] ?? 0) - 1_030)).toBeLessThan(60);
    }
  });

  it('scores model and baselines on held-out time', async () => {
    const { out } = await run(['forecast', 'day.csv', '--backtest', '--json']);
    const lines = out.split('\n').map((line) => JSON.parse(line) as Record<string, Record<string, Record<string, { mase: number }>>>);
    const scores = lines.at(-1)?.['summary']?.['scores'];
    expect(Object.keys(scores ?? {})).toEqual(['model', 'naive', 'seasonal-naive', 'exponential-smoothing', 'ridge', 'served']);
    expect(scores?.['served']?.mase).toBeLessThan(scores?.['naive']?.mase ?? 0);
  });

  it('forecasts a whole day ahead, with a band that earlier days earned', async () => {
    const { out, code } = await run(['forecast', 'day.csv', '--json', '--horizon', '288']);
    const answer = JSON.parse(out) as { readonly servedBy: string; readonly forecast: { readonly quantiles: number[] }[] };
    expect(code).toBe(0);
    expect(answer.forecast).toHaveLength(288);
    answer.forecast.forEach(({ quantiles }, i) => {
      expect(quantiles).toEqual(quantiles.toSorted((a, b) => a - b));
      // The last value, 800 high in the morning, would be off by up to 800 in the afternoon.
      expect(Math.abs((quantiles[4] ?? 0) - (1_000 + 800 * Math.sin((2 * Math.PI * i) / 288)))).toBeLessThan(200);
    });
  });

  it('says in one sentence what is wrong with a file', async () => {
    await writeFile(join(cwd, 'bad.csv'), 't,v\n1704067200,1\n1704067500,x\n');
    expect(await run(['forecast', 'bad.csv'])).toEqual({ out: '', err: 'bad.csv:3: "x" is no number', code: 2 });
    expect((await run(['forecast', 'none.csv'])).err).toMatch(/^cannot read none.csv/);
    expect((await run(['forecast'])).code).toBe(2);
    expect((await run(['forecast', 'day.csv', '--horizon', '9999'])).err).toMatch(/from 1 to 2016/);
    expect((await run(['forecast', 'day.csv', '--horizon', '24', '--backtest'])).err).toMatch(/scores 12 steps ahead/);
  });
});

describe('homeostat suggest', () => {
  it('replays decisions and answers with regret and moves of ours and the reactive rule', async () => {
    const { out, code } = await run(['suggest', '--replay', 'day.csv', '--delay-steps', '6', '--json']);
    const [series, last] = out
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number> & { readonly summary: Record<string, number> });
    expect(code).toBe(0);
    expect(series?.['costOracle']).toBeLessThanOrEqual(series?.['cost'] ?? 0);
    expect(last?.summary['regret']).toBeLessThanOrEqual(last?.summary['regretReactive'] ?? 0);
  });

  it('refuses a record that is too short to judge', async () => {
    await writeFile(join(cwd, 'short.csv'), dailyCsv(1));
    expect((await run(['suggest', '--replay', 'short.csv'])).err).toMatch(/no series has the 400 steps/);
    expect((await run(['suggest'])).err).toBe('give the recorded load with --replay FILE.csv');
  });
});

describe('homeostat quorum', () => {
  const legs = { w: [5, 6, 40], a: [1, 1, 1], r: [1, 2, 1], s: [1, 1, 1] };

  it('lists every (R, W) and chooses under the SLO', async () => {
    await writeFile(
      join(cwd, 'q.json'),
      JSON.stringify({ n: 3, latencies: legs, slo: { freshShare: 0.999, faults: 1 }, current: { r: 1, w: 1 }, trials: 2_000 }),
    );
    const { out, code } = await run(['quorum', 'q.json', '--json']);
    const answer = JSON.parse(out) as {
      readonly settings: { readonly r: number; readonly w: number; readonly fresh: number }[];
      readonly chosen: unknown;
    };
    expect(code).toBe(0);
    expect(answer.settings).toHaveLength(9);
    expect(answer.settings.find(({ r, w }) => r === 2 && w === 2)?.fresh).toBe(1);
    expect(answer.chosen).toEqual({ r: 2, w: 2 });
  });

  it('exits 1 where no setting keeps the promises, 2 where the file is wrong', async () => {
    await writeFile(join(cwd, 'hard.json'), JSON.stringify({ n: 3, latencies: legs, slo: { readP99Ms: 0.1 }, trials: 1_000 }));
    expect((await run(['quorum', 'hard.json'])).code).toBe(1);
    await writeFile(join(cwd, 'wrong.json'), JSON.stringify({ n: 3, latencies: { ...legs, s: undefined } }));
    expect(await run(['quorum', 'wrong.json'])).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^wrong.json: latencies.s: /) as unknown,
    });
  });
});
