/**
 * The life of a repair as a pure machine: an event comes in, the next state and the work to do come out. It does no work
 * itself. The table is total: every state has an answer to every event, checked by the compiler.
 *
 *   planned ─► applying ─► verifying ─► sealed
 *                 │            └─► undoing ─► compensated
 *                 ├─► undoing (a row changed after earlier batches went in)
 *                 └─► stale (a row changed before anything went in: the case is proposed again)
 *   sealed ─► undoing ─► compensated            (a person asks)
 *   any that is not final ─► failed             (retries used up; the breaker opens)
 *
 * A worker that takes over a repair sends `claimed` again. Batches are not counted in the store: it starts at the first one, and
 * batches that went in before answer `already-applied`, which is the event `batch-applied`. Undo is restarted the same way.
 */
import type { RepairState } from '../domain/repair-lifecycle.ts';

export interface Progress {
  readonly state: RepairState;
  /** The batch being applied or, in `undoing`, how many batches have to be undone. */
  readonly batch: number;
  readonly batches: number;
  /** Batches at the start of the plan that are canaries: verified one by one before the rest. */
  readonly canaries: number;
}

export type RepairEvent =
  | { readonly is: 'claimed' }
  | { readonly is: 'batch-applied' }
  | { readonly is: 'changed-since-read' }
  | { readonly is: 'verified' }
  | { readonly is: 'not-equal' }
  | { readonly is: 'undo-requested'; readonly by: string }
  | { readonly is: 'undone' }
  | { readonly is: 'undo-changed' }
  | { readonly is: 'gave-up'; readonly because: string };

export type Step =
  | { readonly do: 'apply-batch'; readonly batch: number }
  /** Re-read the rows of these batches through another path and compare digests. */
  | { readonly do: 'verify'; readonly upToBatch: number }
  /** Apply the inverse of the first `batches` batches, last first. */
  | { readonly do: 'undo'; readonly batches: number }
  | { readonly do: 'record'; readonly outcome: 'verified' | 'undone' | 'stale' | 'verification-failed' }
  | { readonly do: 'propose-again' }
  | { readonly do: 'open-breaker'; readonly because: string }
  | { readonly do: 'tell-people'; readonly because: string };

export type Advanced =
  | { readonly is: 'moved'; readonly progress: Progress; readonly steps: readonly Step[] }
  /** The event means nothing in this state: a late or doubled message. */
  | { readonly is: 'ignored'; readonly because: string };

type Rule = (progress: Progress, event: RepairEvent) => Advanced;
type Row = { readonly [Event in RepairEvent['is']]: Rule };

export function startProgress(batches: number, canaries: number): Progress {
  return { state: 'planned', batch: 0, batches, canaries };
}

export function advance(progress: Progress, event: RepairEvent): Advanced {
  return table[progress.state][event.is](progress, event);
}

export const finalStates: readonly RepairState[] = ['stale', 'compensated', 'failed'];

const moved = (progress: Progress, ...steps: readonly Step[]): Advanced => ({ is: 'moved', progress, steps });
const ignored = (progress: Progress, event: RepairEvent): Advanced => ({
  is: 'ignored',
  because: `${event.is} means nothing to a repair that is ${progress.state}`,
});

const startApplying: Rule = (progress) => moved({ ...progress, state: 'applying', batch: 0 }, { do: 'apply-batch', batch: 0 });

const batchApplied: Rule = (progress) => {
  const done = progress.batch + 1;
  const isLast = done >= progress.batches;
  const isEndOfCanaries = progress.canaries > 0 && done === progress.canaries;
  if (isLast || isEndOfCanaries) return moved({ ...progress, state: 'verifying' }, { do: 'verify', upToBatch: progress.batch });
  return moved({ ...progress, batch: done }, { do: 'apply-batch', batch: done });
};

const changedSinceRead: Rule = (progress) =>
  progress.batch === 0
    ? moved({ ...progress, state: 'stale' }, { do: 'record', outcome: 'stale' }, { do: 'propose-again' })
    : // What went in was decided together with what did not: take it back, and look again at all of it.
      moved({ ...progress, state: 'undoing' }, { do: 'undo', batches: progress.batch });

const verified: Rule = (progress) => {
  const done = progress.batch + 1;
  if (done < progress.batches) return moved({ ...progress, state: 'applying', batch: done }, { do: 'apply-batch', batch: done });
  return moved({ ...progress, state: 'sealed' }, { do: 'record', outcome: 'verified' });
};

const notEqual: Rule = (progress) =>
  moved(
    { ...progress, state: 'undoing', batch: progress.batch + 1 },
    { do: 'open-breaker', because: 'a repair did not verify' },
    { do: 'record', outcome: 'verification-failed' },
    { do: 'undo', batches: progress.batch + 1 },
  );

const undoRequested: Rule = (progress) =>
  moved({ ...progress, state: 'undoing', batch: progress.batches }, { do: 'undo', batches: progress.batches });

const undone: Rule = (progress) =>
  moved({ ...progress, state: 'compensated' }, { do: 'record', outcome: 'undone' }, { do: 'propose-again' });

/** Somebody wrote a row after our repair: undoing it would destroy their write. */
const undoChanged: Rule = (progress) =>
  moved(
    { ...progress, state: 'failed' },
    { do: 'open-breaker', because: 'a repair could not be undone: a row changed after it' },
    { do: 'tell-people', because: 'rows changed after the repair and were left as they are' },
  );

const gaveUp: Rule = (progress, event) => {
  const because = event.is === 'gave-up' ? event.because : 'it gave up';
  return moved({ ...progress, state: 'failed' }, { do: 'open-breaker', because }, { do: 'tell-people', because });
};

const none: Row = {
  claimed: ignored,
  'batch-applied': ignored,
  'changed-since-read': ignored,
  verified: ignored,
  'not-equal': ignored,
  'undo-requested': ignored,
  undone: ignored,
  'undo-changed': ignored,
  'gave-up': ignored,
};

export const table: Readonly<Record<RepairState, Row>> = {
  planned: { ...none, claimed: startApplying, 'changed-since-read': changedSinceRead, 'gave-up': gaveUp },
  applying: { ...none, claimed: startApplying, 'batch-applied': batchApplied, 'changed-since-read': changedSinceRead, 'gave-up': gaveUp },
  // A worker that died while verifying does not know which batches it had verified: it goes through them again.
  verifying: { ...none, claimed: startApplying, verified, 'not-equal': notEqual, 'changed-since-read': notEqual, 'gave-up': gaveUp },
  sealed: { ...none, 'undo-requested': undoRequested },
  stale: none,
  undoing: {
    ...none,
    claimed: (progress) => moved(progress, { do: 'undo', batches: progress.batch }),
    undone,
    'undo-changed': undoChanged,
    'gave-up': gaveUp,
  },
  compensated: none,
  failed: none,
};
