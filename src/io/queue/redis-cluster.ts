import type { Cluster, Redis } from 'ioredis';

/**
 * Takes care of a promise that ioredis leaves to nobody: while a slot moves, a cluster client sends ASKING before the command that it
 * redirects and waits for the answer of the command alone. A node that dies in between would end the process; the command itself is
 * retried or fails to its caller either way.
 */
export function withAskingHeld(cluster: Cluster): Cluster {
  cluster.on('+node', (node: Redis) => {
    const asking = node.asking.bind(node);
    Object.assign(node, {
      asking: (): Promise<'OK'> => {
        const answer = asking();
        answer.catch(() => undefined);
        return answer;
      },
    });
  });
  return cluster;
}
