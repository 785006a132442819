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
const names = ['near', 'late'] as const;

interface Writes {
  /** From sending the write until its commit returned. */
  readonly commitMs: number[];
  /** Of each standby: from sending the write until it showed it to readers. */
  readonly shownMs: readonly number[][];
  /** From sending a read until its snapshot: half of its round trip. */
  readonly askMs: readonly number[][];
}

export async function countOnStandbys(options: {
  /** Writes recorded, and as many counted, a setting. */
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
    const primary = await open(estate.url);
    const standbys = await Promise.all(names.map((name) => open(estate.standbys[name] ?? '')));
    await primary.query('create table register (id int primary key, version int not null)');
    await primary.query('insert into register values (1, 0)');
    await estate.slowDown('late', slowByMs);
    let version = 0;
    const write = async (): Promise<void> => {
      version += 1;
      await primary.query({ name: 'write', text: 'update register set version = $1 where id = 1', values: [version] });
    };
    const read = async (standby: pg.Client): Promise<number> => {
      const { rows } = await standby.query<{ version: number }>({ name: 'read', text: 'select version from register where id = 1' });
      return rows[0]?.version ?? -1;
    };
    const settle = async (): Promise<void> => {
      for (const standby of standbys) while ((await read(standby)) < version);
    };
    const setQuorum = async (waitsFor: number): Promise<void> => {
      const value = waitsFor === 0 ? '' : `ANY ${waitsFor} (${names.join(', ')})`;
      await primary.query(`alter system set synchronous_standby_names = '${value}'`);
      await primary.query('select pg_reload_conf()');
      while (
        (await primary.query<{ value: string }>(`select current_setting('synchronous_standby_names') as value`)).rows[0]?.value !== value
      );
    };
    /** How long after it was sent a write is shown by each standby, while its commit waits for none of them. */
    const recordOne = async (made: Writes): Promise<void> => {
      await primary.query('set synchronous_commit = local');
      await settle();
      const sentMs = performance.now();
      await write();
      const committedMs = performance.now();
      made.commitMs.push(committedMs - sentMs);
      await Promise.all(
        standbys.map(async (standby, s) => {
          // A write is on its way to the standbys once it is flushed, which is when the commit returns.
          let staleAtMs = committedMs;
          for (;;) {
            const askedMs = performance.now();
            const seen = await read(standby);
            const midMs = (askedMs + performance.now()) / 2;
            if (seen >= version) {
              // It began to show between the last look that did not see it and this one.
              made.shownMs[s]?.push((staleAtMs + midMs) / 2 - sentMs);
              made.askMs[s]?.push(midMs - askedMs);
              return;
            }
            staleAtMs = midMs;
          }
        }),
      );
    };
    /** Reads both standbys after a commit that waits as the setting says; answers how many were stale, and when each really looked. */
    const countOne = async (afterMs: number, lookedMs: readonly number[][]): Promise<number> => {
      await primary.query('set synchronous_commit = remote_apply');
      await settle();
      await write();
      const committedMs = performance.now();
      // Not by spinning: that would take a core from the standbys. When it really looked is measured.
      if (afterMs > 0) await delay(afterMs);
      const seen = await Promise.all(
        standbys.map(async (standby, s) => {
          const askedMs = performance.now();
          const one = await read(standby);
          lookedMs[s]?.push((askedMs + performance.now()) / 2 - committedMs);
          return one;
        }),
      );
      return seen.filter((one) => one < version).length;
    };

    const results: RealSetting[] = [];
    for (const [waitsFor, afterMs] of options.settings) {
      await setQuorum(waitsFor);
      const made: Writes = { commitMs: [], shownMs: names.map(() => []), askMs: names.map(() => []) };
      const lookedMs: number[][] = names.map(() => []);
      let stale = 0;
      // In turn: a machine that gets busier while it is measured would make record and count different systems.
      for (let i = 0; i < options.writes; i += 1) {
        await recordOne(made);
        stale += await countOne(afterMs, lookedMs);
      }
      results.push({ waitsFor, afterMs, predicted: predict(made, waitsFor, lookedMs), counted: stale / (options.writes * names.length) });
    }
    return results;
  } finally {
    for (const client of clients) await client.end().catch(() => undefined);
    await estate.close();
  }
}

/**
 * The share of reads that WARS says are stale: each moment of the record, with the commit as late as the n-th standby's word makes it,
 * against every twentieth of the moments at which reads really looked. Only when they looked is taken from the count, not what they saw.
 */
function predict(made: Writes, waitsFor: number, lookedMs: readonly (readonly number[])[]): number {
  let stale = 0;
  let reads = 0;
  for (const [i, local] of made.commitMs.entries()) {
    const shown = made.shownMs.map((list) => list[i] ?? 0);
    // A standby's word takes as long to come as a question takes to get there.
    const acks = shown.map((at, s) => at + 2 * (made.askMs[s]?.[i] ?? 0)).toSorted((a, b) => a - b);
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
