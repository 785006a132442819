/**
 * Comparing replicas: speed of the hashes in rows per CPU second of the server, bytes of sketches and of whole comparisons, rows
 * fetched; against pt-table-sync on the same MariaDB tables through the same counting proxies, and against two parallel digest scans.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { systemClock } from '../../src/base/clock.ts';
import type { Divergence } from '../../src/domain/divergence.ts';
import { everyKey } from '../../src/domain/key-range.ts';
import type { Shape } from '../../src/domain/row.ts';
import { describeTable } from '../../src/io/replicas/postgres/describe.ts';
import { nativeHashes } from '../../src/io/replicas/postgres/native-hash.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import type { ReplicaConnection, Sketching } from '../../src/io/replicas/replica.ts';
import { agreedShape, compareReplicas, type CompareSummary } from '../../src/runtime/compare.ts';
import { commonSlicing, sketchDifference } from '../../src/runtime/compare-sketch.ts';
import { mariadbAvailable, startMariadb } from '../servers/mariadb.ts';
import { startPostgres } from '../servers/postgres.ts';
import type { Bench, BenchOptions } from './bench.ts';
import { haveCommand } from '../servers/debian-package.ts';
import {
  collectionOf,
  createAccounts,
  differ,
  fillMariadb,
  fillPostgres,
  processCpuSeconds,
  replicaOf,
  serverCpuSeconds,
} from './replicas/accounts.ts';
import { startByteProxy } from './replicas/byte-proxy.ts';
import { corpusAgainstPeers } from './replicas/corpus-peers.ts';
import { decodeSuccess } from './replicas/decode-success.ts';
import { peakMemory } from './replicas/peak-memory.ts';

type MutableFigures = Record<string, number>;

export const bench: Bench = {
  name: 'diff',
  says: 'comparing two replicas: rows a CPU second, bytes a difference, rows fetched; against pt-table-sync and plain digest scans',
  run: async (options) => {
    const figures: MutableFigures = {};
    const baseline: MutableFigures = {};
    await onPostgres(options, figures, baseline);
    Object.assign(figures, decodeSuccess(options.quick, options.log));
    if (mariadbAvailable) await onMariadb(options, figures, baseline);
    if (mariadbAvailable && !options.quick) {
      const corpus = await corpusAgainstPeers(options.log);
      Object.assign(figures, corpus.figures);
      Object.assign(baseline, corpus.baseline);
    }
    return { figures, baseline };
  },
};

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

async function onPostgres({ quick, log }: BenchOptions, figures: MutableFigures, baseline: MutableFigures): Promise<void> {
  const rows = quick ? 600_000 : 5_000_000;
  const seeds = quick ? 3 : 20;
  const signal = AbortSignal.timeout(quick ? 120_000 : 3_600_000);
  const servers = await Promise.all([startPostgres(), startPostgres()]);
  const clients = servers.map((server) => new pg.Client({ connectionString: server.url }));
  const collection = collectionOf(servers.map((server, at) => replicaOf(`r${at}`, 'postgres', server.url)));
  const connections = await Promise.all(collection.replicas.map((replica) => openReplica(collection, replica)));
  try {
    log(`two PostgreSQL servers with ${rows} rows each`);
    await Promise.all(
      clients.map(async (client) => {
        await client.connect();
        await client.query(createAccounts('postgres'));
        // One core a server, as a comparison takes.
        await client.query('SET max_parallel_workers_per_gather = 0; SET jit = off');
        for (const statement of fillPostgres(rows).split('; ')) await client.query(statement);
      }),
    );
    const shape = await agreedShape(collection, connections, signal);
    const [connection] = connections;
    const [client, other] = clients;
    if (connection?.sketching === undefined || client === undefined || other === undefined) throw new Error('two PostgreSQL replicas');
    const { sketching } = connection;
    const perCpuSecond = async (work: () => Promise<unknown>): Promise<number> => {
      const measured: number[] = [];
      for (let n = 0; n < 3; n += 1) {
        const before = await serverCpuSeconds(client);
        await work();
        measured.push(rows / ((await serverCpuSeconds(client)) - before));
      }
      return Math.round(median(measured));
    };
    const scan = await digestScan(collection, connections, signal);
    log('hash speeds');
    figures['native_rows_per_s'] = await perCpuSecond(() => client.query(scan));
    figures['native_summary_rows_per_s'] = await perCpuSecond(() => scanOnce(sketching, shape, signal));
    figures['canonical_rows_per_s'] = await perCpuSecond(() => connection.digest(shape, [everyKey], signal));
    baseline['hash_record_rows_per_s'] = await perCpuSecond(() =>
      client.query('SELECT sum(hash_record_extended(t, 1)), sum(hash_record_extended(t, 2)) FROM accounts t'),
    );

    for (const differences of [10, 100, 1000]) {
      const bytes: number[] = [];
      let last: { readonly found: readonly Divergence[]; readonly summary: CompareSummary } | undefined;
      const times: number[] = [];
      const scans: number[] = [];
      const cpu = { diffs: [] as number[], scans: [] as number[] };
      for (let seed = 1; seed <= seeds; seed += 1) {
        await other.query('BEGIN');
        for (const statement of differ(rows, differences, seed)) await other.query(statement);
        await other.query('COMMIT');
        const before = moved(connections);
        // All that is moved until the keys are known: spans, summaries, fingerprints of parts, tables.
        const keys = await sketchDifference(shape, connections, everyKey, 'native', signal, { rounds: 0 });
        bytes.push((moved(connections) - before) / differences);
        if (keys.is !== 'keys' || keys.keys.length !== differences)
          throw new Error(`sketches found ${keys.is === 'keys' ? keys.keys.length : keys.is} of ${differences} keys`);
        if (seed <= 3) {
          const scanned = await spent(clients, () => Promise.all(clients.map((one) => one.query(scan))));
          scans.push(scanned.ms);
          cpu.scans.push(scanned.slowerServerS);
          const compared = await spent(clients, async () => (last = await compare(connections, signal)));
          times.push(compared.ms);
          // What a machine with nothing else to do would take: the slower server, then us.
          cpu.diffs.push(compared.slowerServerS + compared.ownS);
        }
        await restore(client, other, rows, differences, seed);
      }
      figures[`sketch_bytes_per_diff_d${differences}`] = Math.round(median(bytes));
      const ratio = Number((median(cpu.diffs) / median(cpu.scans)).toFixed(2));
      figures[`vs_digest_scan_d${differences}`] = ratio;
      figures[`vs_digest_scan_wall_d${differences}`] = Number((Math.min(...times) / Math.min(...scans)).toFixed(2));
      baseline[`digest_scan_ms_d${differences}`] = Math.round(Math.min(...scans));
      if (differences === 100) figures['vs_digest_scan'] = ratio;
      if (last !== undefined) {
        const copies = last.found.reduce((sum, one) => sum + Object.values(one.replicas).filter((row) => row !== null).length, 0);
        if (last.found.length !== differences) throw new Error(`found ${last.found.length} of ${differences}`);
        figures['overfetch'] = Math.max(figures['overfetch'] ?? 0, Number((last.summary.rowsFetched / copies).toFixed(3)));
      }
      log(`${differences} differences: ${figures[`sketch_bytes_per_diff_d${differences}`]} B each, ${ratio} digest scans`);
    }
    const masses = quick ? 30_000 : 10_000_000;
    const memory = await peakMemory(
      servers.map((server) => server.url),
      masses,
    );
    if (memory.keys !== masses) throw new Error(`homeostat diff printed ${memory.keys} of ${masses} keys`);
    figures['rss_differences'] = masses;
    if (memory.rssMb !== undefined) figures['rss_mb'] = memory.rssMb;
    figures['differing_rows_per_s'] = Math.round(masses / memory.seconds);
    log(`homeostat diff: ${masses} differing rows in ${memory.seconds.toFixed(0)} s, at most ${memory.rssMb ?? '?'} MB`);
  } finally {
    await Promise.all(connections.map((one) => one.close()));
    await Promise.all(clients.map((one) => one.end()));
    await Promise.all(servers.map((one) => one.close()));
  }
}

async function scanOnce(sketching: Sketching, shape: Shape, signal: AbortSignal): Promise<void> {
  const slicing = await commonSlicing(shape, [sketching], everyKey, signal);
  await (await sketching.scan(shape, everyKey, 'native', slicing, signal)).close();
}

/** Two 128-bit lanes of the native hash over the table: the least that any comparison must scan. */
async function digestScan(
  collection: ReturnType<typeof collectionOf>,
  connections: readonly ReplicaConnection[],
  signal: AbortSignal,
): Promise<string> {
  const shape = await agreedShape(collection, connections, signal);
  const [replica] = collection.replicas;
  if (replica === undefined) throw new Error('a replica');
  const client = new pg.Client({ connectionString: replica.url });
  await client.connect();
  try {
    const session = {
      query: async (text: string, values?: readonly unknown[]) =>
        (await client.query(text, values === undefined ? undefined : [...values])).rows,
      packed: () => Promise.reject(new Error('unused')),
    };
    const table = await describeTable(collection, replica, session);
    const { high, low } = nativeHashes(table, shape);
    return `SELECT count(*), sum(${high}), sum(${low}) FROM ${table.sql} t`;
  } finally {
    await client.end();
  }
}

