/** Key words of sketches: a key of one integer column is its own word, so that peeling gives it back without a look-up. */
import { keyDigest } from '../../domain/row-encoding.ts';
import type { Key, Shape } from '../../domain/row.ts';

export function hasIntKey(shape: Shape): boolean {
  const [name, ...more] = shape.key;
  return more.length === 0 && shape.columns.some((column) => column.name === name && column.type === 'int');
}

/** A word past 2^63 is a negative key, or an unsigned one of that size: both are looked for. */
export function intKeys(shape: Shape, words: readonly bigint[]): readonly Key[] {
  const [name = ''] = shape.key;
  return words.flatMap((word) => {
    const signed = BigInt.asIntN(64, word);
    return signed < 0n ? [{ [name]: signed.toString() }, { [name]: word.toString() }] : [{ [name]: signed.toString() }];
  });
}

/** p of a key word by the canonical hash. */
export function canonicalPlace(shape: Shape): (word: bigint) => bigint {
  if (!hasIntKey(shape)) return (word) => word;
  const [name = ''] = shape.key;
  return (word) => BigInt(`0x${keyDigest(shape, { [name]: BigInt.asIntN(64, word).toString() }).slice(0, 16)}`);
}
