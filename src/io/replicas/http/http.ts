/**
 * A service as a replica: one that answers the replica API (`rows-api.ts`). It computes no digests, so rows come here and are hashed
 * here; each row's etag makes a change conditional, and without etags the replica is only compared.
 */
import { z } from 'zod';
import { systemClock } from '../../../base/clock.ts';
import { Failure } from '../../../base/failure.ts';
import { jsonMembers } from '../../../domain/canonical-jsonb.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { Effect } from '../../../domain/effect.ts';
import type { KeyRange } from '../../../domain/key-range.ts';
import { keyDigest, rowDigest } from '../../../domain/row-encoding.ts';
import { type Column, type Key, keyText, type Shape } from '../../../domain/row.ts';
import { isInRange } from '../key-order.ts';
import { bucketOfDigest, DigestSum } from '../lane-sum.ts';
import { jsonFromRow, jsonText, rowFromJson, WHOLE_VALUE } from '../redis/values.ts';
import type { ApplyResult, Entry, ReadRow, ReplicaConnection, ReplicaCounters } from '../replica.ts';
import { openRowsApi, type RowLine } from './rows-api.ts';

const KEYS_AT_ONCE = 1_000;
const ROWS_AT_ONCE = 1_000;

const description = z.object({
  columns: z
    .array(
      z.object({
        name: z.string().min(1),
        type: z.enum([
          'int',
          'numeric',
          'float',
          'bool',
          'text',
          'bytes',
          'uuid',
          'date',
          'time',
          'timestamp',
          'timestamptz',
          'interval',
          'json',
          'array',
          'bits',
          'inet',
        ]),
        nullable: z.boolean().default(true),
      }),
    )
    .optional(),
});

/** A row, with what a change of it must name. */
interface FoundRow extends ReadRow {
  readonly etag: string | null;
  readonly document: string;
}

