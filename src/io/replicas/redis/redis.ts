/**
 * Redis as a replica: JSON documents, hashes, strings or sets under a key template, usually a cache of a database. Redis computes no
 * digests, so values come here and are hashed here; a key that has expired is a row that is not there.
 */
import { Redis } from 'ioredis';
import { systemClock } from '../../../base/clock.ts';
import { Failure } from '../../../base/failure.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { KeyRange } from '../../../domain/key-range.ts';
import { keyDigest, rowDigest } from '../../../domain/row-encoding.ts';
import { type Key, keyText, type Row, type Shape } from '../../../domain/row.ts';
import { isInRange } from '../key-order.ts';
import { bucketOfDigest, DigestSum } from '../lane-sum.ts';
import { cutOff, type Line } from '../cut-off.ts';
import type { Entry, ReadRow, ReplicaConnection, ReplicaCounters } from '../replica.ts';
import { unreachable } from '../unreachable.ts';
import { applyEffects } from './apply.ts';
import { type KeyTemplate, parseKeyTemplate } from './key-template.ts';
import { rowFromHash, rowFromJson, rowFromSet, rowFromString, onlyColumn, readableAgain, unreadable, WHOLE_VALUE } from './values.ts';

const SCAN_COUNT = 1_000;
const CONNECT_TIMEOUT_MS = 10_000;

export type ValueKind = NonNullable<Replica['value']>;

