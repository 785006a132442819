/**
 * The moments of a record that were most like each moment of it: `count` nearest by Euclidean distance of their features, kept
 * sorted while the record grows. A moment counts as an example only once `ahead` steps after it are known, and never for a moment
 * fewer than `gap` steps away: what comes after such a one is partly what comes after the other, and would be foresight.
 * Cost: rows x examples in all, however often it grows; memory rows x count.
 */
export interface Neighbours {
  readonly count: number;
  /** Rows known so far. */
  readonly rows: number;
  /** rows x count example indices, nearest first; -1 where there are not so many. */
  readonly ids: Int32Array;
  /** rows x count squared distances. */
  readonly distances: Float64Array;
  /** Knows the rows below `rows`; examples are those of which `ahead` steps are known. */
  grow(rows: number): void;
  /** The nearest examples of row `at`, which may lie beyond what is known: written into `ids` and `distances` of length `count`. */
  nearest(at: number, ids: Int32Array, distances: Float64Array): void;
}

/** `features` holds `width` numbers a row, for every row that will ever be asked about, each made from what was known at it. */
export function createNeighbours(features: Float64Array, width: number, count: number, ahead: number, gap: number): Neighbours {
  const capacity = features.length / width;
  const ids = new Int32Array(capacity * count).fill(-1);
  const distances = new Float64Array(capacity * count).fill(Number.POSITIVE_INFINITY);
  let rows = 0;

  const offer = (row: number, from: number, to: number, intoIds: Int32Array, intoDistances: Float64Array, base: number): void => {
    const last = base + count - 1;
    for (let j = from; j < to; j += 1) {
      if (j > row - gap && j < row + gap) continue;
      const furthest = intoDistances[last] as number;
      let distance = 0;
      // Most are too far by the first numbers already.
      for (let k = 0; k < width && distance < furthest; k += 1) {
        const off = (features[row * width + k] as number) - (features[j * width + k] as number);
        distance += off * off;
      }
      if (distance >= furthest) continue;
      let place = last;
      while (place > base && (intoDistances[place - 1] as number) > distance) {
        intoDistances[place] = intoDistances[place - 1] as number;
        intoIds[place] = intoIds[place - 1] as number;
        place -= 1;
      }
      intoDistances[place] = distance;
      intoIds[place] = j;
    }
  };

  return {
    count,
    get rows() {
      return rows;
    },
    ids,
    distances,
    grow: (next) => {
      const before = Math.max(0, rows - ahead);
      const examples = Math.max(0, next - ahead);
      for (let row = 0; row < next; row += 1) offer(row, row < rows ? before : 0, examples, ids, distances, row * count);
      rows = Math.max(rows, next);
    },
    nearest: (at, intoIds, intoDistances) => {
      intoIds.fill(-1);
      intoDistances.fill(Number.POSITIVE_INFINITY);
      offer(at, 0, Math.max(0, rows - ahead), intoIds, intoDistances, 0);
    },
  };
}
