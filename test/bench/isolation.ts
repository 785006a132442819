import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { KeyedDetector } from '../../src/detect/detector.ts';
import { isolation } from '../../src/detect/detectors/isolation.ts';
import { lostUpdate } from '../../src/detect/detectors/lost-update.ts';
import { nonMonotonicRead } from '../../src/detect/detectors/non-monotonic-read.ts';
import { readYourWrites } from '../../src/detect/detectors/read-your-writes.ts';
import { staleRead } from '../../src/detect/detectors/stale-read.ts';
import { versionFork } from '../../src/detect/detectors/version-fork.ts';
import { defaultOptions } from '../../src/detect/detector.ts';
import { KeyedObjects } from '../../src/detect/keyed-objects.ts';
import { createLearner } from '../../src/detect/learned-structure.ts';
import { createPlaces } from '../../src/detect/object-place.ts';
import { createDetection } from '../../src/detect/run.ts';
import { SentMessages } from '../../src/detect/sent-messages.ts';
import { createRng } from '../../src/base/rng.ts';
import type { Operation } from '../../src/domain/operation.ts';
import type { Bench } from './bench.ts';
import { measureDetectionDelay } from './isolation/detection-delay.ts';
import { measureDetectorCosts } from './isolation/detector-costs.ts';
import type { CheckerRun } from './isolation/run-checker.ts';
import { createStoreHistory } from './isolation/store-history.ts';
import { chunk, spentOn } from './isolation/time-spent.ts';

/** As `runtime/detect-thread.ts` has it. */
const nurseryMb = 24;
const context = { learned: createLearner(), messages: new SentMessages(60_000_000), placeOf: createPlaces([], []) };

/**
 * A store under snapshot isolation with a fixed rate of injected write skew, as fast as it can be fed, in order of ends: transactions of
 * five operations over 10,000 keys, half reads. The checker's own time is measured, not the making of the history. `engine_txn_per_s` goes
 * through the whole engine (ordering by watermark, duplicates, traces). Baseline: the same fold with the work taken out.
 *
 * Then what each detector costs on ordinary spans (`own_us_*`, beside the engine alone), what all cost together, and how that compares with the
 * sum: near or below 1 means that none slows another. And how long after the watermark a finding leaves the detectors' thread.
 */
export const bench: Bench = {
  name: 'isolation',
  says: 'transactions a second through the isolation checker, session checks a second, cost of each detector, delay, memory',
  parts: ['checker', 'sessions', 'costs', 'delay'],
  run: async ({ quick, only, log }) => {
    const wants = (part: string): boolean => only?.includes(part) !== false;
    const transactions = quick ? 150_000 : 2_000_000;
    const figures: Record<string, number> = {};
    const baseline: Record<string, number> = {};
    if (wants('checker')) {
      const checked = await runChecker(transactions);
      log(`checker: ${checked.cycles} cycles told of ${checked.injected} injected; peak ${Math.round(checked.rssMb)} MB`);
      figures['txn_per_s'] = Math.round(checked.perSecond);
      figures['rss_mb'] = Math.round(checked.rssMb);
      figures['recall'] = checked.cycles / checked.injected;
      figures['engine_txn_per_s'] = Math.round(runEngine(Math.floor(transactions / 5)));
      baseline['loop_txn_per_s'] = Math.round(runLoop(Math.floor(transactions / 5)));
    }
    if (wants('sessions')) {
      const sessions = runSessions(quick ? 1_500_000 : 5_000_000, [readYourWrites, nonMonotonicRead]);
      const keyed = runSessions(quick ? 700_000 : 2_500_000, [readYourWrites, nonMonotonicRead, staleRead, versionFork, lostUpdate]);
      log(
        `sessions: ${sessions.pairs} pairs of session and object remembered in ${Math.round(sessions.stateMb)} MB, ${sessions.found} findings`,
      );
      figures['session_ops_per_s'] = Math.round(sessions.perSecond);
      figures['session_share'] = sessions.share;
      figures['session_state_mb'] = Math.round(sessions.stateMb);
      figures['keyed_ops_per_s'] = Math.round(keyed.perSecond);
    }
    if (wants('costs')) {
      const { engineUs, allUs, ownUs } = measureDetectorCosts(quick ? 30_000 : 200_000, 5);
      figures['engine_us_per_span'] = engineUs;
      figures['all_detectors_us_per_span'] = allUs;
      figures['all_vs_sum_of_each'] = allUs / [...ownUs.values()].reduce((sum, us) => sum + us, engineUs);
      for (const [id, us] of ownUs) figures[`own_us_${id.replaceAll('-', '_')}`] = us;
    }
    if (wants('delay')) {
      const { p50Ms, p95Ms, found } = await measureDetectionDelay(quick ? 3 : 20);
      figures['delay_after_watermark_p50_ms'] = p50Ms;
      figures['delay_after_watermark_p95_ms'] = p95Ms;
      figures['delay_found_share'] = found;
    }
    return { figures, baseline };
  },
};

