/** What began before the first span was sent goes on to show its tail for about so long, microseconds of event time. */
const underWayUs = 30_000_000;

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

  /** The recent past counts most: what is older fades by half. */
  fade(): void {
    this.#firstOf /= 2;
    this.#firstMissing /= 2;
    this.#of /= 2;
    this.#missing /= 2;
  }

  get of(): number {
    return this.#of >= this.#enough ? this.#of : this.#firstOf + this.#of;
  }

  get missing(): number {
    return this.#of >= this.#enough ? this.#missing : this.#firstMissing + this.#missing;
  }

  /** Share of all that was counted, what came before among it; 0 where nothing was. */
  get shareOfAll(): number {
    const of = this.#firstOf + this.#of;
    return of === 0 ? 0 : (this.#firstMissing + this.#missing) / of;
  }
}
