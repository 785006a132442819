import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { startReplication } from '../../servers/postgres-standbys.ts';

/**
 * The same question put to a real replication set: a PostgreSQL primary and two streaming standbys on loopback, one of which shows what
 * it received some milliseconds later. The record is made with commits that wait for nobody: how long after the write was sent each
 * standby shows it. From it the stale share is predicted for commits that wait for so many standbys and reads that come so long after;
 * in between, in turn, stale reads are counted with that number in force.
 */
export interface RealSetting {
  readonly waitsFor: number;
  readonly afterMs: number;
  readonly predicted: number;
  readonly counted: number;
}

const slowByMs = 25;
/** Registers written and read side by side: most of the time is waiting for the late standby. */
const laneCount = 2;
/** A look whose moment is known no better than this counts for nothing: on a busy machine an answer says little about when it was made. */
const sharpMs = 5;
const names = ['near', 'late'] as const;

interface Writes {
  /** From sending the write until its commit returned. */
  readonly commitMs: number[];
  /** Of each standby: from sending the write until it showed it to readers. */
  readonly shownMs: readonly number[][];
  /** The same writes: from sending one until the standby's word that it shows it would be with the client. */
  readonly wordMs: readonly number[][];
  /** The latter of other writes, at which the standbys were looked at from the moment they were sent. */
  readonly wordSoonMs: readonly number[][];
}

export async function countOnStandbys(options: {
  /** Writes recorded, and as many counted, a setting and lane. */
  readonly writes: number;
  readonly settings: readonly (readonly [waitsFor: number, afterMs: number])[];
}): Promise<readonly RealSetting[]> {
  const estate = await startReplication([...names]);
  const clients: pg.Client[] = [];
  const open = async (url: string): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: url });
    clients.push(client);
    await client.connect();
    return client;
  };
  try {
    const admin = await open(estate.url);
    await admin.query('create table register (id int primary key, version int not null)');
    await estate.slowDown('late', slowByMs);
    const setQuorum = async (waitsFor: number): Promise<void> => {
      const value = waitsFor === 0 ? '' : `ANY ${waitsFor} (${names.join(', ')})`;
      await admin.query(`alter system set synchronous_standby_names = '${value}'`);
      await admin.query('select pg_reload_conf()');
      for (const one of [admin, ...lanes.map(({ primary }) => primary)])
        while (
          (await one.query<{ value: string }>(`select current_setting('synchronous_standby_names') as value`)).rows[0]?.value !== value
        );
    };
    const lanes: Lane[] = [];
    for (let id = 1; id <= laneCount; id += 1) {
      await admin.query('insert into register values ($1, 0)', [id]);
      lanes.push(
        await openLane(
          id,
          () => open(estate.url),
          () => Promise.all(names.map((name) => open(estate.standbys[name] ?? ''))),
        ),
      );
    }

    const results: RealSetting[] = [];
    for (const [waitsFor, afterMs] of options.settings) {
      await setQuorum(waitsFor);
      const made: Writes = { commitMs: [], shownMs: names.map(() => []), wordMs: names.map(() => []), wordSoonMs: names.map(() => []) };
      const lookedMs: number[][] = names.map(() => []);
      let stale = 0;
      let reads = 0;
      await Promise.all(
        lanes.map(async (lane) => {
          // In turn: a machine that gets busier while it is measured would make record and count different systems.
          for (let i = 0; i < options.writes; i += 1) {
            await recordOne(lane, made);
            const counted = await countOne(lane, afterMs, lookedMs);
            stale += counted.stale;
            reads += counted.reads;
          }
        }),
      );
      results.push({ waitsFor, afterMs, predicted: predict(made, waitsFor, lookedMs), counted: reads === 0 ? 0 : stale / reads });
    }
    return results;
  } finally {
    for (const client of clients) await client.end().catch(() => undefined);
    await estate.close();
  }
}

/** One register with a writer and a reader at each standby. */
interface Lane {
  readonly primary: pg.Client;
  write(): Promise<number>;
  readonly readers: readonly (() => Promise<number>)[];
  /** Until every standby shows the last write. */
  settle(): Promise<void>;
}

async function openLane(
  id: number,
  openPrimary: () => Promise<pg.Client>,
  openStandbys: () => Promise<readonly pg.Client[]>,
): Promise<Lane> {
  const primary = await openPrimary();
  const standbys = await openStandbys();
  let version = 0;
  const readers = standbys.map((standby) => async (): Promise<number> => {
    const { rows } = await standby.query<{ version: number }>({
      name: 'read',
      text: 'select version from register where id = $1',
      values: [id],
    });
    return rows[0]?.version ?? -1;
  });
  return {
    primary,
    readers,
    write: async () => {
      version += 1;
      await primary.query({ name: 'write', text: 'update register set version = $1 where id = $2', values: [version, id] });
      return version;
    },
    settle: async () => {
      for (const read of readers) while ((await read()) < version) await delay(1);
    },
  };
}

