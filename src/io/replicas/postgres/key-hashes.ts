/** Hashes of the rows of given keys, computed inside the server: 20 bytes a key travel, whatever the rows hold. */
import type { Key, Shape } from '../../../domain/row.ts';
import type { SketchHash } from '../replica.ts';
import { canonicalTexts, rowDigestExpression } from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { nativeHashes } from './native-hash.ts';
import { keyMatch, keyParameters } from './read-rows.ts';
import type { Session } from './session.ts';

const HASH_BYTES = 16;

/** One hash a key, in order; null where there is no such row. */
export async function hashKeys(
  session: Session,
  table: Table,
  shape: Shape,
  hash: SketchHash,
  keys: readonly Key[],
): Promise<readonly (string | null)[]> {
  const width = shape.key.length;
  const names = [...Array.from({ length: width }, (_unused, at) => `w${at}`), 'n'];
  const arrays = Array.from({ length: width }, (_unused, at) => `$${at + 1}::text[]`);
  // A lateral subquery that is not pulled up: by the index of the key, however small the table or large the batch.
  const [row] = await session.query(
    `SELECT string_agg(int4send(w.n::int), '') AS places, string_agg(s.hash, '') AS hashes
       FROM unnest(${arrays.join(', ')}) WITH ORDINALITY AS w(${names.join(', ')})
       CROSS JOIN LATERAL (SELECT ${rowHash(table, shape, hash)} AS hash FROM ${table.sql} t WHERE ${keyMatch(table, shape)} OFFSET 0) s`,
    keyParameters(shape, keys),
  );
  const found: (string | null)[] = keys.map(() => null);
  const places = row?.['places'];
  const hashes = row?.['hashes'];
  if (!(places instanceof Buffer) || !(hashes instanceof Buffer)) return found;
  for (let at = 0; at * 4 < places.length; at += 1)
    found[places.readInt32BE(at * 4) - 1] = hashes.toString('latin1', at * HASH_BYTES, (at + 1) * HASH_BYTES);
  return found;
}

function rowHash(table: Table, shape: Shape, hash: SketchHash): string {
  if (hash === 'native') {
    const { high, low } = nativeHashes(table, shape);
    return `int8send(${high}) || int8send(${low})`;
  }
  return `(SELECT decode(${rowDigestExpression(table, shape)}, 'hex') FROM (SELECT ${canonicalTexts(table, shape)} OFFSET 0) c)`;
}
