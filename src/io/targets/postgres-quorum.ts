import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { z } from 'zod';
import { Failure } from '../../base/failure.ts';
import type { Json } from '../../base/hash.ts';
import type { Target, TargetChange, TargetOutcome, TargetRun } from './target.ts';

/**
 * PostgreSQL's write quorum: `synchronous_standby_names = 'ANY n (a, b)'` on a primary, so that a commit waits for n of these standbys.
 *
 *   standbys stream? ─► commit latency before ─► ALTER SYSTEM, reload ─► in force? ─► commit latency after ─► within the SLO: applied
 *                                                                                                          └─► not: the old value again
 *
 * Latency is that of real commits that carry nothing: `pg_logical_emit_message` writes a WAL record, and its commit waits like any
 * other. A commit that waits for a standby which is gone waits for ever; ours is cancelled, and counts as too slow.
 */
export interface PostgresQuorumOptions {
  readonly name: string;
  /** The primary; the user needs ALTER SYSTEM on the setting, pg_reload_conf, pg_cancel_backend and pg_monitor. */
  readonly url: string;
  /** What a commit may take with the new quorum (99th percentile); null: no promise to keep. */
  readonly commitP99Ms: number | null;
  /** How long commits are measured after the change. */
  readonly observeMs: number;
}

const parametersSchema = z.strictObject({
  /** How many standbys a commit waits for; 0: none. */
  standbys: z.int().min(0).max(20),
  /** Their `application_name`s, separated by commas. */
  of: z.string().max(2_000),
});
const savedSchema = z.object({ previous: z.string() });

interface StandbyRow {
  readonly standby: string;
  readonly write_ms: number | null;
  readonly flush_ms: number | null;
  readonly replay_ms: number | null;
  readonly waits: string;
}

const probes = 60;
/** So many commits above the promise break it, however many were made: one alone may be a checkpoint's. */
const slowCommits = 4;
const inForceTimeoutMs = 10_000;
const connectTimeoutMs = 10_000;

