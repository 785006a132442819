import type { Grid } from './time-grid.ts';

/**
 * Prints of stretches of a series: the same values in the same order, missing or not, give the same print, and hardly any others do (53
 * bits). Polynomial hashes modulo 2^32 of each value's own hash, two at once, so that after one pass over the series the print of any
 * stretch is a subtraction (Karp and Rabin 1987). Against accident, not against an enemy.
 */
export interface Prints {
  /** The series that the next ones are of. */
  read(grid: Grid): void;
  /** Of the values in [from, to]. */
  of(from: number, to: number): number;
}

const [one, other] = [0x01_00_01_93, 0x2c_1b_3c_6d];

export function openPrints(): Prints {
  /** By index: of all values before it; and the powers of the bases. */
  let [chainOne, chainOther] = [new Int32Array(1), new Int32Array(1)];
  let [powerOne, powerOther] = [new Int32Array(1), new Int32Array(1)];
  const grow = (length: number): void => {
    [chainOne, chainOther, powerOne, powerOther] = [0, 1, 2, 3].map(() => new Int32Array(length)) as [
      Int32Array<ArrayBuffer>,
      Int32Array<ArrayBuffer>,
      Int32Array<ArrayBuffer>,
      Int32Array<ArrayBuffer>,
    ];
    powerOne[0] = powerOther[0] = 1;
    for (let i = 1; i < length; i += 1) {
      powerOne[i] = Math.imul(powerOne[i - 1] as number, one);
      powerOther[i] = Math.imul(powerOther[i - 1] as number, other);
    }
  };
  return {
    read: ({ values, missing }) => {
      const { length } = values;
      if (chainOne.length <= length) grow(2 * length + 2);
      const halves = new Int32Array(values.buffer, values.byteOffset, 2 * length);
      let [first, second] = [0, 0];
      for (let i = 0; i < length; i += 1) {
        let hash =
          Math.imul((halves[2 * i + 1] as number) ^ (missing[i] as number), 0x9e_37_79_b1) + (halves[2 * i] as number) + 0x7f_4a_7c_15;
        hash = Math.imul(hash ^ (hash >>> 15), 0x85_eb_ca_77);
        hash = Math.imul(hash ^ (hash >>> 13), 0xc2_b2_ae_3d);
        first = (Math.imul(first, one) + hash) | 0;
        second = (Math.imul(second, other) + (hash ^ (hash >>> 16))) | 0;
        chainOne[i + 1] = first;
        chainOther[i + 1] = second;
      }
    },
    of: (from, to) => {
      const span = to + 1 - from;
      const first = ((chainOne[to + 1] as number) - Math.imul(chainOne[from] as number, powerOne[span] as number)) >>> 0;
      const second = ((chainOther[to + 1] as number) - Math.imul(chainOther[from] as number, powerOther[span] as number)) >>> 0;
      return first * 2 ** 21 + (second >>> 11);
    },
  };
}
