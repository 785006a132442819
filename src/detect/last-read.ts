import type { Operation } from '../domain/operation.ts';
import { grainUs } from './causality.ts';
import { bareName } from './object-place.ts';
import { keyOf, storeOf, targetOf, type Unit } from './trace-view.ts';

/** The last read before a write of what it writes. A job that reads and writes a hundred thousand rows is one unit: looked up by row. */
export function lastReadIn({ reads }: Pick<Unit, 'reads'>): (write: Operation) => Operation | undefined {
  let places: Map<string, number[]> | undefined;
  const placeOf = (operation: Operation, key: string): string => `${storeOf(operation)}\0${bareName(targetOf(operation))}\0${key}`;
  const fill = (): Map<string, number[]> => {
    const filled = new Map<string, number[]>();
    for (const [at, read] of reads.entries())
      for (const place of new Set([placeOf(read, keyOf(read)), placeOf(read, anyKey)])) {
        const known = filled.get(place);
        if (known === undefined) filled.set(place, [at]);
        else known.push(at);
      }
    return filled;
  };
  return (write) => {
    places ??= fill();
    const key = keyOf(write);
    let last = -1;
    for (const place of key === '' ? [placeOf(write, anyKey)] : [placeOf(write, key), placeOf(write, '')]) {
      const found = places.get(place) ?? [];
      // In order of starts: what began later cannot have ended before the write.
      let nth = countBegunBy(reads, found, write.startUs + grainUs) - 1;
      while (nth >= 0 && (found[nth] as number) > last && !isReadOf(reads[found[nth] as number] as Operation, write)) nth -= 1;
      if (nth >= 0) last = Math.max(last, found[nth] as number);
    }
    return last < 0 ? undefined : reads[last];
  };
}

/** How many of the reads at these places, in order of starts, began by then. */
function countBegunBy(reads: readonly Operation[], places: readonly number[], startUs: number): number {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((reads[places[middle] as number] as Operation).startUs <= startUs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Stands for reads of all keys of a table; no key holds it. */
const anyKey = '\0';

export function isReadOf(read: Operation, write: Operation): boolean {
  if (read.endUs - grainUs > write.startUs || read.failed || storeOf(read) !== storeOf(write)) return false;
  if (bareName(targetOf(read)) !== bareName(targetOf(write))) return false;
  const one = keyOf(read);
  const two = keyOf(write);
  if (one !== '' && two !== '') return one === two;
  const readColumns = read.statement?.keyColumns ?? [];
  const writeColumns = write.statement?.keyColumns ?? [];
  return readColumns.length === 0 || writeColumns.length === 0 || readColumns.some((column) => writeColumns.includes(column));
}
