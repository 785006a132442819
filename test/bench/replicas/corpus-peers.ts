/**
 * The adversarial corpus as whole tables, one a group of pairs with the same column types: what a comparison of ours reports, and what
 * other tools report for the same tables over the same connections. A tool that cannot be had is left out.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { systemClock } from '../../../src/base/clock.ts';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { compareReplicas } from '../../../src/runtime/compare.ts';
import { type CorpusPair, type CorpusRow, differing, equal } from '../../io/replicas/corpus.ts';
import { haveCommand } from '../../servers/debian-package.ts';
import { startMariadb, type TestMariadb } from '../../servers/mariadb.ts';
import { startPostgres, type TestPostgres } from '../../servers/postgres.ts';
import { collectionOf } from './accounts.ts';

interface Group {
  readonly table: string;
  readonly pairs: readonly { readonly pair: CorpusPair; readonly differs: boolean }[];
}

/** Ids (places in the group) that a tool reports as different; undefined where it cannot compare the group. */
type Report = ReadonlySet<number> | undefined;

interface Judge {
  readonly name: string;
  report(group: Group, urls: readonly [string, string]): Promise<Report>;
}

const RELADIFF = 'reladiff[postgresql,mysql]==0.6.0';

function groups(): readonly Group[] {
  const all = [...differing.map((pair) => ({ pair, differs: true })), ...equal.map((pair) => ({ pair, differs: false }))];
  // A tool that fails on a NULL is not to lose the pairs without one.
  const typesOf = (row: CorpusRow): string =>
    `${row.engine} ${row.columns.map(([type, literal]) => `${type}${literal === 'NULL' ? '?' : ''}`).join(' ')}`;
  const grouped = Map.groupBy(all, ({ pair }) => `${typesOf(pair.left)} / ${typesOf(pair.right)}`);
  return [...grouped.values()].map((pairs, at) => ({ table: `corpus_${at}`, pairs }));
}

export async function corpusAgainstPeers(
  log: (line: string) => void,
): Promise<{ figures: Record<string, number>; baseline: Record<string, number> }> {
  const postgres = await startPostgres();
  const mariadb = await startMariadb();
  const folder = mkdtempSync(join(tmpdir(), 'homeostat-peers-'));
  const figures: Record<string, number> = {};
  const baseline: Record<string, number> = {};
  try {
    const sides = await openSides(postgres, mariadb);
    const judges = [ours, ...(haveCommand('pt-table-sync', 'percona-toolkit') ? [percona, perconaChecksum] : []), ...reladiff(folder)];
    const told = new Map(judges.map((judge) => [judge.name, { asked: 0, missed: [] as string[], wrong: [] as string[], refused: 0 }]));
    for (const group of groups()) {
      const urls = await createGroup(group, sides);
      for (const judge of judges) {
        const count = told.get(judge.name);
        const report = await judge.report(group, urls);
        if (count === undefined) continue;
        count.asked += group.pairs.length;
        if (report === undefined) count.refused += group.pairs.length;
        for (const [id, { pair, differs }] of group.pairs.entries()) {
          if (report === undefined || report.has(id) === differs) continue;
          (differs ? count.missed : count.wrong).push(pair.name);
        }
      }
    }
    for (const [name, { asked, missed, wrong, refused }] of told) {
      const into = name === 'homeostat' ? figures : baseline;
      const prefix = name === 'homeostat' ? 'corpus' : `${name}_corpus`;
      Object.assign(into, { [`${prefix}_pairs`]: asked - refused, [`${prefix}_missed`]: missed.length, [`${prefix}_false`]: wrong.length });
      log(
        `${name}: of ${asked - refused} pairs ${missed.length} differences missed, ${wrong.length} equal ones reported; ${refused} not compared`,
      );
      for (const one of missed) log(`  ${name} calls equal: ${JSON.stringify(one)}`);
      for (const one of wrong) log(`  ${name} calls different: ${JSON.stringify(one)}`);
    }
    await sides.close();
  } finally {
    rmSync(folder, { recursive: true });
    await postgres.close();
    await mariadb.close();
  }
  return { figures, baseline };
}

interface Sides {
  readonly urls: { readonly postgres: readonly [string, string]; readonly mariadb: readonly [string, string] };
  query(engine: CorpusRow['engine'], side: 0 | 1, sql: string): Promise<unknown>;
  close(): Promise<void>;
}

async function openSides(postgres: TestPostgres, mariadb: TestMariadb): Promise<Sides> {
  const names = ['left_side', 'right_side'] as const;
  const urls = {
    postgres: [await postgres.createDatabase(names[0]), await postgres.createDatabase(names[1])],
    mariadb: [await mariadb.createDatabase(names[0]), await mariadb.createDatabase(names[1])],
  } as const;
  const pgs = urls.postgres.map((connectionString) => new pg.Client({ connectionString }));
  for (const client of pgs) await client.connect();
  const mys = await Promise.all(urls.mariadb.map((uri) => mysql.createConnection({ uri, charset: 'utf8mb4' })));
  for (const client of mys) await client.query("SET time_zone = '+00:00', sql_mode = 'NO_BACKSLASH_ESCAPES'");
  return {
    urls,
    query: (engine, side, sql) => (engine === 'postgres' ? pgs[side]?.query(sql) : mys[side]?.query(sql)) ?? Promise.resolve(),
    close: async () => {
      for (const client of [...pgs, ...mys]) await client.end();
    },
  };
}

