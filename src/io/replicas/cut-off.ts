/**
 * Ends calls to a store that does not answer. A driver waits for an answer as long as the connection stands, and it stands for as long as
 * the kernel beyond it acknowledges: a stopped process, a hung disk or a network that swallows packets would hold a comparison, a worker
 * and what they have locked for ever. So an abort cuts the connection where the store does not give up by itself, and a call that lasts
 * asks beside it, over a new connection, whether the store is there at all. How long a statement may take is not ours to say; whether
 * somebody is there is.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { unreachable } from './unreachable.ts';

/** One connection that waits for an answer. */
export interface Line {
  /** Asks the store to give up what it does, in vain where it stands still. */
  readonly cancel?: () => void;
  /** Closes the connection at once; whoever waits for an answer over it gets an error. */
  readonly cut: () => void;
  /** Resolves or rejects when the store has answered a new connection, whatever it said; stays open, at most until the signal aborts, where it does not. */
  readonly knock: (signal: AbortSignal) => Promise<unknown>;
}

/** A healthy server gives up a statement within a few ms of being asked to. */
const cancelMs = 2_000;
/** Calls shorter than this ask nothing beside them. */
const knockEveryMs = 10_000;
/** As long as connecting may take elsewhere. */
const knockTimeoutMs = 10_000;

/** What `work` comes to. Throws the signal's reason where it aborted, and says that the store does not answer where it did not. */
export async function cutOff<T>(who: string, line: Line, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const ended = new AbortController();
  let isSilent = false;
  let timer: NodeJS.Timeout | undefined;
  const abort = (): void => {
    line.cancel?.();
    if (line.cancel === undefined) line.cut();
    else timer = setTimeout(line.cut, cancelMs);
  };
  signal.addEventListener('abort', abort, { once: true });
  const watching = (async () => {
    for (;;) {
      await delay(knockEveryMs, undefined, { signal: ended.signal, ref: false }).catch(() => undefined);
      if (ended.signal.aborted) return;
      const limit = new AbortController();
      const knocking = AbortSignal.any([ended.signal, limit.signal]);
      const answered = line.knock(knocking).then(
        () => !knocking.aborted,
        () => !knocking.aborted,
      );
      const isThere = await Promise.race([answered, delay(knockTimeoutMs, false, { signal: ended.signal }).catch(() => true)]);
      limit.abort();
      if (ended.signal.aborted) return;
      if (isThere) continue;
      isSilent = true;
      line.cut();
      return;
    }
  })();
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw (isSilent ? unreachable(who, 'no answer in time', error) : undefined) ?? error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
    ended.abort();
    await watching;
  }
}

/** Waits for a connection, no longer than until the signal aborts; one that comes later is given back. */
export async function connected<T>(connecting: Promise<T>, signal: AbortSignal, giveBack: (connection: T) => void): Promise<T> {
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([connecting, aborted]);
  } catch (error) {
    connecting.then(giveBack, () => undefined);
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
