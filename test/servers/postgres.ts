import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
      await server.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
