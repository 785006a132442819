/** PostgreSQL 13 and newer: logical decoding with the built-in `pgoutput`, nothing installed. */
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '../../../../base/failure.ts';
import { openSessionPool, type SessionPool } from '../../postgres/session.ts';
import type { ChangeFeed, FeedOptions, WatchedReplica } from '../changes.ts';
import { PgoutputDecoder } from './pgoutput.ts';
import { formatLsn, parseLsn, streamChanges } from './replication-stream.ts';
import {
  createSlot,
  dropSlot,
  findPublishable,
  limitsSlots,
  listOurSlots,
  publish,
  type Publishable,
  readSlot,
  type Slot,
  slotName,
  sqlStateOf,
  whyNoDecoding,
} from './slot.ts';

/** How often the server is asked what it keeps for us. */
const watchEveryMs = 2_000;
/** A slot waits for open transactions to end; one that stays open for longer keeps the collection on scans. */
const createTimeoutMs = 120_000;

export const postgresFeed: ChangeFeed = {
  engine: 'postgres',
  id: 'pgoutput',
  title: 'PostgreSQL logical decoding',
  sentence: 'One slot a database and one publication a collection; every committed write is told, across restarts of either side.',
  needs: '`wal_level = logical`, a role with REPLICATION, and a publication `homeostat_<collection>` (made where the role owns the table)',
  survivesRestart: true,
  run: runFeed,
  whyNot: async (watched, signal) => {
    const pool = poolOf(watched.collection.name, watched.replica);
    try {
      return await pool.use(signal, async (session) => {
        const whole = await whyNoDecoding(watched, session);
        if (whole !== undefined) return whole;
        const table = await findPublishable(watched, session);
        return table.is === 'refused' ? table.because : undefined;
      });
    } finally {
      await pool.close();
    }
  },
  remove: async (replica, installation, signal) => {
    const pool = poolOf(replica.id, replica);
    try {
      await pool.use(signal, async (session) => {
        for (const name of await listOurSlots(installation, replica.url, session)) await dropSlot(name, session);
      });
    } finally {
      await pool.close();
    }
  },
};

const poolOf = (collection: string, replica: FeedOptions['watched'][number]['replica']): SessionPool =>
  openSessionPool(collection, replica, { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 });

async function runFeed(options: FeedOptions): Promise<void> {
  const [first] = options.watched;
  if (first === undefined) return;
  const pool = poolOf(first.collection.name, first.replica);
  try {
    const tables = await publishTables(options, pool);
    if (tables.length === 0) {
      // Nobody would read them.
      await postgresFeed.remove(first.replica, options.installation, options.signal);
      return;
    }
    await stream(options, tables, pool);
  } finally {
    await pool.close();
  }
}

type Table = Extract<Publishable, { is: 'table' }>;

async function publishTables({ watched, sink, signal }: FeedOptions, pool: SessionPool): Promise<readonly Table[]> {
  const tables: Table[] = [];
  for (const one of watched) {
    const table = await pool.use(signal, async (session): Promise<Table | string> => {
      const whole = await whyNoDecoding(one, session);
      if (whole !== undefined) return whole;
      const found = await findPublishable(one, session);
      if (found.is === 'refused') return found.because;
      return (await publish(found, session, (statement) => sink.made(one, statement))) ?? found;
    });
    if (typeof table === 'string') sink.refused(one, table);
    else tables.push(table);
  }
  return tables;
}

async function stream(options: FeedOptions, tables: readonly Table[], pool: SessionPool): Promise<void> {
  const { sink, signal, installation } = options;
  const name = slotName(installation, first(options).replica.url, tables);
  const start = await prepareSlot(options, name, pool);
  let settled = start.lsn;
  const settledLsn = (): bigint => {
    const text = options.settled();
    if (text !== null) {
      const lsn = parseLsn(text);
      if (lsn > settled) settled = lsn;
    }
    return settled;
  };
  const decoder = new PgoutputDecoder(
    tables.map((table) => table.published),
    sink,
  );
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const watching = watchSlot(options, name, pool, both).finally(() => stop.abort());
  const streaming = streamChanges({
    url: first(options).replica.url,
    slot: name,
    isTemporary: start.isTemporary,
    isLocalOnly: start.knowsOrigins && tables.every(({ published }) => isToldByLeader(published.watched)),
    onSlot: (beginsAt) => {
      settled = beginsAt ?? settled;
      sink.started(start.missed);
    },
    publications: [...new Set(tables.map((table) => table.publication))],
    onMessage: (payload) => {
      const endLsn = decoder.decode(payload);
      if (endLsn !== undefined) sink.reached(formatLsn(endLsn));
    },
    // Sent between transactions only: all before it has been told.
    onKeepalive: (endLsn) => sink.reached(formatLsn(endLsn)),
    settled: settledLsn,
    signal: both,
  }).finally(() => stop.abort());
  const [watched, streamed] = await Promise.allSettled([watching, streaming]);
  if (signal.aborted) return;
  if (watched.status === 'rejected') throw watched.reason;
  if (watched.value !== undefined) {
    // Its reader has ended; dropped before anybody reads from it again.
    await pool.use(signal, (session) => dropSlot(name, session));
    throw watched.value;
  }
  if (streamed.status === 'rejected') throw lost(options, streamed.reason);
}

