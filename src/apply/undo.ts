import { type Effect, type EffectDigest, effectDigest, invertEffects } from '../domain/effect.ts';
import type { Proposal } from '../domain/proposal.ts';
import type { Repair } from '../domain/repair-lifecycle.ts';

export type UndoPlan =
  | { readonly is: 'undo'; readonly effects: readonly Effect[]; readonly digest: EffectDigest }
  | { readonly is: 'refused'; readonly because: string };

/**
 * The effects that take a sealed repair back: compare-and-set on our own after-image, so that a row somebody has written since
 * is left alone. Only within the domain's window, because before-images are not kept longer.
 */
export function planUndo(proposal: Proposal, repair: Repair, nowMs: number): UndoPlan {
  if (repair.proposalId !== proposal.id) return { is: 'refused', because: 'the repair carried out another proposal' };
  if (repair.state !== 'sealed') return { is: 'refused', because: `the repair is ${repair.state}: only a sealed one can be undone` };
  if (nowMs > repair.undoUntilMs) return { is: 'refused', because: 'the time to undo it is over' };
  const effects = invertEffects(proposal.effects);
  if (effectDigest(effects) !== effectDigest(proposal.inverse))
    return { is: 'refused', because: 'the stored inverse is not that of the effects' };
  return { is: 'undo', effects, digest: effectDigest(effects) };
}