/** Wall time, CPU of the server that took more, and our own. */
async function spent(
  clients: readonly pg.Client[],
  work: () => Promise<unknown>,
): Promise<{ readonly ms: number; readonly slowerServerS: number; readonly ownS: number }> {
  const before = await Promise.all(clients.map(serverCpuSeconds));
  const own = process.cpuUsage();
  const start = performance.now();
  await work();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(own);
  const after = await Promise.all(clients.map(serverCpuSeconds));
  return { ms, slowerServerS: Math.max(...after.map((seconds, at) => seconds - (before[at] ?? 0))), ownS: (user + system) / 1e6 };
}

const moved = (connections: readonly ReplicaConnection[]): number => connections.reduce((sum, one) => sum + one.counters.bytesMoved, 0);

async function compare(
  connections: readonly ReplicaConnection[],
  signal: AbortSignal,
): Promise<{ readonly found: readonly Divergence[]; readonly summary: CompareSummary }> {
  const collection = collectionOf(connections.map((one) => one.replica));
  const found: Divergence[] = [];
  const run = compareReplicas({ collection, connections, stalenessMs: 0, clock: systemClock, signal, confirm: 'none' });
  for (;;) {
    const next = await run.next();
    if (next.done === true) return { found, summary: next.value };
    found.push(next.value);
  }
}

