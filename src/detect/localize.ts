/** From digests and entries of k replicas to the keys that differ: pure subtraction. */
import type { RangeDigest, RowDigest } from '../domain/digest.ts';
import { isEqualRangeDigest } from '../domain/digest.ts';
import type { Divergence, DivergenceKind, Position } from '../domain/divergence.ts';
import { type Key, keyText, type Row, type Shape } from '../domain/row.ts';

/** Indices at which not all replicas have the same digest. All lists have one length. */
export function differingRanges(digests: readonly (readonly RangeDigest[])[]): readonly number[] {
  const [first, ...others] = digests;
  if (first === undefined) return [];
  return [...first.keys()].filter((at) => {
    const one = first[at];
    return others.some((other) => {
      const two = other[at];
      return one === undefined || two === undefined || !isEqualRangeDigest(one, two);
    });
  });
}

/** Keys and digests of one replica after another; at the end, the keys on which they do not all agree. Holds one entry a key. */
export class EntrySubtraction {
  readonly #shapeKey: readonly string[];
  readonly #replicas: number;
  readonly #seen = new Map<string, { readonly key: Key; readonly digests: (RowDigest | undefined)[] }>();

  constructor(shapeKey: readonly string[], replicas: number) {
    this.#shapeKey = shapeKey;
    this.#replicas = replicas;
  }

  add(replica: number, key: Key, digest: RowDigest): void {
    const text = keyText(this.#shapeKey, key);
    const known = this.#seen.get(text);
    const entry = known ?? { key, digests: Array.from({ length: this.#replicas }, (): RowDigest | undefined => undefined) };
    entry.digests[replica] = digest;
    // Rows on which all agree are most of what comes: they go as soon as the last replica has spoken.
    if (known !== undefined && entry.digests.every((other) => other === digest)) this.#seen.delete(text);
    else if (known === undefined) this.#seen.set(text, entry);
  }

  get size(): number {
    return this.#seen.size;
  }

  differing(): readonly Key[] {
    return [...this.#seen.values()]
      .filter((entry) => entry.digests.some((digest) => digest !== entry.digests[0]))
      .map((entry) => entry.key);
  }
}

export interface ReplicaFacts {
  readonly id: string;
  /** The one that a lacking row is called missing or extra by: the authority, else the leader. */
  readonly isReference: boolean;
  /** A cache may lack rows. */
  readonly mayLack: boolean;
}

/** What the rows of one key on all replicas amount to, or undefined where they agree. */
export function judgeRows(
  collection: string,
  shape: Shape,
  key: Key,
  rows: Readonly<Record<string, Row | null>>,
  replicas: readonly ReplicaFacts[],
  seenAt: Readonly<Record<string, Position>>,
  nowMs: number,
): Divergence | undefined {
  const counted = replicas.filter((replica) => rows[replica.id] !== null || !replica.mayLack);
  const present = counted.filter((replica) => rows[replica.id] !== null);
  const lacking = counted.length - present.length;
  const [first] = present;
  const valueOn = (replica: ReplicaFacts | undefined, name: string): string | null =>
    (replica === undefined ? null : rows[replica.id]?.[name]) ?? null;
  const columns = shape.columns
    .map((column) => column.name)
    .filter((name) => present.some((replica) => valueOn(replica, name) !== valueOn(first, name)));
  if (lacking === 0 && columns.length === 0) return undefined;
  if (present.length === 0) return undefined;
  const is: DivergenceKind = lacking === 0 ? 'different' : isExtra(counted, rows) ? 'extra' : 'missing';
  return {
    collection,
    key,
    is,
    replicas: rows,
    columns: is === 'different' ? columns : [],
    status: 'suspected',
    seenAt,
    firstSeenMs: nowMs,
  };
}

/** By the reference if there is one, else by the majority, else by the first. */
function isExtra(replicas: readonly ReplicaFacts[], rows: Readonly<Record<string, Row | null>>): boolean {
  const lacks = (replica: ReplicaFacts): boolean => rows[replica.id] === null;
  const reference = replicas.find((replica) => replica.isReference);
  if (reference !== undefined) return lacks(reference);
  const votes = replicas.filter(lacks).length * 2 - replicas.length;
  if (votes !== 0) return votes > 0;
  const [first] = replicas;
  return first !== undefined && lacks(first);
}