/** In a thread with the nursery that the service gives its detectors: what V8 would take without a limit says nothing of the checker. */
async function runChecker(transactions: number): Promise<CheckerRun> {
  const worker = new Worker(new URL('isolation/run-checker.ts', import.meta.url), {
    workerData: transactions,
    resourceLimits: { maxYoungGenerationSizeMb: nurseryMb, maxOldGenerationSizeMb: 768 },
  });
  const [checked] = (await once(worker, 'message')) as [CheckerRun];
  await worker.terminate();
  return checked;
}

function runEngine(transactions: number): number {
  const detection = createDetection({ only: [isolation], latenessMs: 100, traceIdleMs: 100, tracePatienceMs: 100 });
  const spentMs = spentOn(createStoreHistory(createRng(12)), transactions, (operations) => {
    detection.add(operations);
    detection.advanceToLateness();
  });
  return transactions / (spentMs / 1000);
}

/** What walking the same operations costs with nothing checked. */
function runLoop(transactions: number): number {
  let sum = 0;
  const spentMs = spentOn(createStoreHistory(createRng(13)), transactions, (operations) => {
    for (const operation of operations) sum += operation.endUs + (operation.facts?.objectKey.length ?? 0);
  });
  return sum > 0 ? transactions / (spentMs / 1000) : 0;
}

/** Room for all that is remembered: an operation that sampling left out would be counted as checked. */
const sessionBytesMax = 1_000_000_000;
const warmUpShare = 0.25;

interface SessionRun {
  readonly perSecond: number;
  readonly found: number;
  readonly share: number;
  readonly stateMb: number;
  readonly pairs: number;
}

/**
 * An operation is one read or write of one object in one session, checked for all guarantees of `detectors`, by what the service runs between
 * its queue of facts and the detectors. A fifth of them is the first of its session on its object (ten million pairs are possible), which
 * remembers more than ordinary services have to. The first quarter is not counted: code is compiled and tables have grown by then.
 */
function runSessions(count: number, detectors: readonly KeyedDetector[]): SessionRun {
  let found = 0;
  const report = () => {
    found += 1;
  };
  const folds = detectors.map((detector) => ({
    scope: detector.scope,
    fold: detector.start(defaultOptions(detector.options), context),
    report,
  }));
  const objects = new KeyedObjects(folds, 600_000_000, sessionBytesMax, 1);
  const history = createStoreHistory(createRng(14));
  for (let done = 0; done < (count * warmUpShare) / 5; done += chunk) objects.run(history.next(chunk));
  let done = 0;
  const feed = (operations: readonly Operation[]): void => {
    objects.run(operations);
    done += operations.length;
  };
  // What is remembered lies in typed arrays.
  const spentMs = spentOn(history, count / 5, feed, 0.5);
  return { perSecond: done / (spentMs / 1000), found, share: objects.share, stateMb: objects.bytes / 1e6, pairs: objects.pairs };
}
