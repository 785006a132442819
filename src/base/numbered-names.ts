/**
 * Numbers for texts of which there are few and which come again and again, as names of services: a row then holds a number instead of a text.
 * 0 is '', and what stands for all names beyond `most`.
 */
export class NumberedNames {
  readonly #names: string[] = [''];
  readonly #numbers = new Map<string, number>([['', 0]]);
  readonly #most: number;
  /** Neighbours often share a name, and the text is the same where they do. */
  #last = '';
  #lastNumber = 0;

  /** `most`: names that are told apart. */
  constructor(most: number) {
    this.#most = most;
  }

  numberOf(name: string): number {
    if (name === '') return 0;
    if (name === this.#last) return this.#lastNumber;
    this.#last = name;
    this.#lastNumber = this.#look(name);
    return this.#lastNumber;
  }

  nameOf(number: number): string {
    return this.#names[number] ?? '';
  }

  #look(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    if (this.#names.length > this.#most) return 0;
    this.#names.push(name);
    this.#numbers.set(name, this.#names.length - 1);
    return this.#names.length - 1;
  }
}
