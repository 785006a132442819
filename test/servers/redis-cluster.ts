import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Cluster, Redis } from 'ioredis';
import { withAskingHeld } from '../../src/io/queue/redis-cluster.ts';

export interface TestRedisCluster {
  /** Of the first node. */
  readonly url: string;
  readonly nodes: readonly { readonly port: number; readonly id: string }[];
  /** Follows redirections, as applications do. */
  client(): Cluster;
  /** `kill -9`. */
  kill(node: number): Promise<void>;
  restart(node: number): Promise<void>;
  close(): Promise<void>;
}

/** `masters` real redis-servers in one cluster, all slots on the first ones evenly, writes durable before they are answered. */
export async function startRedisCluster(masters: number, settings: readonly string[] = []): Promise<TestRedisCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'homeostat-cluster-'));
  const ports = await Promise.all(Array.from({ length: masters * 2 }, freePort));
  const children: ChildProcess[] = [];
  const start = async (node: number): Promise<void> => {
    const [port, bus] = [ports[node] ?? 0, ports[masters + node] ?? 0];
    children[node] = spawn(
      'redis-server',
      [
        `--port ${port} --bind 127.0.0.1 --cluster-enabled yes --cluster-port ${bus}`,
        `--cluster-config-file nodes-${node}.conf --cluster-node-timeout 1500 --cluster-require-full-coverage no`,
        `--appendonly yes --appendfsync always --appenddirname aof-${node} --dir ${dir}`,
        ...settings,
      ].flatMap((words) => words.split(' ')),
      { stdio: 'ignore' },
    );
    await until(async () => {
      const redis = direct(port);
      const answer = await redis.ping().catch((error: unknown) => String(error));
      redis.disconnect();
      return answer === 'PONG';
    });
  };
  const isWhole = (state: string): boolean =>
    /cluster_state:ok/.test(state) && /cluster_slots_ok:16384/.test(state) && new RegExp(`cluster_known_nodes:${masters}\\b`).test(state);
  await Promise.all(Array.from({ length: masters }, (_, node) => start(node)));
  const admins = ports.slice(0, masters).map(direct);
  const ids = await Promise.all(admins.map(async (admin) => String(await admin.cluster('MYID'))));
  await Promise.all(
    admins.map(async (admin, node) => {
      const [from, to] = [Math.floor((16_384 * node) / masters), Math.floor((16_384 * (node + 1)) / masters) - 1];
      await admin.call('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to));
      await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', String(node + 1));
    }),
  );
  for (const node of ports.slice(1, masters).keys())
    await admins[0]?.call('CLUSTER', 'MEET', '127.0.0.1', String(ports[node + 1]), String(ports[masters + node + 1]));
  await until(async () => {
    const states = await Promise.all(admins.map((admin) => admin.call('CLUSTER', 'INFO')));
    return states.every((state) => isWhole(String(state)));
  });
  for (const admin of admins) admin.disconnect();
  const exit = async (node: number): Promise<void> => {
    const child = children[node];
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${ports[0]}`,
    nodes: ids.map((id, node) => ({ port: ports[node] ?? 0, id })),
    client: () => {
      const cluster = new Cluster(
        ports.slice(0, masters).map((port) => ({ host: '127.0.0.1', port })),
        {
          clusterRetryStrategy: () => 50,
          // A node may be away for seconds: an application that gave up sooner would not show what was lost.
          maxRedirections: 2_000,
          retryDelayOnClusterDown: 50,
          retryDelayOnFailover: 50,
          retryDelayOnMoved: 20,
          redisOptions: { maxRetriesPerRequest: null },
        },
      );
      cluster.on('error', () => undefined);
      return withAskingHeld(cluster);
    },
    kill: exit,
    restart: async (node) => {
      await start(node);
      // A node that comes back serves nothing for some seconds, and the others must have heard of it.
      await until(async () => {
        const states = await Promise.all(
          ports.slice(0, masters).map(async (port) => {
            const redis = direct(port);
            const state = await redis.call('CLUSTER', 'INFO').catch(() => '');
            redis.disconnect();
            return String(state);
          }),
        );
        return states.every(isWhole);
      });
    },
    close: async () => {
      await Promise.all(Array.from({ length: masters }, (_, node) => exit(node)));
      await rm(dir, { recursive: true, force: true });
    },
  };
}

export function direct(port: number): Redis {
  const redis = new Redis({ host: '127.0.0.1', port, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  redis.on('error', () => undefined);
  return redis;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; !(await holds()); attempt += 1) {
    if (attempt > 300) throw new Error('the cluster did not come up');
    await delay(50);
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}
