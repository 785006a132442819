/** Speed and bytes on MariaDB, and the bytes of pt-table-sync for the same tables through a counting proxy of its own. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import mysql from 'mysql2/promise';
import { everyKey } from '../../../src/domain/key-range.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { agreedShape } from '../../../src/runtime/compare.ts';
import { haveCommand } from '../../servers/debian-package.ts';
import { startMariadb } from '../../servers/mariadb.ts';
import { collectionOf, createAccounts, differ, fillMariadb, processCpuSeconds, replicaOf } from './accounts.ts';
import { startByteProxy } from './byte-proxy.ts';
import type { Measured } from './measured.ts';
import { compare } from './postgres-pair.ts';

export async function againstPercona(rows: number, { figures, baseline }: Measured, log: (line: string) => void): Promise<void> {
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
