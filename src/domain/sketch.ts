/**
 * Sketches of a set of rows: what travels instead of rows. Each row is an item: a 64-bit key word k, a 64-bit place p that spreads k, and
 * a 32-bit value v from its digest, uniform in [-2^31, 2^31).
 *
 * Summary (one scan, 0.7 kB): count and 128-bit sum of everything; of 256 buckets (`slicing.ts`), a 16-bit fingerprint each; of 128,
 * the top of the exact sum of the digests' low lanes, whose squared differences estimate how much differs (a row that one side lacks
 * adds a variance of 1, a changed row 2; after Alon, Matias, Szegedy 1996); of 32, the count, whose scatter tells how many
 * rows one side lacks. All of it comes from count and sums a slice: nothing more to add up than a digest has. The fingerprints of the
 * slices stay with the replica until somebody asks for those of a few buckets.
 *
 * Table (an invertible Bloom lookup table, Goodrich and Mitzenmacher 2011, in linear form): three sub-tables of `cells` cells; an item
 * falls into one cell of each and adds v, v*k_low, v*k_high, k_low and k_high being the 32-bit halves of k. Subtract two replicas'
 * tables: equal rows vanish. A cell that holds one differing key has left d, d*k_low and d*k_high, d being v (lacking) or v - v'
 * (changed): divisions give the key back. So a changed row costs one cell, not two; and a cell with more than one key is recognised by
 * quotients that do not come out even, are no 32 bits, or belong elsewhere: odds of about 2^-60 against a false key. Each key found is
 * taken out of its other cells, until nothing is left (about 1.25 cells a key, more for small tables). 21 bytes a cell.
 *
 * `cells` need not be a power of two, and a table folds to any divisor of its cells by adding.
 */

export const SUMMARY_BUCKETS = 256;
export const SPREAD_BUCKETS = 128;
export const COUNT_BUCKETS = 32;
/** What the sum of signed low lanes is shifted by, so that a byte holds the difference of some hundred rows. */
export const SPREAD_SHIFT = 60n;
export const SUB_TABLES = 3;

export interface Summary {
  readonly count: number;
  /** As in a RangeDigest, but of the hash that made it. */
  readonly sum: string;
  /** Unsigned 16 bits a bucket. */
  readonly fingerprints: Uint16Array;
  /** floor(sum of the signed low lanes / 2^60), the low byte. */
  readonly spreads: Uint8Array;
  /** Rows, modulo 2^16. */
  readonly counts: Uint16Array;
}

export interface SketchTable {
  /** Cells of one sub-table. */
  readonly cells: number;
  /** Modulo 2^40, by sub-table, then cell. */
  readonly values: BigUint64Array;
  /** Modulo 2^64. */
  readonly lows: BigUint64Array;
  readonly highs: BigUint64Array;
}

/** k and p as unsigned 64-bit numbers; the digest's low lane as unsigned. */
export interface SketchItem {
  readonly key: bigint;
  readonly place: bigint;
  readonly digest: string;
}

const MASK_32 = 0xffff_ffffn;
const MASK_40 = 0xff_ffff_ffffn;
const MASK_64 = 0xffff_ffff_ffff_ffffn;

/** The cells of a place, one a sub-table, from bits that a slice by place does not fix. */
export function cellsOf(place: bigint, cells: number): readonly [number, number, number] {
  const low = place & MASK_32;
  const high = (place >> 32n) & MASK_32;
  const mixed = ((low * 1103515245n + high) >> 13n) & 0x3fff_ffffn;
  return [Number(high) % cells, Number(low >> 8n) % cells, Number(mixed) % cells];
}

/** v of an item. */
export function valueOf(digest: string): bigint {
  return BigInt(`0x${digest.slice(24)}`) - 0x8000_0000n;
}

export function emptyTable(cells: number): SketchTable {
  const size = cells * SUB_TABLES;
  return { cells, values: new BigUint64Array(size), lows: new BigUint64Array(size), highs: new BigUint64Array(size) };
}

export function copyTable(table: SketchTable): SketchTable {
  return { cells: table.cells, values: table.values.slice(), lows: table.lows.slice(), highs: table.highs.slice() };
}

/** Adds an item; with a negative value, takes one out. */
export function addItem(table: SketchTable, key: bigint, place: bigint, value: bigint): void {
  const low = (key & MASK_32) * value;
  const high = ((key >> 32n) & MASK_32) * value;
  for (const [sub, cell] of cellsOf(place, table.cells).entries()) {
    const at = sub * table.cells + cell;
    table.values[at] = ((table.values[at] ?? 0n) + value) & MASK_40;
    table.lows[at] = ((table.lows[at] ?? 0n) + low) & MASK_64;
    table.highs[at] = ((table.highs[at] ?? 0n) + high) & MASK_64;
  }
}