/** Takes the differences back, row by row from the other side. */
async function restore(source: pg.Client, target: pg.Client, rows: number, differences: number, seed: number): Promise<void> {
  const ids = differ(rows, differences, seed).flatMap((statement) =>
    (/WHERE id IN \((.*)\)/.exec(statement)?.[1] ?? '').split(', ').filter((id) => id !== ''),
  );
  const { rows: originals } = await source.query<Record<string, unknown>>(
    `SELECT id::text, owner, region, balance::text, note, active, created, version FROM accounts WHERE id = ANY ($1::bigint[])`,
    [ids],
  );
  await target.query('DELETE FROM accounts WHERE id > $1 OR id = ANY ($2::bigint[])', [rows, ids]);
  await target.query('INSERT INTO accounts SELECT * FROM json_populate_recordset(NULL::accounts, $1)', [JSON.stringify(originals)]);
  const { rows: exact } = await source.query<{ created: string; id: string }>(
    `SELECT id::text, created::text FROM accounts WHERE id = ANY ($1::bigint[])`,
    [ids],
  );
  await target.query('UPDATE accounts a SET created = w.c::timestamptz FROM unnest($1::bigint[], $2::text[]) AS w(i, c) WHERE a.id = w.i', [
    exact.map((one) => one.id),
    exact.map((one) => one.created),
  ]);
}

