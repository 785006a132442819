/** What a part of the bench adds to. */
export interface Measured {
  readonly figures: Record<string, number>;
  readonly baseline: Record<string, number>;
}

export const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