export function openPostgresQuorum(options: PostgresQuorumOptions): Target {
  const withClient = async <T>(work: (client: pg.Client) => Promise<T>): Promise<T> => {
    const client = new pg.Client({
      connectionString: options.url,
      connectionTimeoutMillis: connectTimeoutMs,
      statement_timeout: 30_000,
      application_name: 'homeostat target',
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return await work(client);
    } catch (cause) {
      if (cause instanceof Failure) throw cause;
      const isDenied = cause instanceof pg.DatabaseError && cause.code === '42501';
      throw new Failure(
        'target-postgres',
        `${options.name}: ${cause instanceof Error ? cause.message : String(cause)}${isDenied ? ' (grant ALTER SYSTEM on synchronous_standby_names and pg_monitor)' : ''}`,
        isDenied ? 'never' : 'later',
        cause,
      );
    } finally {
      await client.end().catch(() => undefined);
    }
  };

  /** Lags are asked for every second: over one connection, not a new one each time. */
  let sampler: Promise<pg.Client> | undefined;
  const sampling = (): Promise<pg.Client> => {
    sampler ??= (async () => {
      const client = new pg.Client({
        connectionString: options.url,
        connectionTimeoutMillis: connectTimeoutMs,
        statement_timeout: 5_000,
        application_name: 'homeostat lags',
      });
      client.on('error', () => (sampler = undefined));
      await client.connect();
      return client;
    })();
    sampler.catch(() => (sampler = undefined));
    return sampler;
  };

  /** Sets the value, and returns once the server says that it is in force. */
  const setTo = async (client: pg.Client, value: string, signal: AbortSignal): Promise<void> => {
    await client.query(`alter system set synchronous_standby_names = ${pg.escapeLiteral(value)}`);
    await client.query('select pg_reload_conf()');
    const until = performance.now() + inForceTimeoutMs;
    // A session takes up a reloaded setting between two of its statements.
    while ((await currentOf(client)) !== value) {
      if (performance.now() > until)
        throw new Failure('target-postgres', `${options.name} did not take up the setting: is it overridden on the command line?`, 'later');
      await delay(50, undefined, { signal });
    }
  };

  const measure = async (forMs: number, giveUpMs: number, signal: AbortSignal): Promise<CommitLatency> =>
    withClient((control) =>
      withClient(async (client) => {
        const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
        const pid = rows[0]?.pid ?? 0;
        const tookMs: number[] = [];
        let cancelled = 0;
        let slow = 0;
        const untilMs = performance.now() + forMs;
        while (performance.now() < untilMs || tookMs.length < probes) {
          signal.throwIfAborted();
          const startedMs = performance.now();
          let isCancelled = false;
          const timer = setTimeout(() => {
            isCancelled = true;
            control.query('select pg_cancel_backend($1)', [pid]).catch(() => undefined);
          }, giveUpMs);
          try {
            await client.query(`select pg_logical_emit_message(true, 'homeostat', 'probe')`);
          } finally {
            clearTimeout(timer);
          }
          tookMs.push(performance.now() - startedMs);
          if (isCancelled) cancelled += 1;
          if (performance.now() - startedMs > (options.commitP99Ms ?? Number.POSITIVE_INFINITY)) slow += 1;
          // Enough is known, and the system's own commits wait as long.
          if (cancelled >= 3 || slow >= slowCommits) break;
          await delay(Math.max(1, forMs / (2 * probes)), undefined, { signal });
        }
        tookMs.sort((a, b) => a - b);
        return {
          commits: tookMs.length,
          cancelled,
          slow,
          p50Ms: tookMs[Math.floor(0.5 * tookMs.length)] ?? 0,
          p99Ms: tookMs[Math.min(tookMs.length - 1, Math.floor(0.99 * tookMs.length))] ?? 0,
        };
      }),
    );

  const change = async (wanted: string, names: readonly string[], need: number, run: TargetRun): Promise<TargetOutcome> => {
    const saved = savedSchema.safeParse(run.saved);
    const now = await withClient(currentOf);
    const previous = saved.success ? saved.data.previous : now;
    const streaming = await withClient(streamingOf);
    const missing = names.filter((name) => !streaming.includes(name));
    if (names.length - missing.length < need)
      return {
        is: 'refused',
        says: `${missing.join(', ')} ${missing.length === 1 ? 'does' : 'do'} not stream from ${options.name}: commits would wait for ever.`,
      };
    const giveUpMs = Math.max(1_000, 4 * (options.commitP99Ms ?? 1_000));
    const before = await measure(0, giveUpMs, run.signal);
    // Kept before anything is changed: whoever goes on after a crash knows what to go back to.
    await run.save({ previous } satisfies Json, `Commits take ${say(before)} with '${previous}'.`);
    await withClient((client) => setTo(client, wanted, run.signal));
    let after: CommitLatency;
    try {
      after = await measure(options.observeMs, giveUpMs, run.signal);
    } catch (error) {
      if (run.signal.aborted) throw error;
      await withClient((client) => setTo(client, previous, run.signal));
      throw error;
    }
    const facts = { commitP99MsBefore: before.p99Ms, commitP99MsAfter: after.p99Ms, commits: after.commits };
    const isBroken = after.cancelled > 0 || after.slow >= Math.max(slowCommits, 0.01 * after.commits);
    if (isBroken) {
      await withClient((client) => setTo(client, previous, run.signal));
      return {
        is: 'rolled-back',
        says: `Commits took ${say(after)} with '${wanted}', ${options.commitP99Ms} ms are promised: '${previous}' is in force again.`,
        facts,
      };
    }
    return { is: 'applied', says: `'${wanted}' is in force: commits take ${say(after)}, ${say(before)} before.`, facts };
  };

  return {
    name: options.name,
    kind: 'postgres-quorum',
    describe: () =>
      withClient(async (client) => {
        const { rows } = await client.query<{ version: string; standby: boolean; can: boolean }>(
          `select current_setting('server_version') as version, pg_is_in_recovery() as standby,
                  (select rolsuper from pg_roles where rolname = current_user)
                    or coalesce(has_parameter_privilege('synchronous_standby_names', 'alter system'), false) as can`,
        );
        if (rows[0]?.standby !== false)
          throw new Failure('target-standby', `${options.name} is a standby: give the URL of the primary`, 'never');
        if (!rows[0].can)
          throw new Failure(
            'target-rights',
            `${options.name}: this user may not change the setting: grant alter system on parameter synchronous_standby_names`,
            'never',
          );
        const streaming = await streamingOf(client);
        return `PostgreSQL ${rows[0].version}, ${streaming.length} ${streaming.length === 1 ? 'standby' : 'standbys'} (${streaming.join(', ')}), commits wait for '${await currentOf(client)}'`;
      }),
    placement: () => Promise.resolve(null),
    standbyLags: async () => {
      const client = await sampling();
      try {
        // The lags are null once a standby has been idle and caught up: nothing was measured then.
        const { rows } = await client.query<StandbyRow>(
          `select application_name as standby, extract(epoch from write_lag)::float8 * 1000 as write_ms,
                  extract(epoch from flush_lag)::float8 * 1000 as flush_ms, extract(epoch from replay_lag)::float8 * 1000 as replay_ms, current_setting('synchronous_standby_names') as waits
             from pg_stat_replication where state = 'streaming' order by application_name`,
        );
        const lags = rows.flatMap(({ standby, write_ms: writeMs, flush_ms: flushMs, replay_ms: replayMs }) =>
          writeMs === null || flushMs === null || replayMs === null ? [] : [{ standby, writeMs, flushMs, replayMs }],
        );
        if (lags.length === 0 || lags.length < rows.length) return null;
        return { waitsFor: Number(/^\s*(?:ANY|FIRST)\s+(\d+)/i.exec(rows[0]?.waits ?? '')?.[1] ?? 0), lags };
      } catch (error) {
        sampler = undefined;
        await client.end().catch(() => undefined);
        throw error;
      }
    },
    apply: async (asked, run) => {
      const parameters = parametersOf(asked);
      return typeof parameters === 'string'
        ? { is: 'refused', says: parameters }
        : change(quorumText(parameters.standbys, parameters.names), parameters.names, parameters.standbys, run);
    },
    undo: async (asked, run) => {
      const parameters = parametersOf(asked);
      if (typeof parameters === 'string') return { is: 'refused', says: parameters };
      const saved = savedSchema.safeParse(run.saved);
      if (!saved.success) return { is: 'refused', says: 'What was in force before was not kept: nothing was changed by us.' };
      await withClient((client) => setTo(client, saved.data.previous, run.signal));
      return { is: 'applied', says: `'${saved.data.previous}' is in force again.`, facts: {} };
    },
    close: async () => {
      await sampler?.then((client) => client.end()).catch(() => undefined);
    },
  };
}

interface CommitLatency {
  readonly commits: number;
  /** Never came back, and were cancelled. */
  readonly cancelled: number;
  /** Above what is promised. */
  readonly slow: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** The setting as PostgreSQL is told it; empty: no commit waits. */
export function quorumText(standbys: number, names: readonly string[]): string {
  return standbys === 0 ? '' : `ANY ${standbys} (${names.map((name) => `"${name.replaceAll('"', '""')}"`).join(', ')})`;
}

function parametersOf(change: TargetChange): { readonly standbys: number; readonly names: readonly string[] } | string {
  if (change.kind !== 'standbys') return `PostgreSQL takes standbys, not ${change.kind}.`;
  const parsed = parametersSchema.safeParse(change.parameters);
  if (!parsed.success) return `The change cannot be read: ${parsed.error.issues[0]?.message ?? 'wrong'}.`;
  const names = parsed.data.of
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  if (parsed.data.standbys > names.length) return `A commit cannot wait for ${parsed.data.standbys} of ${names.length} standbys.`;
  return { standbys: parsed.data.standbys, names };
}

async function currentOf(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ value: string }>(`select current_setting('synchronous_standby_names') as value`);
  return rows[0]?.value ?? '';
}

async function streamingOf(client: pg.Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select distinct application_name as name from pg_stat_replication where state = 'streaming' order by 1`,
  );
  return rows.map(({ name }) => name);
}

const say = (latency: CommitLatency): string =>
  `${latency.p50Ms.toFixed(1)} ms (p99 ${latency.p99Ms.toFixed(1)} ms${latency.cancelled > 0 ? `, ${latency.cancelled} never came back` : ''})`;
