import { createRng } from '../../../src/base/rng.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { createStoreHistory, type StoreHistory } from './store-history.ts';

/** Transactions made and then fed at once: what a decoder has just made is still in the processor's cache, and dies young. */
export const chunk = 100;
/**
 * Milliseconds that `feed` takes for the next `transactions` of `history`: those of making and feeding them, less those of making as many. The
 * clock is read few times, because reading it costs up to a tenth of a millisecond where the machine is busy. `afterShare` of the making is
 * measured afterwards, so that it matters less where a machine becomes slower or faster meanwhile: only where `feed` leaves no objects, which
 * collections would look at that making is charged with. For the same reason the two do not take shorter turns.
 */
export function spentOn(
  history: StoreHistory,
  transactions: number,
  feed: (operations: readonly Operation[]) => void,
  afterShare = 0,
): number {
  const another = createStoreHistory(createRng(15));
  let sum = 0;
  const run = (count: number, from: StoreHistory, each: (operations: readonly Operation[]) => void): number => {
    const beforeMs = cpuMs();
    for (let done = 0; done < count; done += chunk) each(from.next(chunk));
    return cpuMs() - beforeMs;
  };
  const make = (count: number): number => run(count, another, (operations) => (sum += operations.length));
  const after = Math.floor((transactions * afterShare) / chunk) * chunk;
  const makingBeforeMs = make(transactions - after);
  const allMs = run(transactions, history, feed);
  const makingMs = makingBeforeMs + make(after);
  return sum === 0 ? Number.NaN : Math.max(1, allMs - makingMs);
}

/** Time on the processor, so that neighbours on the machine do not count. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
