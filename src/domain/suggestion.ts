/** A proposed change to where or how state is kept, shown only when its replayed gain is surely positive. */
export interface Suggestion {
  readonly id: string;
  /** Suggester id: `split`, `merge`, `move`, `quorum`, `tier`, `cache-or-salt`. */
  readonly kind: string;
  readonly domain: string;
  readonly collection: string;
  /** Verdict first, two sentences at most. */
  readonly says: string;
  readonly because: string;
  /** Cost over the replayed window, same unit as the objective, with and without it. */
  readonly replay: {
    readonly costWithout: number;
    readonly costWith: number;
    /** 95 % interval of the gain; shown only if `gainLow` > 0. */
    readonly gainLow: number;
    readonly gainHigh: number;
    readonly moves: number;
    readonly curveWithout: readonly number[];
    readonly curveWith: readonly number[];
  };
  /** What carries it out: typed parameters, and commands to copy for targets that we do not drive. */
  readonly action: {
    readonly kind: string;
    readonly parameters: Readonly<Record<string, string | number>>;
    readonly commands: readonly string[];
  };
  readonly rollback: string;
  readonly state: 'open' | 'approved' | 'rejected' | 'applied' | 'expired';
  readonly createdAtMs: number;
}
