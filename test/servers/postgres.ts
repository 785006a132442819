import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { openEmbeddedPostgres } from '../../src/io/store/embedded.ts';

export interface TestPostgres {
  readonly url: string;
  /** A fresh database of this server; returns its URL. */
  createDatabase(name: string): Promise<string>;
  close(): Promise<void>;
}

/** A private PostgreSQL 18 on a free port, without fsync; its data goes with it. */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'homeostat-test-'));
  // mkdtemp gives 0700; a server that runs as another user must pass through.
  await chmod(dataDir, 0o755);
  const server = await openEmbeddedPostgres({
    dataDir,
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', wal_level: 'logical', ...settings },
  });
  return {
    url: server.url,
    createDatabase: async (name) => {
      const client = new pg.Client({ connectionString: server.url });
      await client.connect();
      try {
        await client.query(`create database ${pg.escapeIdentifier(name)}`);
      } finally {
        await client.end();
      }
      const url = new URL(server.url);
      url.pathname = `/${encodeURIComponent(name)}`;
      return url.href;
    },
    close: async () => {
      await connectionsGone(server.url);
      await server.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/**
 * A pool has ended before its sockets have: a server that stops meanwhile says so to them, and nobody listens any more. Waits for that, at
 * most a second, because a test may leave connections to be cut.
 */
async function connectionsGone(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    for (let look = 0; look < 50; look += 1) {
      const { rows } = await client.query<{ left: number }>(
        `select count(*)::int as left from pg_stat_activity
          where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name not like 'homeostat (holds%'`,
      );
      if (rows[0]?.left === 0) break;
      await delay(20);
    }
    await client.end();
  } catch {
    // The test has stopped the server itself.
  }
}
