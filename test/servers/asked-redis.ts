import { Redis } from 'ioredis';
import { type DelayProxy, startDelayProxy, type Ways } from './delay-proxy.ts';
import { startRedis, type TestRedis } from './redis.ts';

/**
 * Three real Redis servers as replicas of registers, each behind a proxy that makes it as far away as it should be, and clients that send
 * each write and read to all three themselves, over connections of their own for both. A lane is a client of one register: it writes, goes on
 * with the W-th acknowledgement, reads at once, goes by the newest of the first R answers, and knows what it had written. It begins anew once
 * all have answered: nothing of it is on its way then.
 */
export interface AskedRedis {
  /** By replica, as clients know them. */
  readonly hosts: readonly string[];
  /** So many turns of each lane, as `choose` says anew for each. Counts what the clients saw, by what was chosen. */
  run(turns: number, choose: () => Chosen): Promise<ReadonlyMap<Chosen, Counted>>;
  close(): Promise<void>;
}

/** `trace` is told of the turn, and of each call to a replica in it. */
export interface Chosen {
  readonly read: number;
  readonly write: number;
  readonly trace: TraceTurn;
}

export interface Counted {
  readonly reads: number;
  readonly stale: number;
}

/** One call to one replica. */
export interface AskedCall {
  readonly kind: 'read' | 'write';
  readonly key: string;
  /** 0, 1 or 2. */
  readonly replica: number;
  readonly host: string;
}

/** `send` answers the version that was written or read. */
export type TraceCall = (call: AskedCall, send: () => Promise<number>) => Promise<number>;
export type TraceTurn = (work: (call: TraceCall) => Promise<void>) => Promise<void>;

const usualLanes = 6;

export async function startAskedRedis(
  ways: (replica: number, kind: AskedCall['kind']) => Ways,
  laneCount = usualLanes,
): Promise<AskedRedis> {
  const servers: TestRedis[] = await Promise.all([startRedis(), startRedis(), startRedis()]);
  const proxies: DelayProxy[] = await Promise.all(
    servers.map(({ url }, i) =>
      startDelayProxy(Number(new URL(url).port), (request) => ways(i, /\r\nset\r\n/i.test(request) ? 'write' : 'read')),
    ),
  );
  const open = (): readonly Redis[] => proxies.map(({ port }) => new Redis({ port, host: '127.0.0.1', enableReadyCheck: false }));
  const lanes = Array.from({ length: laneCount }, (_, i) => ({ key: `r${i}`, version: 0, writers: open(), readers: open() }));
  const clients = lanes.flatMap(({ writers, readers }) => [...writers, ...readers]);
  await Promise.all(clients.map((client) => client.ping()));

  const turn = async (lane: (typeof lanes)[number], read: number, write: number, ask: TraceCall): Promise<boolean> => {
    lane.version += 1;
    const { version, key } = lane;
    const name = `registers:${key}`;
    const toAll = (kind: AskedCall['kind'], send: (replica: number) => Promise<number>): readonly Promise<number>[] =>
      proxies.map(({ host }, replica) => ask({ kind, key, replica, host }, () => send(replica)));
    const written = toAll('write', async (replica) => {
      await lane.writers[replica]?.set(name, JSON.stringify({ id: key, version }));
      return version;
    });
    await firstOf(written, write);
    const answers = toAll('read', async (replica) => {
      const text = await lane.readers[replica]?.get(name);
      return typeof text === 'string' ? (JSON.parse(text) as { version: number }).version : 0;
    });
    const newest = Math.max(...(await firstOf(answers, read)));
    await Promise.all([...written, ...answers]);
    return newest < version;
  };

  return {
    hosts: proxies.map(({ host }) => host),
    run: async (turns, choose) => {
      const counts = new Map<Chosen, Counted>();
      await Promise.all(
        lanes.map(async (lane) => {
          for (let i = 0; i < turns; i += 1) {
            const chosen = choose();
            await chosen.trace(async (ask) => {
              const isStale = await turn(lane, chosen.read, chosen.write, ask);
              const { reads, stale } = counts.get(chosen) ?? { reads: 0, stale: 0 };
              counts.set(chosen, { reads: reads + 1, stale: stale + (isStale ? 1 : 0) });
            });
          }
        }),
      );
      return counts;
    },
    close: async () => {
      for (const client of clients) client.disconnect();
      await Promise.all(proxies.map((proxy) => proxy.close()));
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}

/** The first `count` answers, as they came. */
function firstOf(answers: readonly Promise<number>[], count: number): Promise<readonly number[]> {
  const came: number[] = [];
  return new Promise((resolve, reject) => {
    for (const answer of answers)
      answer.then((version) => {
        came.push(version);
        if (came.length === count) resolve([...came]);
      }, reject);
  });
}