/**
 * What a commit that waits for none of the standbys takes, how long after it was sent each of them shows it, and when its word of that
 * would be there. Looks make a commit slow, so they begin after it; but a standby that is near shows a write before its commit has
 * returned, and then its word seems 0.2 ms later than it is, which at the edge is 7 points of stale reads. How much later is had from a
 * second write, at which they begin when it is sent.
 */
async function recordOne(lane: Lane, made: Writes): Promise<void> {
  await lane.primary.query('set synchronous_commit = local');
  await lane.settle();
  const sentMs = performance.now();
  const version = await lane.write();
  const committedMs = performance.now();
  const found = await Promise.all(lane.readers.map((read) => lookUntil(read, version, committedMs)));
  await lane.settle();
  const sentAgainMs = performance.now();
  const written = lane.write();
  const words = await Promise.all(lane.readers.map((read) => lookUntil(read, version + 1, sentAgainMs)));
  await written;
  if (![...found, ...words].every(({ isSharp }) => isSharp)) return;
  made.commitMs.push(committedMs - sentMs);
  // A standby's word takes as long to come as a question takes to get there, and the primary's to the client as long again.
  found.forEach(({ shownAtMs, askMs }, s) => {
    made.shownMs[s]?.push(shownAtMs - sentMs);
    made.wordMs[s]?.push(shownAtMs - sentMs + 2 * askMs);
  });
  words.forEach(({ shownAtMs, askMs }, s) => made.wordSoonMs[s]?.push(shownAtMs - sentAgainMs + 2 * askMs));
}

/** Looks until the version shows: it began to between the last look that did not see it, or `fromMs`, and the first that did. */
async function lookUntil(
  read: () => Promise<number>,
  version: number,
  fromMs: number,
): Promise<{ readonly shownAtMs: number; readonly askMs: number; readonly isSharp: boolean }> {
  let staleAtMs = fromMs;
  for (;;) {
    const askedMs = performance.now();
    const seen = await read();
    const midMs = (askedMs + performance.now()) / 2;
    if (seen >= version) return { shownAtMs: (staleAtMs + midMs) / 2, askMs: midMs - askedMs, isSharp: midMs - staleAtMs <= sharpMs };
    staleAtMs = midMs;
  }
}

/** Reads both standbys after a commit that waits as the setting says; answers how many were stale, and notes when each looked. */
async function countOne(
  lane: Lane,
  afterMs: number,
  lookedMs: readonly number[][],
): Promise<{ readonly stale: number; readonly reads: number }> {
  await lane.primary.query('set synchronous_commit = remote_apply');
  await lane.settle();
  const version = await lane.write();
  const committedMs = performance.now();
  // Not by spinning: that would take a core from the standbys.
  if (afterMs > 0) await delay(afterMs);
  const seen = await Promise.all(
    lane.readers.map(async (read, s) => {
      const askedMs = performance.now();
      const one = await read();
      const answeredMs = performance.now();
      if (answeredMs - askedMs > sharpMs) return null;
      lookedMs[s]?.push((askedMs + answeredMs) / 2 - committedMs);
      return one;
    }),
  );
  const sharp = seen.filter((one) => one !== null);
  return { stale: sharp.filter((one) => one < version).length, reads: sharp.length };
}

/**
 * The share of reads that WARS says are stale: each moment of the record, with the commit as late as the n-th standby's word makes it,
 * against every twentieth of the moments at which reads really looked. Only when they looked is taken from the count, not what they saw.
 */
function predict(made: Writes, waitsFor: number, lookedMs: readonly (readonly number[])[]): number {
  const lateBy = made.wordMs.map((list, s) => Math.max(0, medianOf(list) - medianOf(made.wordSoonMs[s] ?? [])));
  let stale = 0;
  let reads = 0;
  for (const [i, local] of made.commitMs.entries()) {
    const shown = made.shownMs.map((list) => list[i] ?? 0);
    const acks = made.wordMs.map((list, s) => (list[i] ?? 0) - (lateBy[s] ?? 0)).toSorted((a, b) => a - b);
    const commit = waitsFor === 0 ? local : Math.max(local, acks[waitsFor - 1] ?? 0);
    for (const [s, at] of shown.entries()) {
      const looks = lookedMs[s] ?? [];
      for (let k = i % 20; k < looks.length; k += 20) {
        reads += 1;
        // A standby whose word the commit waited for shows it.
        if (commit + (looks[k] ?? 0) < at) stale += 1;
      }
    }
  }
  return reads === 0 ? 0 : stale / reads;
}

const medianOf = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0;
