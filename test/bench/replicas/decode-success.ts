/** How often a sketch table of the size that is asked for at first peels, over many seeds: items that differ are all that it holds. */
import { createRng } from '../../../src/base/rng.ts';
import { cellsFor, keysOfTable } from '../../../src/detect/localize-sketch.ts';
import { addItem, copyTable, emptyTable, peelTable, peelTables } from '../../../src/domain/sketch.ts';

const seedsFor = (differences: number, quick: boolean): number => {
  const all = differences <= 1_000 ? 1_000 : differences <= 10_000 ? 50 : 5;
  return quick ? Math.max(1, Math.round(all / (differences <= 100 ? 5 : 50))) : all;
};

/** `first`: share that peels at once; `second`: share that has peeled after one more table, sized by what the first tells. */
export function decodeSuccess(quick: boolean, log: (line: string) => void): Record<string, number> {
  const figures: Record<string, number> = {};
  let seeds = 0;
  const shares = { first: [1], second: [1] };
  for (const differences of [1, 2, 5, 10, 30, 100, 300, 1_000, 3_000, 10_000, ...(quick ? [] : [30_000, 100_000])]) {
    const tries = seedsFor(differences, quick);
    let first = 0;
    let second = 0;
    for (let seed = 0; seed < tries; seed += 1) {
      const random = createRng(`decode ${differences} ${seed}`);
      const word = (): bigint => (BigInt(random.int(2 ** 32)) << 32n) | BigInt(random.int(2 ** 32));
      const items = Array.from({ length: differences }, () => ({ key: word(), value: BigInt(random.int(2 ** 32) || 1) - 0x8000_0000n }));
      const tableOf = (cells: number): ReturnType<typeof emptyTable> => {
        const table = emptyTable(cells);
        for (const { key, value } of items) addItem(table, key, key, value);
        return table;
      };
      const cells = cellsFor(differences);
      const one = tableOf(cells);
      if (peelTable(copyTable(one), (key) => key)?.length === differences) {
        first += 1;
        second += 1;
        continue;
      }
      const two = tableOf(cellsFor(keysOfTable(one, differences), cells));
      if (peelTables([one, two], (key) => key)?.length === differences) second += 1;
    }
    seeds += tries;
    shares.first.push(first / tries);
    shares.second.push(second / tries);
    figures[`decode_first_d${differences}`] = first / tries;
    log(`${differences} differences: ${first} of ${tries} tables peel at once, ${second} after one more`);
  }
  figures['decode_seeds'] = seeds;
  figures['decode_first_least'] = Math.min(...shares.first);
  figures['decode_second_least'] = Math.min(...shares.second);
  return figures;
}
