/** Types are few; of a sender of endless types no more are told apart. */
const typesMax = 10_000;

/**
 * Objects of one type and key in two domains are two. Not every service says the domain: the first one that a type is seen with is meant where
 * none is said.
 */
export class TypeDomains {
  readonly #first = new Map<string, string>();

  /** {@link saltOf} where it is settled already, else undefined: nothing is learned from asking. */
  knownSaltOf(type: string, domain: string): string | undefined {
    if (domain === '') return '';
    const first = this.#first.get(type);
    return first === undefined ? undefined : first === domain ? '' : domain;
  }

  /** What tells the object from those of other domains: '' in the type's first domain and where none is said. */
  saltOf(type: string, domain: string): string {
    if (domain === '') return '';
    const first = this.#first.get(type);
    if (first === undefined) {
      if (this.#first.size < typesMax) this.#first.set(type, domain);
      return '';
    }
    return first === domain ? '' : domain;
  }
}
