import type { PlacementTarget } from '../../domain/placement-target.ts';
import type { Target, TargetOutcome } from './target.ts';

/**
 * Clients that send each read and write to every replica and go on after R answers or W acknowledgements. How many that are is set in
 * them, where nothing here reaches: it is known as declared, and a change is commands to copy.
 */
export function openClientQuorum(declared: Extract<PlacementTarget, { readonly kind: 'client-quorum' }>): Target {
  const { name, kind, replicas, read, write } = declared;
  const refused: TargetOutcome = { is: 'refused', says: `Clients of ${name} are changed by hand: copy the commands.` };
  return {
    name,
    kind,
    describe: () =>
      Promise.resolve(
        `as declared, reads wait for ${read} and writes for ${write} of ${replicas.length} replicas (${replicas.join(', ')}); changes are commands to copy`,
      ),
    placement: () => Promise.resolve(null),
    standbyLags: () => Promise.resolve(null),
    apply: () => Promise.resolve(refused),
    undo: () => Promise.resolve(refused),
    close: () => Promise.resolve(),
  };
}
