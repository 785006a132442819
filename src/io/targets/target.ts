import { Failure } from '../../base/failure.ts';
import type { Json } from '../../base/hash.ts';

/** What a suggestion asks of a target, as it was approved. */
export interface TargetChange {
  /** `move-slots` or `standbys`; a target says which it takes. */
  readonly kind: string;
  readonly parameters: Readonly<Record<string, string | number>>;
}

/** How one change is being carried out: what was kept of earlier tries, and where to keep more. */
export interface TargetRun {
  /** What `save` was given last, by this process or one that died; null: nothing was begun. */
  readonly saved: Json | null;
  /** Durable when it resolves. Called before a step whose undoing needs what is saved. */
  save(progress: Json, says: string): Promise<void>;
  readonly signal: AbortSignal;
  /** Begin no further step, but leave none half-way: the domain was frozen. The call then fails with `target-paused`, to be made again later. */
  readonly pause: AbortSignal;
}

/** What a target says that stopped between two steps because of `pause`. */
export const pausedFailure = (says: string): Failure => new Failure('target-paused', says, 'later');

/** `rolled-back`: it was done, did not keep its promise, and the target is as it was before. */
export type TargetOutcome =
  | { readonly is: 'applied'; readonly says: string; readonly facts: Readonly<Record<string, number>> }
  | { readonly is: 'rolled-back'; readonly says: string; readonly facts: Readonly<Record<string, number>> }
  | { readonly is: 'refused'; readonly says: string };

/** Slots of a cluster and who serves them; what suggestions about ranges are made from. */
export interface Placement {
  readonly nodes: readonly { readonly id: string; readonly says: string; readonly slots: readonly (readonly [number, number])[] }[];
}

/** How far each standby is behind at this moment, and for how many of them a commit waits. */
export interface StandbyMoment {
  readonly waitsFor: number;
  readonly lags: readonly { readonly standby: string; readonly writeMs: number; readonly flushMs: number; readonly replayMs: number }[];
}

/**
 * What a suggestion can be carried out on. `apply` and `undo` bring the target to a state and may be called again after any crash:
 * they look at what is there and do what is missing. A failure of the world throws a `Failure`; `retry: 'later'` means that the same
 * call can go through. Neither is called without a complete approval of exactly this change.
 */
export interface Target {
  readonly name: string;
  readonly kind: string;
  /** Connects, checks what the change would need, and says in one sentence what is there. Changes nothing. */
  describe(signal: AbortSignal): Promise<string>;
  placement(signal: AbortSignal): Promise<Placement | null>;
  /** Null: it has none, or nothing was written lately that a lag could be told from. */
  standbyLags(signal: AbortSignal): Promise<StandbyMoment | null>;
  apply(change: TargetChange, run: TargetRun): Promise<TargetOutcome>;
  undo(change: TargetChange, run: TargetRun): Promise<TargetOutcome>;
  close(): Promise<void>;
}
