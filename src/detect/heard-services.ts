/** Seconds that are remembered, a bit each. */
const remembered = 4096;
/** From how many seconds on it shows how often a service is heard. */
const enoughSeconds = 20;
/** Seconds before a silence from which it is judged how often the service is heard. */
const usualSeconds = 600;
/** A busy service that is not heard for so long is silent: shorter than that are pauses of a process, and of what carries its spans. */
const fewestSilentSeconds = 3;
/** And longer by this than its longest pause of that time: what comes in bursts has pauses. */
const longerThanUsual = 1.5;
/** Traces are over a second or two after their end. */
const heldUpSeconds = 5;
/** Of a service that is heard in a random share of the seconds, silences that would begin this seldom by chance mean something. */
const chance = 1e-6;
/** Standard errors by which that share may be smaller than it was seen to be. */
const sureness = 3;
const servicesMax = 10_000;

interface Heard {
  readonly bits: Uint32Array;
  firstS: number;
  newestS: number;
}

/**
 * In which seconds of event time services showed anything at all. Where one is not heard for longer than it ever is by chance, it stands
 * still, or what it does is not told us: what it did not show then may have happened. 512 bytes a service.
 */
export class HeardServices {
  readonly #services = new Map<string, Heard>();
  #newestS = Number.NEGATIVE_INFINITY;

  /**
   * A span of the service ended at `endUs`. One that comes long after others of its time was held up, and so may those beside it be still:
   * it does not show that the service is heard then.
   */
  note(service: string, endUs: number): void {
    const second = Math.floor(endUs / 1e6);
    if (second > this.#newestS) this.#newestS = second;
    if (second < this.#newestS - heldUpSeconds) return;
    let heard = this.#services.get(service);
    if (heard === undefined) {
      if (this.#services.size >= servicesMax) return;
      heard = { bits: new Uint32Array(remembered / 32), firstS: second, newestS: second };
      this.#services.set(service, heard);
    }
    if (second > heard.newestS) {
      if (second - heard.newestS >= remembered) heard.bits.fill(0);
      else for (let between = heard.newestS + 1; between < second; between += 1) clear(heard.bits, between);
      heard.newestS = second;
    } else if (second <= heard.newestS - remembered) return;
    if (second < heard.firstS) heard.firstS = second;
    const { bits } = heard;
    bits[wordOf(second)] = (bits[wordOf(second)] as number) | bitOf(second);
  }

  /**
   * 'silent': for some of the time from `fromUs` to `toUs` the service was silent though it would have been heard. 'open': others have been
   * heard since and it has not, which means nothing so far. A service that was never heard is not missed, and where by `atUs` nobody has been
   * heard since, a single one is not either.
   */
  between(service: string, fromUs: number, toUs: number, atUs: number): 'heard' | 'silent' | 'open' {
    const heard = this.#services.get(service);
    if (heard === undefined) return 'heard';
    const lastS = Math.floor(toUs / 1e6);
    const oldestS = Math.max(heard.firstS, heard.newestS - remembered + 1);
    const isHeard = (second: number): boolean => second <= heard.newestS && ((heard.bits[wordOf(second)] as number) & bitOf(second)) !== 0;
    let second = Math.max(oldestS, Math.floor(fromUs / 1e6));
    // A silence that had begun before counts from its beginning.
    while (second > oldestS && !isHeard(second)) second -= 1;
    for (; second <= lastS; second += 1) {
      if (isHeard(second)) continue;
      const beginS = second;
      // The newest second is not over.
      while (second + 1 < this.#newestS && !isHeard(second + 1)) second += 1;
      const usualS = Math.max(oldestS, beginS - usualSeconds);
      if (beginS - usualS < enoughSeconds) continue;
      let heardSeconds = 0;
      let pause = 0;
      let longestPause = 0;
      for (let before = usualS; before < beginS; before += 1) {
        if (isHeard(before)) {
          heardSeconds += 1;
          pause = 0;
        } else longestPause = Math.max(longestPause, ++pause);
      }
      const unusual = Math.max(fewestSilentSeconds, longestByChance(heardSeconds, beginS - usualS), longerThanUsual * longestPause);
      if (second - beginS + 1 >= unusual) return 'silent';
    }
    const isNobodyHeard = this.#newestS <= lastS && atUs > toUs + heldUpSeconds * 1e6;
    return heard.newestS > lastS || isNobodyHeard ? 'heard' : 'open';
  }
}

/** Seconds without a sign that chance still gives to what was heard in `heard` of `seconds`: by the lower end of Wilson's interval (1927). */
function longestByChance(heard: number, seconds: number): number {
  const share = heard / seconds;
  const squared = sureness ** 2 / seconds;
  const lowest = (share + squared / 2 - sureness * Math.sqrt((share * (1 - share)) / seconds + squared / (4 * seconds))) / (1 + squared);
  return lowest <= 0 ? Number.POSITIVE_INFINITY : Math.log(chance) / Math.log(1 - lowest);
}

const wordOf = (second: number): number => (second % remembered) >>> 5;
const bitOf = (second: number): number => 1 << (second & 31);
const clear = (bits: Uint32Array, second: number): void => {
  bits[wordOf(second)] = (bits[wordOf(second)] as number) & ~bitOf(second);
};
