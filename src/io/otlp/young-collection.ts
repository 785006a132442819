import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * So many bytes came in chunks that nobody needs any more.
 *
 * Node's HTTP parser copies what a socket brings into a new buffer of up to 64 kB each time, and a receiver makes little else. So V8 sees no
 * reason to collect what is young until these buffers, some tens of megabytes of them, count as a reason to mark the whole heap: twice a
 * second under load, tens of milliseconds of CPU each, and an acknowledgement waits for it. Collecting the young generation after every
 * few megabytes of them costs half a millisecond, and a third more spans went through a CPU-second (0.65 M, then 1.0 M decoded). Over
 * HTTP/2, and of compressed bodies, where the work on a request waits for another thread, it gained nothing: there it is left to V8.
 */
export function countYoungBytes(bytes: number): void {
  counted += bytes;
  if (counted < everyBytes) return;
  counted = 0;
  collect ??= openCollector();
  collect();
}

let counted = 0;
const everyBytes = 8 * 1024 * 1024;

let collect: (() => void) | undefined;

/** Does nothing where this V8 does not offer it: then it collects as it sees fit. */
function openCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('gc');
  return typeof found === 'function' ? () => void found({ type: 'minor' }) : () => undefined;
}
