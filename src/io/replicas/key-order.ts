/** Key order as the SQL connectors have it: numbers by value, all else by the bytes of the canonical text. For stores that have no order. */
import type { KeyRange } from '../../domain/key-range.ts';
import { type Key, keyText, type Shape } from '../../domain/row.ts';

export function compareKeysInOrder(shape: Shape, a: Key, b: Key): number {
  for (const name of shape.key) {
    const one = a[name] ?? '';
    const two = b[name] ?? '';
    if (one === two) continue;
    const type = shape.columns.find((column) => column.name === name)?.type;
    const isInt = type === 'int' && /^-?\d+$/.test(one) && /^-?\d+$/.test(two);
    if (isInt) return BigInt(one) < BigInt(two) ? -1 : 1;
    if ((type === 'numeric' || type === 'float') && Number(one) !== Number(two)) return Number(one) - Number(two);
    return Buffer.compare(Buffer.from(one), Buffer.from(two));
  }
  return keyText(shape.key, a) < keyText(shape.key, b) ? -1 : keyText(shape.key, a) === keyText(shape.key, b) ? 0 : 1;
}

export function isInRange(shape: Shape, key: Key, range: KeyRange): boolean {
  if (range.after !== null && compareKeysInOrder(shape, key, range.after) <= 0) return false;
  return range.upTo === null || compareKeysInOrder(shape, key, range.upTo) <= 0;
}
