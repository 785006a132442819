/**
 * Two texts joined by a zero, made once for each pair: a text that is put together anew each time has to be copied and hashed before a map
 * finds it. `most`: pairs remembered; beyond it each is put together when asked for.
 */
export class JoinedTexts {
  readonly #joined = new Map<string, Map<string, string>>();
  readonly #most: number;
  #size = 0;

  constructor(most: number) {
    this.#most = most;
  }

  of(first: string, second: string): string {
    const known = this.#joined.get(first)?.get(second);
    if (known !== undefined) return known;
    const text = `${first}\0${second}`;
    if (this.#size >= this.#most) return text;
    this.#size += 1;
    const ofFirst = this.#joined.get(first);
    if (ofFirst === undefined) this.#joined.set(first, new Map([[second, text]]));
    else ofFirst.set(second, text);
    return text;
  }
}
