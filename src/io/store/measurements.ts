import type { MeasurementKind } from '../../domain/measurement.ts';
import type { Queryable } from './database.ts';

/** What was measured of one thing: the last number, and what is usual. */
export interface MeasuredState {
  readonly kind: MeasurementKind;
  readonly system: string;
  readonly instance: string;
  readonly subject: string;
  readonly metric: string;
  readonly replica: string;
  /** In the kind's unit; for counters what was gained between the last two points. */
  readonly value: number;
  /** Median of the points that are remembered. */
  readonly usual: number;
  readonly highest: number;
  readonly points: number;
  readonly atMs: number;
}

const columns = ['kind', 'system', 'instance', 'subject', 'metric', 'replica'] as const;

/** Upsert by what is measured; an older word does not replace a newer one. */
export async function saveMeasurements(db: Queryable, states: readonly MeasuredState[]): Promise<void> {
  await db.query(
    `insert into measurements (kind, system, instance, subject, metric, replica, value, usual, highest, points, at_ms)
     select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                          $7::float8[], $8::float8[], $9::float8[], $10::bigint[], $11::bigint[])
     on conflict (kind, system, instance, subject, metric) do update
       set replica = excluded.replica, value = excluded.value, usual = excluded.usual, highest = excluded.highest,
           points = excluded.points, at_ms = excluded.at_ms
     where measurements.at_ms <= excluded.at_ms`,
    [
      ...columns.map((column) => states.map((state) => state[column])),
      states.map((state) => state.value),
      states.map((state) => state.usual),
      states.map((state) => state.highest),
      states.map((state) => state.points),
      states.map((state) => state.atMs),
    ],
  );
}

/** The latest of each thing, newest first. */
export async function listMeasurements(db: Queryable, limit: number): Promise<readonly MeasuredState[]> {
  const { rows } = await db.query<Omit<MeasuredState, 'atMs'> & { at_ms: number }>(
    `select kind, system, instance, subject, metric, replica, value, usual, highest, points, at_ms
       from measurements order by at_ms desc, kind, instance, subject limit $1`,
    [limit],
  );
  return rows.map(({ at_ms: atMs, ...rest }) => ({ ...rest, atMs }));
}

/** Forgets what has not been measured since. */
export async function pruneMeasurements(db: Queryable, beforeMs: number): Promise<void> {
  await db.query('delete from measurements where at_ms < $1', [beforeMs]);
}