const first = (options: FeedOptions): FeedOptions['watched'][number] => {
  const [one] = options.watched;
  if (one === undefined) throw new RangeError('a feed watches one replica or more');
  return one;
};

/** A follower repeats what its leader, watched too, has told already: only what was written to it directly is news. */
function isToldByLeader({ collection, replica }: WatchedReplica): boolean {
  return replica.role === 'follower' && collection.replicas.some((other) => other.role === 'leader' && other.via !== 'agent');
}

interface Start {
  readonly lsn: bigint;
  /** PostgreSQL 16: what replication wrote can be left out. */
  readonly knowsOrigins: boolean;
  /** The slot is still to be made, on the connection that reads it. */
  readonly isTemporary: boolean;
  readonly missed: string | undefined;
}

/** The slot as it is, or made anew; with why writes were missed, if they were. */
async function prepareSlot(options: FeedOptions, name: string, pool: SessionPool): Promise<Start> {
  const { from, signal, installation, maxRetainedBytes } = options;
  return pool.use(AbortSignal.any([signal, AbortSignal.timeout(createTimeoutMs)]), async (session): Promise<Start> => {
    const [version] = await session.query(`SELECT current_setting('server_version_num')::int >= 160000 AS knows`);
    const knowsOrigins = version?.['knows'] === true;
    const isKept = options.isDurable || (await limitsSlots(session));
    for (const other of await listOurSlots(installation, first(options).replica.url, session))
      if (other !== name || !isKept) await dropSlot(other, session);
    // Nothing would bound what it keeps once we are gone for good: it goes with the connection.
    if (!isKept)
      return {
        lsn: 0n,
        knowsOrigins,
        isTemporary: true,
        missed: from === null ? 'the feed is new' : 'its replication slot ended with the connection',
      };
    const slot = await readSlot(name, session);
    const isTooLarge = slot.retainedBytes > maxRetainedBytes;
    if (slot.exists && !slot.isLost && !isTooLarge)
      return { lsn: slot.confirmedLsn, knowsOrigins, isTemporary: false, missed: whyMissed(slot, from) };
    if (slot.exists) await dropSlot(name, session);
    const lsn = await createSlot(name, session);
    const because = isTooLarge
      ? `its replication slot kept ${Math.round(slot.retainedBytes / 2 ** 20)} MiB of log, more than it may, and was dropped`
      : slot.isLost
        ? 'the server had removed the log that its replication slot needed'
        : from === null
          ? 'the feed is new'
          : 'its replication slot was gone';
    return { lsn, knowsOrigins, isTemporary: false, missed: because };
  });
}

function whyMissed(slot: Slot, from: string | null): string | undefined {
  if (from === null) return 'this feed has not been read before';
  return slot.confirmedLsn > parseLsn(from) ? 'its replication slot was read by somebody else' : undefined;
}

/** Returns when the signal aborts, or with why the slot has to go: the server keeps more for us than it may, or has stopped to. */
async function watchSlot(options: FeedOptions, name: string, pool: SessionPool, signal: AbortSignal): Promise<Failure | undefined> {
  const { collection, replica } = first(options);
  const whose = `The replication slot ${name} of replica ${replica.id} of ${collection.name}`;
  for (;;) {
    await delay(watchEveryMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return undefined;
    const slot = await pool
      .use(signal, (session) => readSlot(name, session))
      .catch((error: unknown) => {
        if (signal.aborted) return undefined;
        throw error;
      });
    if (slot === undefined) return undefined;
    options.sink.retained(slot.retainedBytes);
    if (!slot.exists || slot.isLost)
      return new Failure(
        'changes-slot-lost',
        `${whose} was dropped or invalidated by the server: it is made anew, and scans take over until then.`,
        'later',
      );
    if (slot.retainedBytes > options.maxRetainedBytes)
      return new Failure(
        'changes-slot-grew',
        `${whose} kept ${Math.round(slot.retainedBytes / 2 ** 20)} MiB of log, more than changes.maxRetainedMb allows: it was dropped, and scans take over until a new one is made.`,
        'later',
      );
  }
}

function lost(options: FeedOptions, error: unknown): unknown {
  if (error instanceof Failure) return error;
  const { collection, replica } = first(options);
  const who = `Replica ${replica.id} of ${collection.name}`;
  const state = sqlStateOf(error);
  if (state === '42501')
    return new Failure('changes-permission', `${who} does not let this user replicate: give its role REPLICATION.`, 'later', error);
  if (state === '55006')
    return new Failure('changes-busy', `The replication slot of ${who} is still read by another process.`, 'later', error);
  if (state === '53300')
    return new Failure('changes-full', `${who} has no free replication connection: raise max_wal_senders.`, 'later', error);
  return new Failure(
    'changes-lost',
    `The stream of changes of ${who} broke off${state === '' ? '' : ` (${state})`}: it is started again.`,
    'later',
    error,
  );
}
