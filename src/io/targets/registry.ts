import type { PlacementTarget } from '../../domain/placement-target.ts';
import { openClientQuorum } from './client-quorum.ts';
import { openPostgresQuorum } from './postgres-quorum.ts';
import { openRedisCluster } from './redis-cluster.ts';
import type { Target } from './target.ts';

/** What a kind of target says about itself. A new one is an entry here, a file beside it, and its shape in `domain/placement-target.ts`. */
export interface TargetKind {
  readonly kind: PlacementTarget['kind'];
  readonly title: string;
  readonly sentence: string;
  /** Kinds of change that it carries out; none: they are commands to copy. */
  readonly takes: readonly string[];
  /** Opens lazily: nothing is connected to before the first call. */
  open(target: PlacementTarget): Target;
}

type Declared<K extends PlacementTarget['kind']> = Extract<PlacementTarget, { readonly kind: K }>;

function defineKind<K extends PlacementTarget['kind']>(
  about: Omit<TargetKind, 'kind' | 'open'> & { readonly kind: K; open(target: Declared<K>): Target },
): TargetKind {
  const isDeclared = (target: PlacementTarget): target is Declared<K> => target.kind === about.kind;
  return {
    ...about,
    open: (target) => {
      if (!isDeclared(target)) throw new RangeError(`${target.kind} is not a ${about.kind}`);
      return about.open(target);
    },
  };
}

export const targetKinds: readonly TargetKind[] = [
  defineKind({
    kind: 'redis-cluster',
    title: 'Redis Cluster',
    sentence:
      'Moves hash slots between running nodes of Redis 7 and newer, live, resumable after a crash, at a limited rate, each value checked by digest.',
    takes: ['move-slots'],
    open: ({ name, url, keysPerSecond }) => openRedisCluster({ name, url, keysPerSecond }),
  }),
  defineKind({
    kind: 'postgres-quorum',
    title: 'PostgreSQL synchronous standbys',
    sentence:
      'Sets how many standbys a commit waits for, measures commits, and goes back by itself where they become slower than promised.',
    takes: ['standbys'],
    open: ({ name, url, commitP99Ms, observeMs }) => openPostgresQuorum({ name, url, commitP99Ms, observeMs }),
  }),
  defineKind({
    kind: 'client-quorum',
    title: 'Clients that ask every replica',
    sentence:
      'Says how many replicas reads and writes of Cassandra, of Riak or of clients of your own should wait for, from the latencies in their traces; the commands are shown to copy.',
    takes: [],
    open: openClientQuorum,
  }),
];

export function openTarget(target: PlacementTarget): Target {
  const kind = targetKinds.find((one) => one.kind === target.kind);
  if (kind === undefined) throw new RangeError(`no kind of target ${target.kind}`);
  return kind.open(target);
}
