/**
 * How busy a PostgreSQL server is, and how far replication is behind. A long scan on a hot standby holds replay up, or is cancelled by it.
 *
 * A standby tells its own lag: the age of the last transaction that it has replayed, where there is more to replay. On a leader the age
 * of what its followers have written to disk counts; what they replay later because they are told to is none of our doing.
 */
import type { Pressure } from '../replica.ts';
import type { Session } from './session.ts';

const QUERY = `
  SELECT (SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid())::text AS statements,
         (CASE WHEN NOT pg_is_in_recovery() THEN (SELECT max(extract(epoch FROM flush_lag) * 1000) FROM pg_stat_replication)
               WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
               ELSE greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000
                                - (SELECT setting::numeric FROM pg_settings WHERE name = 'recovery_min_apply_delay')) END)::text AS lag`;

export async function readPressure(session: Session): Promise<Pressure> {
  const [row] = await session.query(QUERY);
  const lag = row?.['lag'];
  return { statements: Number(row?.['statements'] ?? 0), lagMs: typeof lag === 'string' ? Math.round(Number(lag)) : undefined };
}
