import type { Suggester } from './suggester.ts';
import { split } from './suggesters/split.ts';

/** Every suggestion kind. A new one is a file in `suggesters/` and a line here. */
export const suggesters: readonly Suggester[] = [split];