export function subtractTables(a: SketchTable, b: SketchTable): SketchTable {
  const result = emptyTable(a.cells);
  for (let at = 0; at < a.values.length; at += 1) {
    result.values[at] = ((a.values[at] ?? 0n) - (b.values[at] ?? 0n)) & MASK_40;
    result.lows[at] = ((a.lows[at] ?? 0n) - (b.lows[at] ?? 0n)) & MASK_64;
    result.highs[at] = ((a.highs[at] ?? 0n) - (b.highs[at] ?? 0n)) & MASK_64;
  }
  return result;
}

/** To a divisor of its cells. */
export function foldTable(table: SketchTable, cells: number): SketchTable {
  const result = emptyTable(cells);
  for (let at = 0; at < table.values.length; at += 1) {
    const sub = Math.floor(at / table.cells);
    const to = sub * cells + ((at % table.cells) % cells);
    result.values[to] = ((result.values[to] ?? 0n) + (table.values[at] ?? 0n)) & MASK_40;
    result.lows[to] = ((result.lows[to] ?? 0n) + (table.lows[at] ?? 0n)) & MASK_64;
    result.highs[to] = ((result.highs[to] ?? 0n) + (table.highs[at] ?? 0n)) & MASK_64;
  }
  return result;
}

export const CELL_BYTES = 21;

/** 21 bytes a cell: value 5, low 8, high 8, big-endian; low and high with 2^63 added, which is what an engine can cast. */
export function parseTable(bytes: Buffer, cells: number): SketchTable {
  if (bytes.length !== cells * SUB_TABLES * CELL_BYTES) throw new RangeError(`a table of ${cells} cells is not ${bytes.length} bytes long`);
  const table = emptyTable(cells);
  for (let at = 0; at < cells * SUB_TABLES; at += 1) parseCell(bytes, at * CELL_BYTES, table, at);
  return table;
}

/** Sets cell `index` of a table from 21 bytes at `from`. */
export function parseCell(bytes: Buffer, from: number, table: SketchTable, index: number): void {
  table.values[index] = BigInt(bytes.readUIntBE(from, 5));
  table.lows[index] = bytes.readBigUInt64BE(from + 5) ^ (1n << 63n);
  table.highs[index] = bytes.readBigUInt64BE(from + 13) ^ (1n << 63n);
}

/** The key words that differ, or undefined where the table is too small for them. `placeOf` gives p of k. Uses up the table. */
export function peelTable(table: SketchTable, placeOf: (key: bigint) => bigint): readonly bigint[] | undefined {
  return peelTables([table], placeOf);
}

/** The same for several tables of the same rows: what one of them tells is taken out of all, so a table too small was not in vain. */
export function peelTables(tables: readonly SketchTable[], placeOf: (key: bigint) => bigint): readonly bigint[] | undefined {
  const found = new Set<bigint>();
  const queue = tables.flatMap((table) => Array.from({ length: table.values.length }, (_unused, at) => ({ table, at })));
  // Each key is found once; a false key could be found and put back for ever.
  let budget = queue.length * 8;
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if ((budget -= 1) < 0) return undefined;
    const pure = pureKey(next.table, next.at, placeOf);
    if (pure === undefined) continue;
    if (found.has(pure.key)) return undefined;
    found.add(pure.key);
    for (const table of tables) {
      addItem(table, pure.key, pure.place, -pure.value);
      for (const [sub, cell] of cellsOf(pure.place, table.cells).entries()) queue.push({ table, at: sub * table.cells + cell });
    }
  }
  return tables.every(isEmptyTable) ? [...found] : undefined;
}

/** Of a subtracted table: whether the rows behind it are the same. */
export function isEmptyTable(table: SketchTable): boolean {
  return table.values.every((value) => value === 0n) && table.lows.every((low) => low === 0n) && table.highs.every((high) => high === 0n);
}

function pureKey(
  table: SketchTable,
  at: number,
  placeOf: (key: bigint) => bigint,
): { readonly key: bigint; readonly place: bigint; readonly value: bigint } | undefined {
  const raw = table.values[at] ?? 0n;
  if (raw === 0n) return undefined;
  const value = BigInt.asIntN(40, raw);
  const size = value < 0n ? -value : value;
  if (size > MASK_32) return undefined;
  // The products have the sign of the value, and less than 64 bits without it.
  const signed = (sum: bigint): bigint => (value < 0n ? (MASK_64 + 1n - sum) & MASK_64 : sum);
  const low = signed(table.lows[at] ?? 0n);
  const high = signed(table.highs[at] ?? 0n);
  if (low % size !== 0n || high % size !== 0n) return undefined;
  const lowHalf = low / size;
  const highHalf = high / size;
  if (lowHalf > MASK_32 || highHalf > MASK_32) return undefined;
  const key = (highHalf << 32n) | lowHalf;
  const place = placeOf(key);
  const cell = cellsOf(place, table.cells)[Math.floor(at / table.cells)];
  return cell === at % table.cells ? { key, place, value } : undefined;
}
