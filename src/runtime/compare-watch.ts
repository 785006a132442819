/**
 * Rows that no store marks (MySQL, Redis, services behind the HTTP API) are told from rows in motion only by looking. Looks at moments
 * that an even clock gives can be in step with a writer that comes and goes as evenly, and see the same value each time; so they come
 * at random moments, exponentially apart, which no period fits. A row that spends half of its time on each of two values is taken for
 * one that stays by `LEAST_LOOKS` looks, the first sight and the last with a probability of 2^-13.
 *
 * A feed of the store is a better witness than any number of looks: a key that it tells as written between the first sight and the last
 * has moved, whatever it looks like.
 */
import { createRng, type Rng } from '../base/rng.ts';
import type { Divergence } from '../domain/divergence.ts';
import { keyText, type Shape } from '../domain/row.ts';
import type { SecondLook } from './compare-confirm.ts';

/** Looks in between, before a row without marks counts as one that stays. */
export const LEAST_LOOKS = 12;
const FIRST_GAP_MS = 12;
const LAST_GAP_MS = 250;
/** A gap is at most this many times the mean: the tail of the exponential is cut there. */
const MOST_GAPS = 4;
/** Looks at many rows take long: of the time they get this share at most. */
const LOOK_SHARE = 0.25;

export interface WatchOptions {
  readonly shape: Shape;
  /** What is watched: all of it, however much. Rows that their store marks are left out. */
  readonly divergences: readonly Divergence[];
  readonly look: (divergences: readonly Divergence[]) => Promise<SecondLook>;
  /** Whether a feed has told that this key was written since the watch began. */
  readonly wasTold?: (text: string) => boolean;
  readonly rng: Rng;
}

export class UnmarkedWatch {
  readonly #options: WatchOptions;
  readonly #moving = new Set<string>();
  #steady: readonly Divergence[];
  #looks = 0;
  #meanGapMs = FIRST_GAP_MS;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#steady = options.divergences.filter((one) => !isMarked(one));
  }

  /** Whether nothing is left to look at. */
  get isIdle(): boolean {
    return this.#steady.length === 0;
  }

  /** Whether there is nothing that more looks are needed for. */
  get isSatisfied(): boolean {
    return this.isIdle || this.#looks >= LEAST_LOOKS;
  }

  isMoving(divergence: Divergence): boolean {
    const text = this.#textOf(divergence);
    return this.#moving.has(text) || (!isMarked(divergence) && this.#options.wasTold?.(text) === true);
  }

  /** Milliseconds until the next look is due. */
  nextGapMs(): number {
    return gapMs(this.#meanGapMs, this.#options.rng);
  }

  /** Looks at everything that has stayed so far. `nowMs` reads a monotonic clock. */
  async look(nowMs: () => number): Promise<void> {
    if (this.#steady.length === 0) return;
    const startedMs = nowMs();
    const again = await this.#options.look(this.#steady);
    for (const one of again.changed) this.#moving.add(this.#textOf(one));
    for (const key of again.healed) this.#moving.add(keyText(this.#options.shape.key, key));
    this.#steady = this.#steady.filter((one) => !this.isMoving(one));
    this.#looks += 1;
    const tookMs = nowMs() - startedMs;
    // The first looks come fast, for a short budget; a long one has time for slower ones.
    const wantedMs = this.#looks < LEAST_LOOKS ? FIRST_GAP_MS : Math.min(LAST_GAP_MS, this.#meanGapMs * 1.5);
    this.#meanGapMs = Math.max(wantedMs, tookMs / LOOK_SHARE - tookMs);
  }

  #textOf(divergence: Divergence): string {
    return keyText(this.#options.shape.key, divergence.key);
  }
}

/** Whether every row of it has its store's mark, so that two looks tell whether it was written in between. */
export function isMarked(divergence: Divergence): boolean {
  return Object.entries(divergence.replicas).every(([replica, row]) => row === null || divergence.stamps?.[replica] !== undefined);
}

/** A gap of a Poisson process. */
export function gapMs(meanMs: number, rng: Rng): number {
  return Math.min(MOST_GAPS * meanMs, -Math.log(1 - rng.next()) * meanMs);
}

/** Another sequence for every watch: what one did, a writer cannot know of the next. */
export function watchRng(): Rng {
  // Of no use to an attacker: it decides when rows are read.
  return createRng(Math.floor(Math.random() * 0x1_0000_0000));
}
