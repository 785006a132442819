import { type ConnectionOptions, createPostgresBackend, Queue as BullQueue, Worker as BullWorker, withBackend } from 'bullmq';
import { Cluster, Redis } from 'ioredis';
import pg from 'pg';
import { Failure } from '../../base/failure.ts';
import { type Bell, bells } from '../../domain/bell.ts';
import type { Queue } from './queue.ts';
import { withAskingHeld } from './redis-cluster.ts';

/*
 * The doorbell on BullMQ 6: on its PostgreSQL backend, in a schema beside our own, or on Redis and Redis Cluster. Jobs are tried
 * once: a job that fails or is lost is rung again by the sweeper from the state tables, so that there is one retry policy, not two.
 */

/** BullMQ gives a job back to the queue when its worker has not renewed the lock for this long: a blocked or dead process. */
const lockDurationMs = 30_000;
const readyTimeoutMs = 5_000;
const closeTimeoutMs = 3_000;
/** In Redis Cluster all keys of a queue must share a slot, which the braces do. */
const redisPrefix = '{homeostat}';

interface Job {
  readonly data: { readonly subject: string };
}

interface Producer {
  addBulk(jobs: { name: string; data: { subject: string }; opts: { jobId: string } }[]): Promise<unknown>;
  getWaitingCount(): Promise<number>;
  close(): Promise<void>;
  on(event: 'error', heard: (error: Error) => void): unknown;
}

interface Consumer {
  waitUntilReady(): Promise<unknown>;
  close(force?: boolean): Promise<void>;
  on(event: 'error', heard: (error: Error) => void): unknown;
  on(event: 'failed', heard: (job: Job | undefined, error: Error) => void): unknown;
}

/** What differs between the backends. */
interface Backend {
  readonly name: string;
  produce(queue: string): Promise<Producer>;
  consume(queue: string, concurrency: number, work: (job: Job) => Promise<void>): Promise<Consumer>;
  close(): Promise<void>;
}

/**
 * Finished jobs are forgotten at once. To keep the last thousand, BullMQ's PostgreSQL backend searches all of them at each end of a job:
 * measured, 126 jobs/s instead of 905, and deadlocks between workers.
 */
const jobOptions = { attempts: 1, removeOnComplete: true, removeOnFail: true };
const workerOptions = { lockDuration: lockDurationMs, stalledInterval: lockDurationMs, maxStalledCount: 3, drainDelay: 5 };

/** BullMQ listens to a session of its pool only while it waits for an answer; one that ends at another moment would end the process. */
class HeardClient extends pg.Client {
  constructor(config?: string | pg.ClientConfig) {
    super(config);
    this.on('error', () => undefined);
  }
}

/** On PostgreSQL: `url` is our own database. Creates its schema where it is missing. */
export async function openPostgresQueue(url: string, onError: (error: Error) => void, schema = 'homeostat_queue'): Promise<Queue> {
  const bound = withBackend(createPostgresBackend);
  // The doorbell may forget what it was told in the last moments before a crash: the sweeper rings again. So no ring waits for a disk.
  const connection = {
    connectionString: url,
    schema,
    migrate: true,
    max: 6,
    options: '-c synchronous_commit=off',
    Client: HeardClient,
  };
  const backend: Backend = {
    name: 'postgres',
    produce: async (queue) => {
      const producer = new bound.Queue<{ subject: string }>(queue, { connection, defaultJobOptions: jobOptions });
      producer.on('error', onError);
      await producer.waitUntilReady();
      return producer;
    },
    consume: async (queue, concurrency, work) =>
      new bound.Worker<{ subject: string }>(queue, work, { connection, concurrency, ...workerOptions }),
    close: async () => undefined,
  };
  return openQueue(backend, onError);
}

