/** The table that replica benches compare: eight columns, the same rows on both sides, then differences with a seed. */
import { readFileSync, readdirSync } from 'node:fs';
import pg from 'pg';
import { createRng } from '../../../src/base/rng.ts';
import type { Collection, Replica } from '../../../src/domain/collection.ts';

export const collectionOf = (replicas: readonly Replica[]): Collection => ({
  name: 'accounts',
  domain: 'bench',
  key: ['id'],
  columnClasses: {},
  excludedColumns: [],
  invariants: [],
  replicas,
  scanEveryMs: 1000,
});

export const replicaOf = (id: string, engine: Replica['engine'], url: string): Replica => ({
  id,
  engine,
  url,
  table: 'accounts',
  region: id,
  role: 'peer',
  columnNames: {},
});

export const createAccounts = (engine: 'postgres' | 'mysql'): string =>
  `CREATE TABLE accounts (id bigint PRIMARY KEY, owner int NOT NULL, region varchar(8) NOT NULL, balance decimal(14,2) NOT NULL, note varchar(80), active boolean NOT NULL,
   created ${engine === 'postgres' ? 'timestamptz' : 'datetime(6)'} NOT NULL, version int NOT NULL)`;

export const fillPostgres = (rows: number): string =>
  `INSERT INTO accounts SELECT i, i % 10007, (array['eu','us','ap'])[1 + i % 3], (i::bigint * 7919 % 10000000) / 100.0, CASE WHEN i % 11 = 0 THEN NULL ELSE 'note ' || md5(i::text) END,
     i % 5 <> 0, timestamptz '2026-01-01Z' + i * interval '1.000001 second', i % 9 FROM generate_series(1, ${rows}) i; VACUUM (ANALYZE) accounts`;

export const fillMariadb = (rows: number): string =>
  `INSERT INTO accounts SELECT seq, seq % 10007, ELT(1 + seq % 3, 'eu', 'us', 'ap'), (seq * 7919 % 10000000) / 100, IF(seq % 11 = 0, NULL, CONCAT('note ', MD5(seq))),
     seq % 5 <> 0, '2026-01-01' + INTERVAL seq SECOND, seq % 9 FROM seq_1_to_${rows}`;

/** Statements that make exactly `differences` keys differ: half changed, a quarter deleted, a quarter added. */
export function differ(rows: number, differences: number, seed: number): readonly string[] {
  const random = createRng(seed);
  const ids = new Set<number>();
  while (ids.size < differences) ids.add(1 + random.int(rows));
  const list = [...ids];
  const quarter = Math.floor(differences / 4);
  const [gone, added, changed] = [list.slice(0, quarter), list.slice(quarter, quarter * 2), list.slice(quarter * 2)];
  const inserts = added.map((_id, at) => `(${rows + 1 + at}, 1, 'eu', 1.5, 'added', true, '2026-01-01', 1)`);
  return [
    ...(gone.length === 0 ? [] : [`DELETE FROM accounts WHERE id IN (${gone.join(', ')})`]),
    ...(inserts.length === 0 ? [] : [`INSERT INTO accounts VALUES ${inserts.join(', ')}`]),
    `UPDATE accounts SET balance = balance + 0.01 WHERE id IN (${changed.join(', ')})`,
  ];
}

/** CPU seconds that the process with this id has used. Linux only. */
export function processCpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  return ((fields[11] ?? 0) + (fields[12] ?? 0)) / 100;
}

/** CPU seconds that a PostgreSQL server and all its processes, also those that have ended, have used. Linux only. */
export async function serverCpuSeconds(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ dir: string }>(`SELECT current_setting('data_directory') AS dir`);
  const postmaster = Number(readFileSync(`${rows[0]?.dir ?? ''}/postmaster.pid`, 'utf8').split('\n')[0]);
  let ticks = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    let stat: string;
    try {
      stat = readFileSync(`/proc/${name}/stat`, 'utf8');
    } catch {
      continue; // It has ended meanwhile.
    }
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [parent = 0, user = 0, system = 0, childUser = 0, childSystem = 0] = [fields[1], fields[11], fields[12], fields[13], fields[14]];
    if (Number(name) === postmaster) ticks += user + system + childUser + childSystem;
    else if (parent === postmaster) ticks += user + system;
  }
  return ticks / 100;
}