/** Connects at the first call. */
export function openRedisReplica(collection: Collection, replica: Replica): ReplicaConnection {
  const counters: ReplicaCounters = { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 };
  const who = `Replica ${replica.id} of ${collection.name}`;
  const kind = replica.value ?? 'json';
  const template = (): KeyTemplate =>
    parseKeyTemplate(replica.keyTemplate ?? `${collection.name}:{${collection.key.join('}:{')}}`, collection.key, who);
  let client: Redis | undefined;
  let lastError: unknown;

  async function use<T>(signal: AbortSignal, work: (redis: Redis) => Promise<T>): Promise<T> {
    client ??= openClient(replica.url, (error) => (lastError = error));
    return over(client, signal, work);
  }

  async function over<T>(redis: Redis, signal: AbortSignal, work: (redis: Redis) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    lastError = undefined;
    // Nothing that is asked of it takes long: what goes on is let end before the connection is cut, which other calls may share.
    const line: Line = { cancel: () => undefined, cut: () => redis.disconnect(), knock: (limit) => knock(replica.url, limit) };
    try {
      return await cutOff(who, line, signal, async () => {
        if (redis.status === 'wait' || redis.status === 'end') await redis.connect();
        const before = bytesOf(redis);
        const result = await work(redis);
        counters.bytesMoved += bytesOf(redis) - before;
        return result;
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw failureOf(who, error, lastError);
    }
  }

  async function* rows(shape: Shape, range: KeyRange, signal: AbortSignal): AsyncGenerator<readonly ReadRow[]> {
    const keys = template();
    let cursor = '0';
    // SCAN may name a key twice while the key space is resized; twice in a digest would be a difference.
    const seen = new Set<string>();
    do {
      const page = await use(signal, (redis) => redis.scan(cursor, 'MATCH', keys.glob, 'COUNT', SCAN_COUNT));
      cursor = page[0];
      const wanted: Key[] = [];
      for (const redisKey of page[1]) {
        const key = keys.parse(shape, redisKey);
        if (key === 'ambiguous') {
          throw new Failure(
            'ambiguous-key',
            `${who} has a key that its template reads in more than one way: separate the columns by something that their values do not hold.`,
            'never',
          );
        }
        const text = key === undefined ? '' : keyText(shape.key, key);
        if (key === undefined || seen.has(text) || !isInRange(shape, key, range)) continue;
        seen.add(text);
        wanted.push(key);
      }
      if (wanted.length > 0) yield await read(shape, wanted, signal);
    } while (cursor !== '0');
  }

  async function read(shape: Shape, keys: readonly Key[], signal: AbortSignal): Promise<readonly ReadRow[]> {
    const format = template().format;
    const found = await use(signal, (redis) =>
      readValues(
        redis,
        kind,
        keys.map((key) => format(readableKey(key))),
      ),
    );
    return keys.flatMap((key, at) => {
      const row = rowOf(shape, replica.columnNames, kind, key, found[at]);
      return row === undefined ? [] : [{ key, row, digest: rowDigest(shape, row) }];
    });
  }

  return {
    replica,
    counters,
    describe: (signal) =>
      use(signal, async (redis) => {
        template();
        await redis.ping();
        const columns = collection.key.map((name) => ({ name, type: 'text' as const, nullable: false }));
        const type = kind === 'string' ? ('text' as const) : kind === 'set' ? ('array' as const) : ('json' as const);
        return { key: collection.key, columns: [...columns, { name: WHOLE_VALUE, type, nullable: false }], open: true as const };
      }),
    position: (signal) =>
      use(signal, async (redis) => {
        await redis.ping();
        const atMs = systemClock.nowMs();
        return { is: 'wall-clock', text: new Date(atMs).toISOString(), atMs };
      }),
    hasPassed: (position, stalenessMs, signal) => {
      signal.throwIfAborted();
      return Promise.resolve(systemClock.nowMs() - position.atMs >= stalenessMs);
    },
    digest: async (shape, ranges, signal) => {
      const digests = [];
      for (const range of ranges) {
        const sum = new DigestSum();
        for await (const batch of rows(shape, range, signal)) for (const row of batch) sum.add(row.digest);
        counters.rowsScanned += sum.result().count;
        digests.push(sum.result());
      }
      return digests;
    },
    digestBuckets: async (shape, range, buckets, signal) => {
      const sums = Array.from({ length: buckets }, () => new DigestSum());
      for await (const batch of rows(shape, range, signal)) {
        for (const row of batch) sums[bucketOfDigest(keyDigest(shape, row.key), buckets)]?.add(row.digest);
        counters.rowsScanned += batch.length;
      }
      return sums.map((sum) => sum.result());
    },
    async *entries(shape, range, choice, signal) {
      const only = choice.only === undefined ? undefined : new Set(choice.only);
      for await (const batch of rows(shape, range, signal)) {
        counters.rowsScanned += batch.length;
        const chosen: readonly Entry[] = batch.filter(
          (row) => only?.has(bucketOfDigest(keyDigest(shape, row.key), choice.buckets)) !== false,
        );
        if (chosen.length > 0) yield chosen;
      }
    },
    readRows: async (shape, keys, signal) => {
      requireOneColumn(shape, kind, who);
      const found: ReadRow[] = [];
      for (let at = 0; at < keys.length; at += SCAN_COUNT) found.push(...(await read(shape, keys.slice(at, at + SCAN_COUNT), signal)));
      counters.rowsFetched += found.length;
      return found;
    },
    apply: async (shape, effects, signal) => {
      requireOneColumn(shape, kind, who);
      // WATCH belongs to a connection: it gets one of its own.
      const own = openClient(replica.url, (error) => (lastError = error));
      try {
        return await over(own, signal, (redis) =>
          applyEffects(redis, { shape, kind, names: replica.columnNames, format: template().format, who }, effects),
        );
      } finally {
        own.disconnect();
      }
    },
    close: () => {
      client?.disconnect();
      return Promise.resolve();
    },
  };
}

/** A key as Redis holds it: what could not be read as the column's type is kept with a mark. */
function readableKey(key: Key): Key {
  return Object.fromEntries(Object.entries(key).map(([name, value]) => [name, readableAgain(value)]));
}

function requireOneColumn(shape: Shape, kind: ValueKind, who: string): void {
  if ((kind === 'string' || kind === 'set') && shape.open !== true && onlyColumn(shape) === undefined) {
    const count = shape.columns.length - shape.key.length;
    throw new Failure(
      'shapes-differ',
      `${who} keeps a ${kind}, which holds one column, but ${count} are compared: exclude the others with columns.NAME.compare: false, or use json or hash.`,
      'never',
    );
  }
}

/** What Redis holds under a key: absent, a value of the expected kind, or something else. */
export type FoundValue = { readonly is: 'absent' } | { readonly is: 'wrong-type' } | { readonly is: 'value'; readonly value: unknown };

export async function readValues(redis: Redis, kind: ValueKind, keys: readonly string[]): Promise<readonly FoundValue[]> {
  const pipeline = redis.pipeline();
  for (const key of keys) {
    if (kind === 'hash') pipeline.hgetallBuffer(key);
    else if (kind === 'set') pipeline.smembersBuffer(key);
    else pipeline.getBuffer(key);
  }
  const answers = (await pipeline.exec()) ?? [];
  return keys.map((_key, at): FoundValue => {
    const [error, value] = answers[at] ?? [new Error('no answer'), null];
    if (error !== null) {
      if (error.message.startsWith('WRONGTYPE')) return { is: 'wrong-type' };
      throw error;
    }
    if (value === null) return { is: 'absent' };
    if (kind === 'hash' && Object.keys(value as object).length === 0) return { is: 'absent' };
    if (kind === 'set' && (value as readonly unknown[]).length === 0) return { is: 'absent' };
    return { is: 'value', value };
  });
}

export function rowOf(
  shape: Shape,
  names: Readonly<Record<string, string>>,
  kind: ValueKind,
  key: Key,
  found: FoundValue | undefined,
): Row | undefined {
  if (found === undefined || found.is === 'absent') return undefined;
  if (found.is === 'wrong-type') {
    const rest = shape.columns.filter((column) => !shape.key.includes(column.name));
    return { ...key, ...Object.fromEntries(rest.map((column) => [column.name, unreadable('wrong type')])) };
  }
  switch (kind) {
    case 'json':
      return rowFromJson(shape, names, key, decode(found.value));
    case 'hash':
      return rowFromHash(
        shape,
        names,
        key,
        new Map(Object.entries(found.value as Record<string, unknown>).map(([name, value]) => [name, decode(value)])),
      );
    case 'string':
      return rowFromString(shape, key, decode(found.value));
    case 'set':
      return rowFromSet(shape, key, (found.value as readonly unknown[]).map(decode));
    default: {
      const never: never = kind;
      throw new TypeError(`no such kind of value: ${String(never)}`);
    }
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes that are not UTF-8 stay apart from all text. */
function decode(value: unknown): string {
  if (!(value instanceof Uint8Array)) return typeof value === 'string' ? value : '';
  try {
    return utf8.decode(value);
  } catch {
    return `\u0000bytes:${Buffer.from(value).toString('hex')}`;
  }
}

function openClient(url: string, onError: (error: unknown) => void): Redis {
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    maxRetriesPerRequest: 1,
    retryStrategy: (times) => (times > 2 ? null : 100),
    connectionName: 'homeostat',
  });
  client.on('error', onError);
  return client;
}

/** Asks over a connection of its own, which goes when the signal aborts. */
async function knock(url: string, signal: AbortSignal): Promise<void> {
  const client = new Redis(url, { lazyConnect: true, enableReadyCheck: false, retryStrategy: () => null, connectionName: 'homeostat' });
  client.on('error', () => undefined);
  const cut = (): void => client.disconnect();
  signal.addEventListener('abort', cut, { once: true });
  try {
    await client.ping();
  } finally {
    signal.removeEventListener('abort', cut);
    cut();
  }
}

function bytesOf(client: Redis): number {
  return (client as unknown as { readonly stream?: { readonly bytesRead?: number } }).stream?.bytesRead ?? 0;
}

function failureOf(who: string, error: unknown, last: unknown): Error {
  if (error instanceof Failure) return error;
  // The client reports a refused login beside the command that then fails for want of a connection.
  for (const one of [last, error]) {
    if (!(one instanceof Error)) continue;
    const code = 'code' in one && typeof one.code === 'string' ? one.code : '';
    const down = unreachable(who, code, one);
    if (down !== undefined) return down;
    if (/WRONGPASS|NOAUTH|invalid username-password|without any password/i.test(one.message))
      return new Failure('wrong-password', `${who} refused the user name or password: correct its url.`, 'never', one);
    if (one.message.startsWith('NOPERM'))
      return new Failure(
        'permission-denied',
        `${who} does not let this user do that: grant it SCAN, reads and writes on its keys.`,
        'never',
        one,
      );
    if (/^(LOADING|BUSY|TRYAGAIN|CLUSTERDOWN|OOM)/.test(one.message))
      return new Failure('replica-busy', `${who} is not ready (${one.message.split(' ')[0]}): try again.`, 'later', one);
    if (one.message.startsWith('READONLY'))
      return new Failure('read-only', `${who} is read-only: repair its leader instead.`, 'never', one);
    if (/Connection is closed|Stream isn't writeable|max retries/i.test(one.message))
      return unreachable(who, 'connection lost', one) ?? one;
  }
  if (error instanceof Error && error.name === 'ReplyError')
    return new Failure('replica-failed', `${who} answered an error: see the cause in the log.`, 'never', error);
  return error instanceof Error ? error : new Failure('replica-failed', `${who} failed.`, 'later', error);
}
