/** One hot thing to forecast: a collection's key range (virtual bucket of the key hash), seen from a region of origin. */
export interface SeriesId {
  readonly collection: string;
  /** Virtual bucket, 0 .. buckets-1; -1 for the whole collection. */
  readonly bucket: number;
  readonly region: string;
  readonly metric:
    | 'operations'
    | 'writes'
    | 'conflicts'
    | 'lock-wait-ms'
    | 'latency-p95-ms'
    | 'hottest-key-share'
    /** Operations a second that another region's replica served than the one they came from. */
    | 'crossings'
    /**
     * The tenth percentile of what reads of the whole collection took, there and back: how near readers are to what they read. Its region
     * is the one whose replica was asked, where that is known.
     */
    | 'read-trip-ms'
    /** From the stores' own metrics. */
    | 'replication-lag-ms'
    | 'lock-waits';
}

/** Quantiles of the coming steps. `values[h][q]` is horizon h (0 = next step) at `levels[q]`. */
export interface Forecast {
  readonly series: SeriesId;
  readonly madeAtMs: number;
  readonly stepMs: number;
  readonly levels: readonly number[];
  readonly values: readonly (readonly number[])[];
  /** Quantiles of the maximum over all horizons. */
  readonly maximum: readonly number[];
  /** What was served: the model or the baseline that beat it on the calibration window. */
  readonly servedBy: string;
  /** Why that one, in a sentence. */
  readonly because: string;
  /** The model that was compared, and what computed it: `contention-v2 on wasm`. */
  readonly model: string;
  /** MASE on the calibration window by contender. */
  readonly scores: Readonly<Record<string, number>>;
}
