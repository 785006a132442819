import { Redis } from 'ioredis';
import { Failure } from '../../base/failure.ts';

/** One master of a Redis Cluster, as a node sees it. */
export interface ClusterNode {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  readonly isFailing: boolean;
  readonly slots: readonly (readonly [number, number])[];
  /** Slots in hand-over, as this node itself tells: slot -> id of the other node. Only the answering node's own are known. */
  readonly migrating: ReadonlyMap<number, string>;
  readonly importing: ReadonlyMap<number, string>;
}

const callTimeoutMs = 10_000;

export function openNode(url: URL, host: string, port: number): Redis {
  const redis = new Redis({
    host,
    port,
    ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
    lazyConnect: true,
    // The caller knows whether asking again is safe.
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    connectTimeout: callTimeoutMs,
    commandTimeout: callTimeoutMs * 3,
    enableOfflineQueue: true,
  });
  // Said by whoever waits for the answer.
  redis.on('error', () => undefined);
  return redis;
}

/** The masters as one node sees them (CLUSTER NODES: id address flags primary ping pong epoch link slots...). */
export function parseClusterNodes(text: string, seed: string): readonly ClusterNode[] {
  const nodes: ClusterNode[] = [];
  for (const line of text.split('\n')) {
    const [id = '', address = '', flags = '', , , , , , ...ranges] = line.trim().split(' ');
    if (!flags.split(',').includes('master')) continue;
    const place = /^(.*):(\d+)@/.exec(address);
    const slots: [number, number][] = [];
    const migrating = new Map<number, string>();
    const importing = new Map<number, string>();
    for (const range of ranges) {
      const open = /^\[(\d+)-([<>])-([0-9a-f]+)\]$/.exec(range);
      if (open !== null) (open[2] === '>' ? migrating : importing).set(Number(open[1]), open[3] ?? '');
      else {
        const [first = '', last = first] = range.split('-');
        slots.push([Number(first), Number(last)]);
      }
    }
    nodes.push({
      id,
      // A node that has not heard its own address yet leaves it out.
      host: place?.[1] === undefined || place[1] === '' ? seed : place[1],
      port: Number(place?.[2] ?? 0),
      isFailing: /fail/.test(flags),
      slots,
      migrating,
      importing,
    });
  }
  return nodes;
}

export function ownerOf(nodes: readonly ClusterNode[], slot: number): ClusterNode | undefined {
  return nodes.find(({ slots }) => slots.some(([first, last]) => slot >= first && slot <= last));
}

/** Whatever a node answers or does not, as a failure that says which node and whether to try again. */
export function nodeFailure(what: string, node: { readonly host: string; readonly port: number }, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  const says = cause instanceof Error ? cause.message : String(cause);
  const isFinal = /NOPERM|WRONGPASS|NOAUTH|unknown command|cluster support disabled/i.test(says);
  return new Failure('target-node', `${what} at ${node.host}:${node.port}: ${says}`, isFinal ? 'never' : 'later', cause);
}
