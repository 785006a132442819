/**
 * Scans that an agent holds open between calls, by number. A service that went away would leave them, and with them a snapshot of the
 * store, open for ever: each ends by itself some time after its last use.
 */
import { Failure } from '../../../base/failure.ts';
import type { SketchScan } from '../replica.ts';

/** Longer than the slowest replica of a comparison lets the others wait. */
const IDLE_MS = 10 * 60_000;
/** As many as comparisons that run at a time, and some. */
const MAX_OPEN = 8;

export class OpenScans {
  readonly #open = new Map<number, { readonly scan: SketchScan; timer: NodeJS.Timeout }>();
  #last = 0;
  /** Whose they are: another agent numbers its own. */
  readonly holder: string;

  constructor(holder: string) {
    this.holder = holder;
  }

  async add(scan: SketchScan): Promise<number> {
    this.#last += 1;
    const number = this.#last;
    const [oldest] = this.#open.keys();
    if (this.#open.size >= MAX_OPEN && oldest !== undefined) await this.close(oldest);
    this.#open.set(number, { scan, timer: this.#expire(number) });
    return number;
  }

  /** Throws `Failure('scan-ended')` where it has been closed. */
  get(number: number): SketchScan {
    const known = this.#open.get(number);
    if (known === undefined) throw new Failure('scan-ended', 'the agent has ended this scan: compare again.', 'later');
    clearTimeout(known.timer);
    known.timer = this.#expire(number);
    return known.scan;
  }

  async close(number: number): Promise<void> {
    const known = this.#open.get(number);
    if (known === undefined) return;
    this.#open.delete(number);
    clearTimeout(known.timer);
    await known.scan.close();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((number) => this.close(number)));
  }

  #expire(number: number): NodeJS.Timeout {
    return setTimeout(() => void this.close(number), IDLE_MS).unref();
  }
}
