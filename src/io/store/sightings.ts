import { sha256Hex } from '../../base/hash.ts';
import type { Sighting } from '../../domain/sighting.ts';
import type { Queryable } from './database.ts';

/** Of one finding: the latest, whatever they were of. */
const ringSlots = 4_096;
/** And the latest of each of 16^4 classes of keys. */
const keyDigits = 4;

interface SightingRow {
  fingerprint: string;
  collection: string;
  object_key: string;
  version: string;
  service: string;
  trace_id: string;
  span_id: string;
  at_us: number;
}

/** What is kept of a sighting. */
export type StoredSighting = Omit<Sighting, 'nth' | 'write'>;

const parseSighting = (row: SightingRow): StoredSighting => ({
  fingerprint: row.fingerprint,
  collection: row.collection,
  objectKey: row.object_key,
  version: row.version,
  service: row.service,
  span: { traceId: row.trace_id, spanId: row.span_id },
  atUs: row.at_us,
});

/** A later sighting takes the place of an earlier one of the same slot, never the other way round: a replay changes nothing. */
export async function saveSightings(db: Queryable, sightings: readonly Sighting[]): Promise<void> {
  const bySlot = new Map<string, object>();
  for (const sighting of sightings) {
    const row = {
      fingerprint: sighting.fingerprint,
      collection: sighting.collection,
      object_key: sighting.objectKey,
      version: sighting.version,
      service: sighting.service,
      trace_id: sighting.span.traceId,
      span_id: sighting.span.spanId,
      at_us: Math.trunc(sighting.atUs),
    };
    const inRing = -1 - (sighting.nth % ringSlots) - sighting.write * ringSlots;
    const { objectKey } = sighting;
    const slots = objectKey === '' ? [inRing] : [inRing, Number.parseInt(sha256Hex(objectKey).slice(0, keyDigits), 16)];
    for (const slot of slots) bySlot.set(`${sighting.fingerprint}\0${slot}`, { ...row, slot });
  }
  if (bySlot.size === 0) return;
  await db.query(
    `insert into sightings (fingerprint, slot, collection, object_key, version, service, trace_id, span_id, at_us)
     select fingerprint, slot, collection, object_key, version, service, trace_id, span_id, at_us
       from json_to_recordset($1::json) as s(fingerprint text, slot integer, collection text, object_key text, version text, service text,
              trace_id text, span_id text, at_us bigint)
     on conflict (fingerprint, slot) do update set
       collection = excluded.collection, object_key = excluded.object_key, version = excluded.version, service = excluded.service,
       trace_id = excluded.trace_id, span_id = excluded.span_id, at_us = excluded.at_us
       where excluded.at_us >= sightings.at_us`,
    [JSON.stringify([...bySlot.values()])],
  );
}

/** Sightings at writes of these objects or in these traces, newest first. */
export async function listSightings(
  db: Queryable,
  collection: string,
  objectKeys: readonly string[],
  traceIds: readonly string[],
  limit: number,
): Promise<readonly StoredSighting[]> {
  const { rows } = await db.query<SightingRow>(
    `select * from (
       select distinct on (fingerprint, trace_id, span_id) * from sightings
        where (collection = $1 and object_key <> '' and object_key = any($2::text[])) or trace_id = any($3::text[])
        order by fingerprint, trace_id, span_id) as one
      order by at_us desc limit $4`,
    [collection, objectKeys, traceIds, limit],
  );
  return rows.map(parseSighting);
}

/** Sightings at writes that show no key, of a collection, within `withinUs` of each of these times. */
export async function listKeylessSightings(
  db: Queryable,
  collection: string,
  atUs: readonly number[],
  withinUs: number,
  limit: number,
): Promise<readonly StoredSighting[]> {
  const { rows } = await db.query<SightingRow>(
    `select distinct s.fingerprint, s.collection, s.object_key, s.version, s.service, s.trace_id, s.span_id, s.at_us
       from unnest($2::bigint[]) as wanted(at_us)
       join sightings s on s.collection = $1 and s.object_key = '' and s.at_us between wanted.at_us - $3 and wanted.at_us + $3
      order by s.at_us desc limit $4`,
    [collection, atUs.map(Math.trunc), withinUs, limit],
  );
  return rows.map(parseSighting);
}

export async function pruneSightings(db: Queryable, beforeUs: number): Promise<number> {
  const { rowCount } = await db.query(
    'delete from sightings where ctid = any(array(select ctid from sightings where at_us < $1 limit 50000))',
    [beforeUs],
  );
  return rowCount ?? 0;
}