async function createGroup(group: Group, sides: Sides): Promise<readonly [string, string]> {
  const urls: string[] = [];
  for (const [at, side] of (['left', 'right'] as const).entries()) {
    const rows = group.pairs.map(({ pair }) => pair[side]);
    const [first] = rows;
    if (first === undefined) continue;
    const index = at === 0 ? 0 : 1;
    await sides.query(
      first.engine,
      index,
      `CREATE TABLE ${group.table} (id int PRIMARY KEY, ${first.columns.map(([type], column) => `c${column} ${type} NULL`).join(', ')})`,
    );
    for (const [id, row] of rows.entries())
      await sides.query(
        first.engine,
        index,
        `INSERT INTO ${group.table} VALUES (${[id, ...row.columns.map(([, literal]) => literal)].join(', ')})`,
      );
    urls.push(sides.urls[first.engine === 'postgres' ? 'postgres' : 'mariadb'][index]);
  }
  const [left = '', right = ''] = urls;
  return [left, right];
}

const ours: Judge = {
  name: 'homeostat',
  report: async (group, urls) => {
    const replicas = urls.map(
      (url, at): Replica => ({
        id: `r${at}`,
        engine: url.startsWith('mysql') ? 'mysql' : 'postgres',
        url,
        table: group.table,
        region: 'r',
        role: 'peer',
        columnNames: {},
      }),
    );
    const collection: Collection = { ...collectionOf(replicas), name: group.table };
    const connections = await Promise.all(replicas.map((replica) => openReplica(collection, replica)));
    const signal = AbortSignal.timeout(60_000);
    const found = new Set<number>();
    try {
      const run = compareReplicas({ collection, connections, stalenessMs: 0, clock: systemClock, signal, confirm: 'none' });
      for await (const one of run) found.add(Number(one.key['id']));
      return found;
    } finally {
      await Promise.all(connections.map((connection) => connection.close()));
    }
  },
};

function output(
  command: string,
  args: readonly string[],
): Promise<{ readonly code: number; readonly text: string; readonly errors: string }> {
  return new Promise((resolve) => {
    execFile(command, [...args], { timeout: 60_000, maxBuffer: 1e8 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, text: stdout, errors: stderr }),
    );
  });
}

const percona: Judge = {
  name: 'pt_table_sync',
  report: async (group, urls) => {
    if (!urls.every((url) => url.startsWith('mysql'))) return undefined;
    const [left, right] = urls.map((url) => new URL(url));
    const dsn = `h=127.0.0.1,P=${left?.port ?? ''},u=homeostat,p=secret,A=utf8mb4,D=${left?.pathname.slice(1) ?? ''},t=${group.table}`;
    const { code, text } = await output('pt-table-sync', [
      '--print',
      '--no-check-child-tables',
      dsn,
      `h=127.0.0.1,D=${right?.pathname.slice(1) ?? ''}`,
    ]);
    // Exit status 2: differences; 1 and more: could not compare.
    if (code !== 0 && code !== 2) return undefined;
    return new Set([...text.matchAll(/WHERE `id`='?(\d+)'?|VALUES \('?(\d+)'?/g)].map((match) => Number(match[1] ?? match[2])));
  },
};

/** It checksums one server through replication and reads what the others made of it: run on each side, a row a chunk, and compared so. */
const perconaChecksum: Judge = {
  name: 'pt_table_checksum',
  report: async (group, urls) => {
    if (!urls.every((url) => url.startsWith('mysql'))) return undefined;
    const sides: ReadonlyMap<number, string>[] = [];
    for (const text of urls) {
      const url = new URL(text);
      const database = url.pathname.slice(1);
      const { code } = await output('pt-table-checksum', [
        `h=127.0.0.1,P=${url.port},u=homeostat,p=secret,A=utf8mb4`,
        '--recursion-method=none',
        '--no-check-binlog-format',
        '--no-check-plan',
        '--quiet',
        '--chunk-size=1',
        '--chunk-time=0',
        '--chunk-size-limit=0',
        `--replicate=${database}.pt_checksums`,
        `--tables=${database}.${group.table}`,
      ]);
      const client = await mysql.createConnection({ uri: text });
      try {
        const [rows] = await client.query<mysql.RowDataPacket[]>(
          `SELECT coalesce(lower_boundary, '0') AS id, this_crc AS crc, this_cnt AS n FROM pt_checksums WHERE db = ? AND tbl = ? AND this_cnt > 0`,
          [database, group.table],
        );
        // Each row was in a chunk of its own, or it could not compare.
        if ((code !== 0 && rows.length === 0) || rows.some((row) => Number(row['n']) > 1)) return undefined;
        sides.push(new Map(rows.map((row) => [Number(row['id']), String(row['crc'])])));
      } catch {
        return undefined;
      } finally {
        await client.end();
      }
    }
    return new Set([...group.pairs.keys()].filter((id) => sides[0]?.get(id) !== sides[1]?.get(id)));
  },
};

/** In a virtual environment of its own. */
function reladiff(folder: string): readonly Judge[] {
  const venv = join(folder, 'venv');
  try {
    execFileSync('python3', ['-m', 'venv', venv], { stdio: 'ignore', timeout: 60_000 });
    execFileSync(join(venv, 'bin', 'pip'), ['install', '-q', RELADIFF], { stdio: 'ignore', timeout: 180_000 });
  } catch {
    return [];
  }
  return [
    {
      name: 'reladiff',
      report: async (group, urls) => {
        const [left, right] = urls.map((url) => url.replace(/^postgres:/, 'postgresql:'));
        const args = [left ?? '', group.table, right ?? '', group.table, '-k', 'id', '-c', 'c%', '--json'];
        const { code, text, errors } = await output(join(venv, 'bin', 'reladiff'), args);
        // It fails with status 0 as well.
        if (code !== 0 || /\bERROR\b|Traceback/.test(errors)) return undefined;
        return new Set([...text.matchAll(/^\["[+-]", \["?(\d+)"?/gm)].map((match) => Number(match[1])));
      },
    },
  ];
}
