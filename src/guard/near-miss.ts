import type { MatchedRule, Verdict } from '../domain/verdict.ts';

export interface NearMiss {
  /** What the changes would turn the verdict into. */
  readonly becomes: 'auto' | 'review';
  readonly changes: readonly string[];
}

/**
 * The fewest changes that would have let the repair run by itself, or, for a denied one, at all; null where some rule that
 * stands in the way has none ("money is never automatic").
 */
export function nearMiss(verdict: Verdict): NearMiss | null {
  if (verdict.is === 'auto') return null;
  const all = changesFor(verdict.rules.filter(({ effect }) => effect !== 'permits'));
  if (all !== null) return { becomes: 'auto', changes: all };
  if (verdict.is === 'review') return null;
  const denials = changesFor(verdict.rules.filter(({ effect }) => effect === 'denies'));
  return denials === null ? null : { becomes: 'review', changes: denials };
}

/** For a page: "nearest change: ..." */
export function nearMissText(verdict: Verdict): string {
  if (verdict.is === 'auto') return 'none needed';
  const near = nearMiss(verdict);
  if (near !== null) return near.changes.join('; and ');
  const never = verdict.rules.find(({ effect, nearestChange }) => effect !== 'permits' && nearestChange === null);
  return `none: ${never?.reason ?? 'nothing would allow it'}`;
}

function changesFor(rules: readonly MatchedRule[]): readonly string[] | null {
  const changes = new Set<string>();
  for (const { nearestChange } of rules) {
    if (nearestChange === null) return null;
    changes.add(nearestChange);
  }
  return [...changes];
}
