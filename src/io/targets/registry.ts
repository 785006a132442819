import type { PlacementTarget } from '../../domain/placement-target.ts';
import { openPostgresQuorum } from './postgres-quorum.ts';
import { openRedisCluster } from './redis-cluster.ts';
import type { Target } from './target.ts';

/** What a kind of target says about itself. A new one is an entry here, a file beside it, and its shape in `domain/placement-target.ts`. */
export interface TargetKind {
  readonly kind: PlacementTarget['kind'];
  readonly title: string;
  readonly sentence: string;
  /** Kinds of change that it carries out. */
  readonly takes: readonly string[];
  /** Opens lazily: nothing is connected to before the first call. */
  open(target: PlacementTarget): Target;
}

export const targetKinds: readonly TargetKind[] = [
  {
    kind: 'redis-cluster',
    title: 'Redis Cluster',
    sentence:
      'Moves hash slots between running nodes of Redis 7 and newer, live, resumable after a crash, at a limited rate, each value checked by digest.',
    takes: ['move-slots'],
    open: (target) =>
      openRedisCluster({
        name: target.name,
        url: target.url,
        keysPerSecond: target.kind === 'redis-cluster' ? target.keysPerSecond : 1_000,
      }),
  },
  {
    kind: 'postgres-quorum',
    title: 'PostgreSQL synchronous standbys',
    sentence:
      'Sets how many standbys a commit waits for, measures commits, and goes back by itself where they become slower than promised.',
    takes: ['standbys'],
    open: (target) =>
      openPostgresQuorum({
        name: target.name,
        url: target.url,
        commitP99Ms: target.kind === 'postgres-quorum' ? target.commitP99Ms : null,
        observeMs: target.kind === 'postgres-quorum' ? target.observeMs : 10_000,
      }),
  },
];

export function openTarget(target: PlacementTarget): Target {
  const kind = targetKinds.find((one) => one.kind === target.kind);
  if (kind === undefined) throw new RangeError(`no kind of target ${target.kind}`);
  return kind.open(target);
}
