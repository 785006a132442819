import type { Suggester } from './suggester.ts';
import { cacheOrSalt } from './suggesters/cache-or-salt.ts';
import { merge } from './suggesters/merge.ts';
import { move } from './suggesters/move.ts';
import { quorum } from './suggesters/quorum.ts';
import { split } from './suggesters/split.ts';
import { tier } from './suggesters/tier.ts';

/** Every suggestion kind. A new one is a file in `suggesters/` and a line here. */
export const suggesters: readonly Suggester[] = [split, merge, move, quorum, tier, cacheOrSalt];
