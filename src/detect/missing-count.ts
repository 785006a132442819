/** What began before the first span was sent goes on to show its tail for about so long, microseconds of event time. */
const underWayUs = 30_000_000;

/** What is missing is counted later than what is there: so long after the first span the count of what came since can stand alone. */
const standsAloneUs = 120_000_000;

/** Whether so much time has passed since `firstUs` that what was under way then may be left out. */
export function isLongAfter(firstUs: number, atUs: number): boolean {
  return atUs >= firstUs + standsAloneUs;
}

/** Whether what shows at `atUs` may have begun before `firstUs`, when we began to look. */
export function mayHaveBegunBefore(firstUs: number, atUs: number): boolean {
  return atUs < firstUs + underWayUs;
}

/**
 * How many of something do not show. Whoever is attached to a running fleet, or reads its journal from the middle, sees children whose
 * parents, and messages whose rows, came before: that is no loss. So they are counted apart, and left out once there is enough else.
 */
export class MissingCount {
  readonly #enough: number;
  #firstOf = 0;
  #firstMissing = 0;
  #of = 0;
  #missing = 0;

  constructor(enough: number) {
    this.#enough = enough;
  }

  add(isFirst: boolean, of: number, missing: number): void {
    if (isFirst) {
      this.#firstOf += of;
      this.#firstMissing += missing;
    } else {
      this.#of += of;
      this.#missing += missing;
    }
  }

  /** The recent past counts most: beyond `most` what is older fades by half. */
  fade(most: number): void {
    if (this.#firstOf + this.#of <= most) return;
    this.#firstOf /= 2;
    this.#firstMissing /= 2;
    this.#of /= 2;
    this.#missing /= 2;
  }

  /** `isLate`: as {@link isLongAfter} has it. */
  read(isLate: boolean): { readonly of: number; readonly missing: number } {
    return isLate && this.#of >= this.#enough
      ? { of: this.#of, missing: this.#missing }
      : { of: this.#firstOf + this.#of, missing: this.#firstMissing + this.#missing };
  }
}
