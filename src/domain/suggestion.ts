import { canonicalJson, type Json, sha256Hex } from '../base/hash.ts';

/**
 * What becomes of a suggestion. People move it to `approved`, `rejected` or back (`undoing`); a worker carries it out.
 *
 *   open ─► approved ─► applying ─► applied ─► undoing ─► rolled-back
 *    │ │                   ├─► rolled-back    (it did not keep its promise: the target undid it by itself)
 *    │ └─► rejected        └─► failed         (refused by the target, or given up)
 *    └─► expired           applying, failed ─► undoing
 */
export const suggestionStates = [
  'open',
  'approved',
  'applying',
  'applied',
  'undoing',
  'rolled-back',
  'failed',
  'rejected',
  'expired',
] as const;
export type SuggestionState = (typeof suggestionStates)[number];

/** SHA-256 of what would be done and where: what an approval names and the executor checks. */
export type SuggestionDigest = string & { readonly is: 'suggestion-digest' };

/** What carries it out: typed parameters, and commands to copy for targets that we do not drive. */
export interface SuggestionAction {
  /** `move-slots`, `standbys`; or what nothing here can do: `read-write` of clients, else the suggestion's kind. */
  readonly kind: string;
  /** Name of the configured target; absent: the commands are for people. */
  readonly target?: string;
  readonly parameters: Readonly<Record<string, string | number>>;
  /** The regions that data would newly be in. */
  readonly intoRegions?: readonly string[];
  readonly commands: readonly string[];
}

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
  /** What is to come, where a forecast matters to it: rates of the coming steps. */
  readonly forecast?: {
    readonly low: readonly number[];
    readonly middle: readonly number[];
    readonly high: readonly number[];
    readonly limit: number;
  };
  /** Stale reads after a commit, shares of all reads: as predicted now and with it, and as they were observed, whenever they came. */
  readonly stale?: {
    /** How long after the commit a predicted read begins, milliseconds; absent: right after it. */
    readonly afterMs?: number;
    readonly predicted: number;
    readonly predictedLow: number;
    readonly predictedHigh: number;
    readonly predictedWith: number;
    /** Null where no read was traced. */
    readonly observed: number | null;
    readonly reads: number;
    /** How they were observed; absent: proven by detectors in traces of the last day. */
    readonly observedBy?: string;
  };
  /** Cost over the replayed window, same unit as the objective, with and without it. */
  readonly replay: {
    /** What a cost is: `operations beyond capacity`, `ms a operation` ... */
    readonly unit: string;
    readonly costWithout: number;
    readonly costWith: number;
    /** 95 % interval of the gain; shown only if `gainLow` > 0. */
    readonly gainLow: number;
    readonly gainHigh: number;
    readonly moves: number;
    readonly curveWithout: readonly number[];
    readonly curveWith: readonly number[];
  };
  readonly action: SuggestionAction;
  readonly rollback: string;
  readonly state: SuggestionState;
  readonly createdAtMs: number;
}

/** The words and the replay may be told anew each round; what would be done is what people approve. */
export function suggestionDigest(suggestion: Pick<Suggestion, 'kind' | 'domain' | 'collection' | 'action'>): SuggestionDigest {
  const { kind, domain, collection, action } = suggestion;
  return sha256Hex(canonicalJson({ kind, domain, collection, action } as unknown as Json)) as SuggestionDigest;
}

export function parseSuggestionDigest(text: string): SuggestionDigest {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new RangeError('a suggestion digest is 64 hexadecimal digits');
  return text as SuggestionDigest;
}
