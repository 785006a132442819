import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Node copies what a socket brings into a new buffer of up to 64 kB each time, and a receiver makes little else. So V8 sees no reason to
 * collect what is young until these buffers, 64 MB of them, count as a reason to mark the whole heap: twice a second under load, tens of
 * milliseconds of CPU each, and an acknowledgement waits for it. Collecting the young generation after every few megabytes of bodies frees
 * them for a tenth of that.
 */
export class YoungCollection {
  #bytes = 0;

  /** So many bytes have come in. */
  received(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < everyBytes) return;
    this.#bytes = 0;
    collect();
  }
}

const everyBytes = 12 * 1024 * 1024;

/** Undefined where this V8 does not offer it: then it collects as it sees fit. */
type Collector = (options: { readonly type: 'minor' }) => void;

let collector: Collector | undefined;

function collect(): void {
  collector ??= openCollector();
  collector({ type: 'minor' });
}

function openCollector(): Collector {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('gc');
  return typeof found === 'function' ? (options) => void found(options) : () => undefined;
}
