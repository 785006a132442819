/** 128 bits of one row's canonical encoding, 32 hexadecimal digits. Made by `domain/row-encoding.ts` or inside an engine. */
export type RowDigest = string & { readonly is: 'row-digest' };

export function parseRowDigest(text: string): RowDigest {
  if (!/^[0-9a-f]{32}$/.test(text)) throw new RangeError(`not a row digest: ${text.slice(0, 40)}`);
  return text as RowDigest;
}

/**
 * The digest of a key range on one replica: how many rows, and the sum of their row digests in two lanes of 64 bits, each modulo
 * 2^64 (32 hexadecimal digits, high lane first): lanes are what engines can add without big numbers. A sum with a count, never XOR alone: two equal rows would cancel.
 */
export interface RangeDigest {
  readonly count: number;
  readonly sum: string;
}

export const emptyRangeDigest: RangeDigest = { count: 0, sum: '0'.repeat(32) };

export function isEqualRangeDigest(a: RangeDigest, b: RangeDigest): boolean {
  return a.count === b.count && a.sum === b.sum;
}
