/**
 * Positions that a feed has reached, with the time at which it did: what was told before a position was marked no later than that. So
 * once every mark up to a time has been dealt with, so has everything before the last position reached by then.
 */
interface Reached {
  readonly position: string;
  readonly atMs: number;
}

/** Positions closer together than this are one. */
const apartMs = 20;
/** Beyond this many every other one goes: the store then keeps a little more for us than it has to. */
const maxKept = 4_000;

export class Settled {
  #reached: Reached[] = [];

  reached(position: string, atMs: number): void {
    const last = this.#reached.at(-1);
    const secondLast = this.#reached.at(-2);
    if (last !== undefined && secondLast !== undefined && atMs - secondLast.atMs < apartMs) this.#reached.pop();
    this.#reached.push({ position, atMs });
    if (this.#reached.length > maxKept) this.#reached = this.#reached.filter((_one, at) => at % 2 === 1);
  }

  /** The furthest position reached before `oldestMs`; undefined where there is none. */
  before(oldestMs: number): string | undefined {
    return this.#reached.findLast((one) => one.atMs < oldestMs)?.position;
  }

  /** This one has been written down, and what was before it. */
  forget(position: string): void {
    const at = this.#reached.findIndex((one) => one.position === position);
    this.#reached.splice(0, at + 1);
  }
}
