import { parentPort, workerData } from 'node:worker_threads';
import { createRng } from '../../../src/base/rng.ts';
import { defaultOptions, type Finding } from '../../../src/detect/detector.ts';
import { isolation } from '../../../src/detect/detectors/isolation.ts';
import { createLearner } from '../../../src/detect/learned-structure.ts';
import { createPlaces } from '../../../src/detect/object-place.ts';
import { SentMessages } from '../../../src/detect/sent-messages.ts';
import { createStoreHistory } from './store-history.ts';
import { spentOn } from './time-spent.ts';

export interface CheckerRun {
  readonly perSecond: number;
  readonly cycles: number;
  readonly injected: number;
  readonly rssMb: number;
}

const context = { learned: createLearner(), messages: new SentMessages(60_000_000), placeOf: createPlaces([], []) };

/** The fold of the isolation checker over `transactions`, and the most memory that the process took meanwhile. */
function runChecker(transactions: number): CheckerRun {
  const fold = isolation.start(defaultOptions(isolation.options), context);
  const places = new Set<string>();
  const report = (finding: Finding) => places.add(finding.place);
  let rssMb = 0;
  let fed = 0;
  let newestUs = 0;
  const history = createStoreHistory(createRng(11));
  const spentMs = spentOn(history, transactions, (operations) => {
    for (const operation of operations) fold.step(operation, report);
    newestUs = operations.at(-1)?.endUs ?? newestUs;
    fold.advance(newestUs, report);
    fed += 1;
    if (fed % 50 === 0) rssMb = Math.max(rssMb, process.memoryUsage.rss() / 1e6);
  });
  fold.finish(newestUs, report);
  return { perSecond: transactions / (spentMs / 1000), cycles: places.size, injected: history.injected(), rssMb };
}

parentPort?.postMessage(runChecker(workerData as number));
