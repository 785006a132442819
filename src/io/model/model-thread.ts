import { Worker } from 'node:worker_threads';
import { Failure } from '../../base/failure.ts';
import { type AnswerSettings, defaultAnswer } from '../../forecast/answer.ts';
import type { SeriesBacktest } from '../../forecast/backtest-panel.ts';
import type { Member } from '../../forecast/examples.ts';
import type { FarForecast } from '../../forecast/far.ts';
import { defaultRound, type RoundOptions, type SeriesForecast } from '../../forecast/round.ts';
import type { BackendName } from './backend.ts';
import type { TrainOptions } from './network.ts';
import type { Weights } from './network-shape.ts';
import { defaultExamples, defaultHidden } from './training.ts';
import type { Network, Trained, WorkerAnswer, WorkerRequest } from './worker.ts';

export interface TrainRequest {
  readonly members: readonly Member[];
  readonly examples?: number;
  readonly hidden?: readonly [number, number];
  /** By default as many epochs as the number of windows asks for. */
  readonly options?: TrainOptions;
  readonly seed: number;
  /** Weights to go on from: a start model on a user's own history. */
  readonly start?: Weights | undefined;
}

/** A worker thread that trains and forecasts. Hold one; `close` ends it. Calls after `close`, or when the thread died, fail. */
export interface ModelThread {
  readonly backend: BackendName;
  train(request: TrainRequest): Promise<Trained>;
  /**
   * The model that the following rounds use, and what it was trained from: that has seen none of the series, so it stands in for the model
   * where that has. Null where it was not trained from anything; a start model is its own.
   */
  use(model: Network, trainedFrom: Network | null): Promise<void>;
  round(
    members: readonly Member[],
    options?: RoundOptions,
    refit?: boolean,
  ): Promise<{ readonly forecasts: readonly SeriesForecast[]; readonly seconds: number }>;
  /** Forecasts further ahead than the network's twelve steps; see `forecastFar`. */
  far(members: readonly Member[], steps: number, isNonNegative: boolean): Promise<readonly FarForecast[]>;
  /** Rolling-origin scores of the model in use and all baselines; members' `upTo` is the end of their training part. */
  backtest(members: readonly Member[], stride: number, settings?: AnswerSettings): Promise<readonly SeriesBacktest[]>;
  /** Calibrated quantiles at every step in [from, to), each made with what was known at that step: outputs x levels a step. */
  quantiles(member: Member, from: number, to: number): Promise<Float64Array>;
  close(): Promise<void>;
}

/** Requests that may wait for the thread; a caller that does not wait for its answers is stopped here. */
const maxPending = 64;

export async function openModelThread(backend?: BackendName): Promise<ModelThread> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url));
  const pending = new Map<number, { resolve: (answer: WorkerAnswer) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  let dead: Error | undefined;
  const die = (error: Error): void => {
    dead ??= error;
    for (const { reject } of pending.values()) reject(error);
    pending.clear();
  };
  worker.on('message', (answer: WorkerAnswer) => {
    const waiting = pending.get(answer.id);
    pending.delete(answer.id);
    if (answer.is === 'failed')
      waiting?.reject(new Failure('model-failed', `the model thread could not answer: ${answer.message}`, 'later'));
    else waiting?.resolve(answer);
  });
  worker.on('error', (error) =>
    die(new Failure('model-thread-died', 'the model thread died; forecasts stop until the service is started again', 'later', error)),
  );
  worker.on('exit', () => die(new Failure('model-thread-closed', 'the model thread has ended', 'never')));
  const ask = (request: WorkerRequest): Promise<WorkerAnswer> => {
    if (dead !== undefined) return Promise.reject(dead);
    if (pending.size >= maxPending)
      return Promise.reject(new Failure('model-busy', 'the model thread has too many requests waiting', 'later'));
    lastId += 1;
    const id = lastId;
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject });
      worker.postMessage({ id, request });
    });
  };
  const opened = await ask({ is: 'open', backend: backend ?? null });
  if (opened.is !== 'opened') throw new Failure('model-failed', 'the model thread answered out of turn', 'never');
  return {
    backend: opened.backend,
    train: async ({ members, examples = defaultExamples, hidden = defaultHidden, options, seed, start }) => {
      const answer = await ask({ is: 'train', members, examples, hidden, options: options ?? null, seed, start: start ?? null });
      if (answer.is !== 'trained') throw new Failure('model-failed', 'the model thread answered out of turn', 'never');
      return answer;
    },
    use: async (model, trainedFrom) => {
      const only = ({ shape, weights }: Network): Network => ({ shape, weights });
      await ask({ is: 'use', model: only(model), trainedFrom: trainedFrom === null ? null : only(trainedFrom) });
    },
    round: async (members, options = defaultRound, refit = false) => {
      const answer = await ask({ is: 'round', members, options, refit });
      if (answer.is !== 'forecast') throw new Failure('model-failed', 'the model thread answered out of turn', 'never');
      return answer;
    },
    far: async (members, steps, isNonNegative) => {
      const answer = await ask({ is: 'far', members, steps, isNonNegative });
      if (answer.is !== 'far') throw new Failure('model-failed', 'the model thread answered out of turn', 'never');
      return answer.forecasts;
    },
    backtest: async (members, stride, settings = defaultAnswer) => {
      const answer = await ask({ is: 'backtest', members, stride, settings });
      if (answer.is !== 'backtested') throw new Failure('model-failed', 'the model thread answered out of turn', 'never');
      return answer.results;
    },
    quantiles: async (member, from, to) => {
      const answer = await ask({ is: 'quantiles', member, from, to });
      if (answer.is !== 'quantiles') throw new Failure('model-failed', 'the model thread answered out of turn', 'never');
      return answer.quantiles;
    },
    close: async () => {
      dead ??= new Failure('model-thread-closed', 'the model thread has ended', 'never');
      await worker.terminate();
    },
  };
}
