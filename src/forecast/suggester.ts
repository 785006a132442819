import type { Rng } from '../base/rng.ts';
import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { Forecast } from '../domain/forecast.ts';
import type { PlacementTarget } from '../domain/placement-target.ts';
import type { Suggestion } from '../domain/suggestion.ts';
import type { CoordinatedOperation, LeftOut } from './replica-legs.ts';

/** What is recorded of one bucket, one number a step, oldest first; all buckets of a subject cover the same steps. */
export interface BucketHistory {
  readonly bucket: number;
  readonly region: string;
  readonly operations: readonly number[];
  readonly writes: readonly number[];
  /** Share of the bucket's hottest key in its operations, 0 where unknown. */
  readonly hottestKeyShare: readonly number[];
  /** Operations a second that were served in another region than the bucket's own. */
  readonly crossings: readonly number[];
}

/** The slots of one node of the cluster that holds the collection. */
export interface RangeNode {
  readonly id: string;
  readonly says: string;
  readonly slots: readonly (readonly [number, number])[];
}

/** How far standbys were behind at one moment after another, milliseconds, the same moments for all. */
export interface StandbyLags {
  readonly standby: string;
  /** From the primary's own flush until it hears that the standby has the change, has flushed it, and shows it to readers. */
  readonly writeMs: readonly number[];
  readonly flushMs: readonly number[];
  readonly replayMs: readonly number[];
}

/** Everything a suggester may look at about one collection. */
export interface Subject {
  readonly collection: Collection;
  readonly domain: ConsistencyDomain;
  readonly stepMs: number;
  readonly nowMs: number;
  readonly buckets: number;
  readonly history: readonly BucketHistory[];
  /** Of the whole collection, all regions. */
  readonly latencyP95Ms: readonly number[];
  readonly conflicts: readonly number[];
  /** What the quickest tenth of reads took, there and back, by the region whose replica was asked; 0 in steps where none was traced. */
  readonly readTripMs: ReadonlyMap<string, readonly number[]>;
  /** Latest forecasts of this collection's series. */
  readonly forecasts: readonly Forecast[];
  /** The target that could carry a change out, with what it says of itself now. */
  readonly cluster?: { readonly target: Extract<PlacementTarget, { kind: 'redis-cluster' }>; readonly nodes: readonly RangeNode[] };
  readonly standbys?: {
    readonly target: Extract<PlacementTarget, { kind: 'postgres-quorum' }>;
    /** How many a commit waits for now. */
    readonly waitsFor: number;
    readonly lags: readonly StandbyLags[];
    /** What reads saw of what had just been written while commits waited so: of which replica, at which moment of the lags. */
    readonly looks?: readonly {
      readonly replica: string;
      readonly host: string;
      readonly moment: number;
      readonly afterMs: number;
      readonly isFresh: boolean;
    }[];
    /** Stale reads of the collection that the detectors proved in the last day; absent: nobody looked. */
    readonly staleReads?: number;
  };
  readonly clients?: {
    readonly target: Extract<PlacementTarget, { kind: 'client-quorum' }>;
    /** What clients sent to the replicas of the target in the last hour, the oldest first. */
    readonly operations: readonly CoordinatedOperation[];
    readonly leftOut: LeftOut;
    /** Operations that were seen and are not among these. */
    readonly madeWay: number;
  };
  /** When the placement of this collection was last changed; absent: not that we know. */
  readonly movedAtMs?: number;
  /** For the bootstrap; the same seed gives the same suggestion. */
  readonly rng: Rng;
}

/** A suggestion kind: says everything about itself. `suggest` is pure and answers nothing where it has nothing sure to say. */
export interface Suggester {
  readonly id: Suggestion['kind'];
  readonly title: string;
  readonly sentence: string;
  suggest(subject: Subject): readonly Suggestion[];
  /** A subject on which it suggests, for the conformance suite and the documentation. */
  readonly example: Subject;
  /** As near to the example as can be, and nothing to suggest. */
  readonly twin: Subject;
  /** The same for whatever else it is asked about. */
  readonly also?: { readonly example: Subject; readonly twin: Subject };
}
