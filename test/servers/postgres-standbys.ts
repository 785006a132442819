import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { type EmbeddedPostgres, openEmbeddedPostgres } from '../../src/io/store/embedded.ts';

export interface TestReplication {
  /** Of the primary. */
  readonly url: string;
  /** By `application_name`. */
  readonly standbys: Readonly<Record<string, string>>;
  /** How much later a standby applies what it received, milliseconds; with `remote_apply` commits that wait for it wait as long. */
  slowDown(standby: string, byMs: number): Promise<void>;
  close(): Promise<void>;
}

/** A primary and streaming standbys on loopback: cold copies of one freshly made cluster. Without fsync; their data goes with them. */
export async function startReplication(
  names: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): Promise<TestReplication> {
  const dir = await mkdtemp(join(tmpdir(), 'homeostat-standbys-'));
  await chmod(dir, 0o755);
  const home = (name: string): string => join(dir, name);
  const all = { fsync: 'off', synchronous_commit: 'remote_apply', shared_buffers: '16MB', max_connections: '40', ...settings };
  await mkdir(home('primary'), { mode: 0o755 });
  const draft = await openEmbeddedPostgres({ dataDir: home('primary'), settings: all });
  await draft.close();
  for (const name of names) {
    await mkdir(home(name), { mode: 0o755 });
    // With owner and modes, as PostgreSQL insists.
    const from = await realpath(join(home('primary'), 'postgres'));
    execFileSync('cp', ['-a', from, join(home(name), 'postgres')]);
    execFileSync('cp', ['-a', join(home('primary'), 'postgres.password'), home(name)]);
    await writeFile(join(home(name), 'postgres', 'standby.signal'), '', { mode: 0o644 });
  }
  const primary = await openEmbeddedPostgres({ dataDir: home('primary'), settings: all });
  const url = new URL(primary.url);
  const opened: EmbeddedPostgres[] = [];
  const standbys: Record<string, string> = {};
  for (const name of names) {
    const conninfo = `host=127.0.0.1 port=${url.port} user=${url.username} password=${url.password} application_name=${name}`;
    const standby = await openEmbeddedPostgres({
      dataDir: home(name),
      settings: {
        ...all,
        primary_conninfo: conninfo,
        hot_standby: 'on',
        wal_receiver_status_interval: '1',
        wal_retrieve_retry_interval: '200ms',
      },
    });
    opened.push(standby);
    standbys[name] = standby.url;
  }
  const once = async (at: string, ...texts: readonly string[]): Promise<readonly unknown[]> => {
    const client = new pg.Client({ connectionString: at });
    await client.connect();
    try {
      let rows: readonly unknown[] = [];
      for (const text of texts) ({ rows } = await client.query(text));
      return rows;
    } finally {
      await client.end();
    }
  };
  for (
    let attempt = 0;
    (await once(primary.url, `select 1 from pg_stat_replication where state = 'streaming'`)).length < names.length;
    attempt += 1
  ) {
    if (attempt > 200) throw new Error('the standbys do not stream');
    await delay(50);
  }
  return {
    url: primary.url,
    standbys,
    slowDown: async (standby, byMs) => {
      await once(standbys[standby] ?? '', `alter system set recovery_min_apply_delay = '${byMs}ms'`, 'select pg_reload_conf()');
    },
    close: async () => {
      // A commit that waits for a standby would keep the primary from stopping.
      await once(primary.url, `alter system set synchronous_standby_names = ''`, 'select pg_reload_conf()').catch(() => undefined);
      for (const standby of opened) await standby.close();
      await primary.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
