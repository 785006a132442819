import { authority } from './strategies/authority.ts';
import { cacheInvalidate } from './strategies/cache-invalidate.ts';
import { crdtMerge } from './strategies/crdt-merge.ts';
import { fieldWiseMerge } from './strategies/field-wise-merge.ts';
import { lastWriterWins } from './strategies/last-writer-wins.ts';
import { majority } from './strategies/majority.ts';
import { outboxReplay } from './strategies/outbox-replay.ts';
import { resyncFollower } from './strategies/resync-follower.ts';
import { tombstone } from './strategies/tombstone.ts';
import { traceEvidence } from './strategies/trace-evidence.ts';
import { versionVector } from './strategies/version-vector.ts';
import type { Strategy } from './strategy.ts';

/** Every repair strategy, one line each. The order is that of ties: a declaration before what the data or the traces say. */
export const strategies: readonly Strategy[] = [
  authority,
  resyncFollower,
  cacheInvalidate,
  versionVector,
  traceEvidence,
  outboxReplay,
  tombstone,
  crdtMerge,
  lastWriterWins,
  majority,
  fieldWiseMerge,
];

export function findStrategy(id: string): Strategy | undefined {
  return strategies.find((strategy) => strategy.id === id);
}
