import { authority } from './strategies/authority.ts';
import { lastWriterWins } from './strategies/last-writer-wins.ts';
import { majority } from './strategies/majority.ts';
import type { Strategy } from './strategy.ts';

/** Every repair strategy, one line each. The order is that of ties: a declaration before an inference. */
export const strategies: readonly Strategy[] = [authority, majority, lastWriterWins];

export function findStrategy(id: string): Strategy | undefined {
  return strategies.find((strategy) => strategy.id === id);
}