async function onMariadb({ quick, log }: BenchOptions, figures: MutableFigures, baseline: MutableFigures): Promise<void> {
  const rows = quick ? 100_000 : 1_000_000;
  const differences = 120;
  const signal = AbortSignal.timeout(600_000);
  const server = await startMariadb();
  try {
    log(`two MariaDB databases with ${rows} rows each, ${differences} differences`);
    const urls = [await server.createDatabase('a'), await server.createDatabase('b')];
    for (const [at, uri] of urls.entries()) {
      const client = await mysql.createConnection({ uri });
      await client.query(createAccounts('mysql'));
      await client.query(fillMariadb(rows));
      if (at === 1) for (const statement of differ(rows, differences, 7)) await client.query(statement);
      await client.end();
    }
    const port = Number(new URL(server.url).port);
    const ours = await startByteProxy(port);
    const theirs = await startByteProxy(port);
    const through = urls.map((url) => {
      const proxied = new URL(url);
      proxied.port = String(ours.port);
      return proxied.href;
    });
    const collection = collectionOf(through.map((url, at) => replicaOf(`m${at}`, 'mysql', url)));
    const connections = await Promise.all(collection.replicas.map((replica) => openReplica(collection, replica)));
    const [first] = connections;
    const pid = await mariadbPid(urls[0] ?? '');
    if (first !== undefined && pid !== undefined) {
      const shape = await agreedShape(collection, connections, signal);
      const before = processCpuSeconds(pid);
      for (let n = 0; n < 3; n += 1) await first.digest(shape, [everyKey], signal);
      figures['mariadb_rows_per_s'] = Math.round((3 * rows) / (processCpuSeconds(pid) - before));
    }
    const bytesBefore = ours.bytes();
    const start = performance.now();
    const { found } = await compare(connections, signal);
    figures['mariadb_diff_s'] = Number(((performance.now() - start) / 1000).toFixed(2));
    await Promise.all(connections.map((one) => one.close()));
    if (found.length !== differences) throw new Error(`on MariaDB ${found.length} of ${differences} were found`);
    figures['mariadb_bytes'] = ours.bytes() - bytesBefore;
    await ours.close();
    if (!haveCommand('pt-table-sync', 'percona-toolkit')) {
      await theirs.close();
      log('pt-table-sync is not here: nothing to compare the bytes with');
      return;
    }
    const ptStart = performance.now();
    const dsn = `h=127.0.0.1,P=${theirs.port},u=homeostat,p=secret,D=a,t=accounts`;
    const printed = await new Promise<string>((resolve, reject) => {
      execFile(
        'pt-table-sync',
        ['--print', '--no-check-child-tables', dsn, `h=127.0.0.1,P=${theirs.port},D=b`],
        { maxBuffer: 1e9, timeout: 300_000 },
        (error, stdout) =>
          // Exit status 2: differences were found.
          error !== null && error.code !== 2 && stdout === '' ? reject(error) : resolve(stdout),
      );
    });
    baseline['pt_table_sync_s'] = Number(((performance.now() - ptStart) / 1000).toFixed(2));
    baseline['pt_statements'] = printed.split('\n').filter((line) => /^(UPDATE|INSERT|REPLACE|DELETE)/.test(line)).length;
    baseline['pt_bytes'] = theirs.bytes();
    figures['total_bytes_vs_pt'] = Number((theirs.bytes() / figures['mariadb_bytes']).toFixed(1));
    await theirs.close();
  } finally {
    await server.close();
  }
}

async function mariadbPid(uri: string): Promise<number | undefined> {
  const client = await mysql.createConnection({ uri });
  try {
    const [rows] = await client.query<mysql.RowDataPacket[]>('SELECT @@pid_file AS file');
    return Number(readFileSync(String(rows[0]?.['file']), 'utf8'));
  } catch {
    return undefined;
  } finally {
    await client.end();
  }
}
