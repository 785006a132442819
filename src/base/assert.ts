/**
 * A broken invariant: a bug or corrupted state, never an expected outcome. It is not retried; whoever catches it stops
 * automatic repair for the consistency domain concerned, and says so.
 */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(what: string, facts: Readonly<Record<string, unknown>>) {
    super(`invariant broken: ${what}`);
    this.facts = facts;
  }
}

/** Throws {@link InvariantError} unless `holds`. `what` states the invariant as it should be; `facts` hold no row values. */
export function invariant(holds: boolean, what: string, facts: Readonly<Record<string, unknown>> = {}): asserts holds {
  if (!holds) throw new InvariantError(what, facts);
}

/** For the default branch of an exhaustive switch: the compiler proves that it cannot be reached, this proves it at run time. */
export function unreachable(value: never): never {
  throw new InvariantError('every case of the union is handled', { value });
}
