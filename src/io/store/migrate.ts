import { readdir, readFile } from 'node:fs/promises';
import { sha256Hex } from '../../base/hash.ts';
import { Failure } from '../../base/failure.ts';
import type { Database } from './database.ts';

export interface Migration {
  /** File name: `0001-foundation.sql`. */
  readonly name: string;
  readonly sql: string;
  readonly sha256: string;
}

/** Any number: names the lock that keeps two starting processes from migrating at once. */
const migrationLock = 0x6d696772;

export async function readMigrations(folder: URL = new URL('./migrations/', import.meta.url)): Promise<readonly Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).toSorted();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, folder), 'utf8');
      return { name, sql, sha256: sha256Hex(sql) };
    }),
  );
}

/**
 * Brings the schema up to date, in one transaction, in order. Migrations are append-only: one that ran and has
 * another digest now, or a database that is ahead of this program, is a failure, before anything is touched.
 */
export async function migrate(
  database: Database,
  schema = 'homeostat',
  migrations?: readonly Migration[],
): Promise<{ readonly ran: readonly string[] }> {
  const known = migrations ?? (await readMigrations());
  return database.transaction(async (tx) => {
    await tx.query('select pg_advisory_xact_lock($1)', [migrationLock]);
    await tx.query(`create schema if not exists "${schema.replaceAll('"', '""')}"`);
    await tx.query(
      'create table if not exists migrations (name text primary key, sha256 text not null, ran_at timestamptz not null default now())',
    );
    const { rows } = await tx.query<{ name: string; sha256: string }>('select name, sha256 from migrations order by name');
    for (const [position, done] of rows.entries()) {
      const here = known[position];
      if (here === undefined || here.name !== done.name) {
        throw new Failure(
          'store-ahead',
          `our database has migration ${done.name}, which this version does not: start the newer version of homeostat`,
          'never',
        );
      }
      if (here.sha256 !== done.sha256) {
        throw new Failure(
          'store-edited',
          `migration ${done.name} was edited after it ran: restore the file and add a new migration instead`,
          'never',
        );
      }
    }
    const ran: string[] = [];
    for (const migration of known.slice(rows.length)) {
      await tx.query(migration.sql);
      await tx.query('insert into migrations (name, sha256) values ($1, $2)', [migration.name, migration.sha256]);
      ran.push(migration.name);
    }
    return { ran };
  });
}