export function openHttpReplica(collection: Collection, replica: Replica): ReplicaConnection {
  const counters: ReplicaCounters = { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 };
  const who = `Replica ${replica.id} of ${collection.name}`;
  const names = replica.columnNames;
  const api = openRowsApi(replica.url, who, (bytes) => (counters.bytesMoved += bytes));

  const rowOf = (shape: Shape, { row: document, etag }: RowLine): FoundRow => {
    const key = keyOf(shape, names, document, who);
    const row = rowFromJson(shape, names, key, document);
    return { key, row, digest: rowDigest(shape, row), etag, document };
  };

  async function* rows(shape: Shape, range: KeyRange, signal: AbortSignal): AsyncGenerator<readonly FoundRow[]> {
    let batch: FoundRow[] = [];
    // A key that comes twice (a row that moved while the service walked its rows) would be a difference that nobody has.
    const seen = new Set<string>();
    for await (const line of api.all(signal)) {
      const row = rowOf(shape, line);
      counters.rowsScanned += 1;
      const text = keyText(shape.key, row.key);
      if (seen.has(text))
        throw new Failure('malformed-answer', `${who} sends the key ${text} twice: its rows must be one snapshot.`, 'later');
      seen.add(text);
      if (!isInRange(shape, row.key, range)) continue;
      batch.push(row);
      if (batch.length < ROWS_AT_ONCE) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  const find = async (shape: Shape, keys: readonly Key[], signal: AbortSignal): Promise<readonly FoundRow[]> => {
    const found: FoundRow[] = [];
    for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
      const wanted = keys.slice(at, at + KEYS_AT_ONCE);
      const asked = new Set(wanted.map((key) => keyText(shape.key, key)));
      for await (const line of api.read(wanted, signal)) {
        const row = rowOf(shape, line);
        if (!asked.delete(keyText(shape.key, row.key)))
          throw new Failure('malformed-answer', `${who} sends rows that it was not asked for, or one twice: mend the service.`, 'never');
        found.push(row);
      }
    }
    return found;
  };

  const apply = async (shape: Shape, effects: readonly Effect[], signal: AbortSignal): Promise<ApplyResult> => {
    if (effects.length === 0) return { is: 'already-applied', rows: 0 };
    const found = new Map(
      (
        await find(
          shape,
          effects.map((effect) => effect.key),
          signal,
        )
      ).map((row) => [keyText(shape.key, row.key), row]),
    );
    const rowAt = (effect: Effect): FoundRow | undefined => found.get(keyText(shape.key, effect.key));
    const changed = effects.filter((effect) => (rowAt(effect)?.digest ?? null) !== effect.expects);
    if (changed.length > 0) {
      if (effects.every((effect) => (rowAt(effect)?.digest ?? null) === effect.leaves))
        return { is: 'already-applied', rows: effects.length };
      return { is: 'changed-since-read', keys: changed.map((effect) => effect.key) };
    }
    if (effects.some((effect) => rowAt(effect)?.etag === null))
      throw new Failure(
        'read-only',
        `${who} gives no etags, so a change could overwrite a newer row: give the service etags, or repair another replica.`,
        'never',
      );
    const result = await api.apply(
      effects.map((effect) => {
        const row = rowAt(effect);
        const document = effect.after === null ? null : jsonFromRow(shape, names, effect.after, row?.document ?? null);
        return { key: effect.key, etag: row?.etag ?? null, row: document };
      }),
      signal,
    );
    if (result.is === 'changed') return { is: 'changed-since-read', keys: result.keys };
    // What the service made of it, or somebody else since, verification looks at: nothing here could take it back.
    return { is: 'applied', rows: effects.length };
  };

  return {
    replica,
    counters,
    describe: async (signal) => describedShape(collection, names, await api.describe(signal), who),
    position: async (signal) => {
      await api.describe(signal);
      const atMs = systemClock.nowMs();
      return { is: 'wall-clock', text: new Date(atMs).toISOString(), atMs };
    },
    hasPassed: (position, stalenessMs, signal) => {
      signal.throwIfAborted();
      return Promise.resolve(systemClock.nowMs() - position.atMs >= stalenessMs);
    },
    digest: async (shape, ranges, signal) => {
      const digests = [];
      for (const range of ranges) {
        const sum = new DigestSum();
        for await (const batch of rows(shape, range, signal)) for (const row of batch) sum.add(row.digest);
        digests.push(sum.result());
      }
      return digests;
    },
    digestBuckets: async (shape, range, buckets, signal) => {
      const sums = Array.from({ length: buckets }, () => new DigestSum());
      for await (const batch of rows(shape, range, signal))
        for (const row of batch) sums[bucketOfDigest(keyDigest(shape, row.key), buckets)]?.add(row.digest);
      return sums.map((sum) => sum.result());
    },
    async *entries(shape, range, choice, signal) {
      const only = choice.only === undefined ? undefined : new Set(choice.only);
      for await (const batch of rows(shape, range, signal)) {
        const chosen: readonly Entry[] = batch
          .filter((row) => only?.has(bucketOfDigest(keyDigest(shape, row.key), choice.buckets)) !== false)
          .map(({ key, digest }) => ({ key, digest }));
        if (chosen.length > 0) yield chosen;
      }
    },
    readRows: async (shape, keys, signal) => {
      const found = await find(shape, keys, signal);
      counters.rowsFetched += found.length;
      return found.map(({ key, row, digest, etag }) => ({ key, row, digest, ...(etag === null ? {} : { stamp: etag }) }));
    },
    apply,
    close: () => Promise.resolve(),
  };
}

/** Types where the service declares them; otherwise the columns of its typed peers are what its documents are read as. */
function describedShape(collection: Collection, names: Readonly<Record<string, string>>, text: string, who: string): Shape {
  let parsed: z.infer<typeof description>;
  try {
    parsed = description.parse(JSON.parse(text));
  } catch (error) {
    throw new Failure(
      'malformed-answer',
      `${who} does not describe itself as docs/http-replica.md says ({"columns": [{"name", "type"}]}).`,
      'never',
      error,
    );
  }
  const keyColumns = collection.key.map((name): Column => ({ name, type: 'text', nullable: false }));
  if (parsed.columns === undefined)
    return { key: collection.key, columns: [...keyColumns, { name: WHOLE_VALUE, type: 'json', nullable: false }], open: true };
  const own = new Map(Object.entries(names).map(([column, field]) => [field, column]));
  const columns = parsed.columns
    .map(({ name, type, nullable }): Column => ({ name: own.get(name) ?? name, type, nullable, engineType: type }))
    .filter(({ name }) => !collection.excludedColumns.includes(name));
  const lacking = collection.key.find((name) => !columns.some((column) => column.name === name));
  if (lacking !== undefined)
    throw new Failure('no-key', `${who} has no key column ${lacking}: declare it, or map its name under columns.`, 'never');
  const place = (column: Column): number =>
    collection.key.includes(column.name) ? collection.key.indexOf(column.name) : collection.key.length;
  columns.sort((a, b) => place(a) - place(b) || (a.name < b.name ? -1 : 1));
  return {
    key: collection.key,
    columns: columns.map((column) => (collection.key.includes(column.name) ? { ...column, nullable: false } : column)),
  };
}

function keyOf(shape: Shape, names: Readonly<Record<string, string>>, document: string, who: string): Key {
  const members = jsonMembers(document);
  return Object.fromEntries(
    shape.key.map((name) => {
      const member = members?.get(names[name] ?? name);
      const column = shape.columns.find((one) => one.name === name);
      const value = member === undefined || column === undefined ? null : jsonText(column, member);
      if (value === null) throw new Failure('no-key', `${who} sends a row without its key column ${name}: mend the service.`, 'never');
      return [name, value];
    }),
  );
}