/** On Redis, or on Redis Cluster where several nodes are given. */
export async function openRedisQueue(urls: readonly string[], onError: (error: Error) => void): Promise<Queue> {
  const first = urls[0];
  if (first === undefined) throw new Failure('queue-config', '`queue` names no Redis: give `redis://host:port`', 'never');
  const open = (): Redis | Cluster => {
    const client =
      urls.length > 1
        ? withAskingHeld(new Cluster([...urls], { redisOptions: { maxRetriesPerRequest: null } }))
        : new Redis(first, { maxRetriesPerRequest: null });
    client.on('error', onError);
    return client;
  };
  const client = open();
  const connection = client as unknown as ConnectionOptions;
  const backend: Backend = {
    name: 'redis',
    produce: async (queue) => new BullQueue<{ subject: string }>(queue, { connection, prefix: redisPrefix, defaultJobOptions: jobOptions }),
    consume: async (queue, concurrency, work) =>
      new BullWorker<{ subject: string }>(queue, work, { connection, prefix: redisPrefix, concurrency, ...workerOptions }),
    close: async () => {
      client.disconnect();
    },
  };
  return openQueue(backend, onError);
}

async function openQueue(backend: Backend, onError: (error: Error) => void): Promise<Queue> {
  const producers = new Map<Bell, Producer>();
  for (const bell of bells) {
    const producer = await backend.produce(`homeostat-${bell}`);
    producer.on('error', onError);
    producers.set(bell, producer);
  }
  const producerOf = (bell: Bell): Producer => {
    const producer = producers.get(bell);
    if (producer === undefined) throw new Failure('queue-closed', `no queue for ${bell}`, 'never');
    return producer;
  };
  const consumers: Consumer[] = [];
  const stopping = new AbortController();
  let running = 0;
  return {
    backend: backend.name,
    ring: async (bell, rings, signal) => {
      if (rings.length === 0) return;
      const added = producerOf(bell).addBulk(rings.map(({ id, subject }) => ({ name: bell, data: { subject }, opts: { jobId: id } })));
      await withSignal(added, signal);
    },
    answer: async (bell, concurrency, work, failed) => {
      const consumer = await backend.consume(`homeostat-${bell}`, concurrency, async (job) => {
        running += 1;
        try {
          await work(job.data.subject, stopping.signal);
        } finally {
          running -= 1;
        }
      });
      consumer.on('error', onError);
      consumer.on('failed', (job, error) => failed(job?.data.subject ?? '', error));
      consumers.push(consumer);
      // A Redis that is away does not keep the service from starting: the worker connects when it is back.
      await atMost(readyTimeoutMs, consumer.waitUntilReady());
    },
    waiting: (bell) => producerOf(bell).getWaitingCount(),
    close: async (graceMs) => {
      // Work in progress goes on to its next safe point: `stopping` asks it to stop there.
      const timer = setTimeout(() => stopping.abort(), graceMs / 2);
      const forced = setTimeout(() => {
        for (const consumer of consumers) consumer.close(true).catch(onError);
      }, graceMs);
      // With no work in progress there is nothing to wait for but the queue itself, which may be away.
      await atMost(running === 0 ? closeTimeoutMs : graceMs, Promise.allSettled(consumers.map((consumer) => consumer.close())));
      clearTimeout(timer);
      clearTimeout(forced);
      await atMost(closeTimeoutMs, Promise.allSettled([...producers.values()].map((producer) => producer.close())));
      await backend.close();
    },
  };
}

/** Waits for `work`, but no longer than that; what it throws in time is thrown. */
async function atMost(limitMs: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => (timer = setTimeout(resolve, limitMs)));
  work.catch(() => undefined);
  await Promise.race([work, limit]);
  clearTimeout(timer);
}

/** A Redis that is away makes commands wait for it; the caller does not. What it asked for may still happen, which is harmless. */
function withSignal(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void =>
      reject(new Failure('queue-down', 'the queue does not answer: is it running, and is `queue` right?', 'later', signal.reason));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work
      .then(
        () => resolve(),
        (cause: unknown) =>
          reject(
            new Failure(
              'queue-down',
              `the queue did not take a job (${cause instanceof Error ? cause.message : String(cause)})`,
              'later',
              cause,
            ),
          ),
      )
      .finally(() => signal.removeEventListener('abort', abort));
  });
}
