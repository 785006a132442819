import { createRng } from '../../../src/base/rng.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { createStoreHistory } from './store-history.ts';

/** Transactions made and then fed at once: what a decoder has just made is still in the processor's cache, and dies young. */
export const chunk = 100;

/** Time on the processor, so that neighbours on the machine do not count. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Milliseconds that `feed` takes for a history of so many transactions: those of making and feeding it, less those of making it. The clock is
 * read twice in all, because reading it costs up to a tenth of a millisecond where the machine is busy.
 */
export function spentOn(seed: number, transactions: number, feed: (operations: readonly Operation[]) => void): number {
  const run = (each: (operations: readonly Operation[]) => void): number => {
    const history = createStoreHistory(createRng(seed));
    const before = cpuMs();
    for (let done = 0; done < transactions; done += chunk) each(history.next(chunk));
    return cpuMs() - before;
  };
  let sum = 0;
  const making = run((operations) => (sum += operations.length));
  const all = run(feed);
  return sum === 0 ? Number.NaN : Math.max(1, all - making);
}
