/**
 * Redis: keyspace notifications of the keys of a template. Redis keeps none for who is not listening, so that every start of this feed
 * is a gap; and it sends none for FLUSHDB, FLUSHALL and SWAPDB, whose counts are therefore watched.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { systemClock } from '../../../../base/clock.ts';
import { Failure } from '../../../../base/failure.ts';
import { type KeyTemplate, parseKeyTemplate } from '../../redis/key-template.ts';
import { unreachable } from '../../unreachable.ts';
import type { ChangeFeed, FeedOptions, WatchedReplica } from '../changes.ts';

const watchEveryMs = 2_000;
const connectTimeoutMs = 10_000;
/** Commands that change many keys and notify of none. */
const silentCommands = ['flushall', 'flushdb', 'swapdb'];

export const redisFeed: ChangeFeed = {
  engine: 'redis',
  id: 'keyspace',
  title: 'Redis keyspace notifications',
  sentence: 'Writes, deletes and expiries of the keys of the template, while the feed is connected; a full scan closes every gap.',
  needs: '`notify-keyspace-events KA`, and permission to PSUBSCRIBE',
  survivesRestart: false,
  run: runFeed,
  whyNot: async (watched, signal) => {
    const redis = openClient(watched.replica.url);
    const stop = (): void => redis.disconnect();
    signal.addEventListener('abort', stop, { once: true });
    try {
      await redis.connect();
      return await whyNoNotifications(watched, redis);
    } catch (error) {
      throw lost(watched, error);
    } finally {
      signal.removeEventListener('abort', stop);
      redis.disconnect();
    }
  },
  // Nothing is made in the server.
  remove: () => Promise.resolve(),
};

function openClient(url: string): Redis {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: connectTimeoutMs,
    connectionName: 'homeostat changes',
    maxRetriesPerRequest: 0,
    // A connection that came back by itself would hide what was missed meanwhile.
    retryStrategy: () => null,
    autoResubscribe: false,
  });
  client.on('error', () => undefined);
  return client;
}

/** Notification classes that a kind of value needs, beside `K`: `A` stands for all. */
const classesOf = {
  json: ['g', '$', 'x', 'e'],
  string: ['g', '$', 'x', 'e'],
  hash: ['g', 'h', 'x', 'e'],
  set: ['g', 's', 'x', 'e'],
} as const;

async function whyNoNotifications({ collection, replica }: WatchedReplica, redis: Redis): Promise<string | undefined> {
  const who = `Replica ${replica.id} of ${collection.name}`;
  let flags: string;
  try {
    flags = ((await redis.config('GET', 'notify-keyspace-events')) as readonly string[])[1] ?? '';
  } catch {
    return `${who} does not let this user read its configuration, so that whether it notifies of writes is unknown: scans find its changes.`;
  }
  const wanted = classesOf[replica.value ?? 'json'];
  const isEnough = flags.includes('K') && (flags.includes('A') || wanted.every((one) => flags.includes(one)));
  return isEnough
    ? undefined
    : `${who} does not notify of writes (notify-keyspace-events is "${flags}"): set it to KA, or its changes are found by scans alone.`;
}

interface Template {
  readonly watched: WatchedReplica;
  readonly template: KeyTemplate;
}

async function runFeed(options: FeedOptions): Promise<void> {
  const { sink, signal } = options;
  const [first] = options.watched;
  if (first === undefined || signal.aborted) return;
  const asking = openClient(first.replica.url);
  const listening = openClient(first.replica.url);
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const end = (): void => stop.abort();
  try {
    await Promise.all([asking.connect(), listening.connect()]);
    const templates: Template[] = [];
    for (const watched of options.watched) {
      const because = await whyNoNotifications(watched, asking);
      if (because === undefined) templates.push({ watched, template: templateOf(watched) });
      else sink.refused(watched, because);
    }
    if (templates.length === 0) return;
    const database = listening.options.db ?? 0;
    const prefix = `__keyspace@${database}__:`;
    const byPattern = Map.groupBy(templates, ({ template }) => `${escapeGlob(prefix)}${template.glob}`);
    listening.on('pmessageBuffer', (pattern: Buffer, channel: Buffer) => {
      const redisKey = channel.subarray(prefix.length).toString('utf8');
      for (const { watched, template } of byPattern.get(pattern.toString('utf8')) ?? []) {
        const key = template.parse(watched.shape, redisKey);
        // Of a key that can be read in two ways the scan says what is wrong.
        if (key !== undefined && key !== 'ambiguous') sink.key(watched, key);
      }
    });
    listening.once('end', end);
    asking.once('end', end);
    let silent = await countSilent(asking);
    await listening.psubscribe(...byPattern.keys());
    sink.started('notifications are not kept while nobody listens');
    while (!both.aborted) {
      sink.reached(new Date(systemClock.nowMs()).toISOString());
      await delay(watchEveryMs, undefined, { signal: both }).catch(() => undefined);
      if (both.aborted) break;
      const now = await countSilent(asking);
      if (now !== silent) for (const { watched } of templates) sink.everything(watched, 'the database was flushed or swapped');
      silent = now;
    }
    if (!signal.aborted)
      throw new Failure('changes-lost', `The notifications of ${nameOf(first)} broke off: they are listened to again.`, 'later');
  } catch (error) {
    if (signal.aborted) return;
    throw lost(first, error);
  } finally {
    listening.disconnect();
    asking.disconnect();
  }
}

const nameOf = ({ collection, replica }: WatchedReplica): string => `Replica ${replica.id} of ${collection.name}`;

function templateOf(watched: WatchedReplica): KeyTemplate {
  const { collection, replica } = watched;
  const text = replica.keyTemplate ?? `${collection.name}:{${collection.key.join('}:{')}}`;
  return parseKeyTemplate(text, collection.key, nameOf(watched));
}

const escapeGlob = (text: string): string => text.replace(/[\\*?[\]]/g, '\\$&');

/** How often the silent commands have been called, or 0 where the server does not say. */
async function countSilent(redis: Redis): Promise<number> {
  const info = await redis.info('commandstats').catch((error: unknown) => {
    if (error instanceof Error && error.message.startsWith('NOPERM')) return '';
    throw error;
  });
  let calls = 0;
  for (const match of info.matchAll(/^cmdstat_(\w+):calls=(\d+)/gm)) if (silentCommands.includes(match[1] ?? '')) calls += Number(match[2]);
  return calls;
}

function lost(watched: WatchedReplica, error: unknown): unknown {
  if (error instanceof Failure || !(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : 'connection lost';
  if (error.message.startsWith('NOPERM'))
    return new Failure(
      'changes-permission',
      `${nameOf(watched)} does not let this user listen to notifications: allow it PSUBSCRIBE.`,
      'later',
      error,
    );
  return (
    unreachable(nameOf(watched), code, error) ??
    new Failure('changes-lost', `The notifications of ${nameOf(watched)} broke off.`, 'later', error)
  );
}
