/** What a bench measured: numbers whose names carry their unit (`rows_per_s`, `rss_mb`). A figure that could not be had is left out. */
export type Figures = Readonly<Record<string, number>>;

export interface BenchResult {
  readonly figures: Figures;
  /** The same figures of whatever it is compared with, measured in the same run. Empty where there is none. */
  readonly baseline: Figures;
}

/**
 * One bench: the file `test/bench/<name>.ts` exports it as `bench`, and `npm run bench -- <name>` finds it by that name.
 * With `quick` it is done within 50 s on two cores.
 */
export interface Bench {
  readonly name: string;
  /** One line for `--help`: what is measured, against what. */
  readonly says?: string;
  /** Parts that `--only a,b` can choose from, for a bench that takes long as a whole. */
  readonly parts?: readonly string[];
  run(options: BenchOptions): Promise<BenchResult>;
}

export interface BenchOptions {
  readonly quick: boolean;
  /** Only these of its parts; all where it is absent. */
  readonly only?: readonly string[];
  /** Progress, to standard error. */
  readonly log: (line: string) => void;
}
