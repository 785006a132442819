/**
 * What load a range carries before it hurts, learned from its own past: the operations rate above which p95 latency is more than
 * twice what it is in quiet steps, or more than 1 % of operations end in a conflict. Without such steps nothing is known, and
 * nothing is claimed: null.
 */
export interface LoadStep {
  readonly operations: number;
  readonly latencyP95Ms: number;
  readonly conflicts: number;
}

/** Enough steps to say what is usual. */
const leastSteps = 24;
/** Steps that hurt, under which a knee may be chance. */
const leastHurting = 4;
const latencyInflation = 2;
const conflictShare = 0.01;

export function capacityOf(steps: readonly LoadStep[]): number | null {
  if (steps.length < leastSteps) return null;
  const byLoad = steps.filter((step) => step.operations > 0).toSorted((a, b) => a.operations - b.operations);
  const quiet = byLoad
    .slice(0, Math.max(1, byLoad.length >> 1))
    .map((step) => step.latencyP95Ms)
    .toSorted((a, b) => a - b);
  const usualMs = quiet[quiet.length >> 1] ?? 0;
  const hurts = byLoad.map((step) => step.latencyP95Ms > latencyInflation * usualMs || step.conflicts > conflictShare * step.operations);
  const hurting = hurts.filter(Boolean).length;
  if (hurting < leastHurting) return null;
  // The load that tells hurting steps from fine ones with the fewest mistakes (a one-level decision tree).
  let mistakes = hurts.length - hurting;
  let fewest = mistakes;
  let at = 0;
  for (let i = 0; i < hurts.length; i += 1) {
    mistakes += hurts[i] === true ? 1 : -1;
    if (mistakes < fewest) {
      fewest = mistakes;
      at = i + 1;
    }
  }
  // Pain that does not go with load is not a capacity: the cut must be better than calling everything fine by half.
  if (at === 0 || at >= byLoad.length || fewest > 0.5 * hurting) return null;
  return ((byLoad[at - 1]?.operations ?? 0) + (byLoad[at]?.operations ?? 0)) / 2;
}
