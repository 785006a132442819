/**
 * Rows as they travel: each value is its canonical text (row encoding v1, `domain/row-encoding.ts`), so that equal values are
 * equal strings whatever engine they came from, nothing is lost to a JSON number, and NULL stays apart from the empty string.
 */
export type Row = { readonly [column: string]: string | null };

/** Values of the key columns only, in canonical text; never NULL. */
export type Key = { readonly [column: string]: string };

/** The canonical types of row encoding v1. A connector maps each engine type to one of them or refuses the column by name. */
export type CanonicalType =
  | 'int'
  | 'numeric'
  | 'float'
  | 'bool'
  | 'text'
  | 'bytes'
  | 'uuid'
  | 'date'
  | 'time'
  | 'timestamp'
  | 'timestamptz'
  | 'interval'
  | 'json'
  | 'array'
  | 'bits'
  | 'inet';

export interface Column {
  readonly name: string;
  readonly type: CanonicalType;
  readonly nullable: boolean;
  /** The engine's own name of the type, for messages. */
  readonly engineType?: string;
  /** Computed by the engine: compared, never written. */
  readonly generated?: true;
  /** A single-precision float: a peer without types means the single nearest to what it holds. */
  readonly single?: true;
}

/** The compared columns of a collection, in the order in which they are encoded: key columns first, then the rest by name. */
export interface Shape {
  readonly key: readonly string[];
  readonly columns: readonly Column[];
  /** A store without types of its own (a cache of JSON documents): it takes the columns of its peers. */
  readonly open?: true;
}

/** A stable text for a key, for maps and ids: JSON of the values in key order. Injective for one collection. */
export function keyText(shapeKey: readonly string[], key: Key): string {
  return JSON.stringify(shapeKey.map((column) => key[column] ?? null));
}
