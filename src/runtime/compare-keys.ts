/** Given keys, read now on every replica and judged: what the comparison, its second look and verification share. */
import type { Clock } from '../base/clock.ts';
import { judgeRows, type ReplicaFacts } from '../detect/localize.ts';
import type { Collection } from '../domain/collection.ts';
import type { RowDigest } from '../domain/digest.ts';
import type { Divergence, Position } from '../domain/divergence.ts';
import { type Key, keyText, type Row, type Shape } from '../domain/row.ts';
import { reveal } from '../domain/withheld.ts';
import type { ReadRow, ReplicaConnection, RowMark, SketchHash } from '../io/replicas/replica.ts';
import { agreedShape } from './compare-shape.ts';

export interface KeysOptions {
  readonly collection: Collection;
  readonly connections: readonly ReplicaConnection[];
  readonly keys: readonly Key[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface ReadDivergences {
  readonly divergences: readonly Divergence[];
  readonly equalKeys: readonly Key[];
  /** Key text -> replica id -> digest, null where the row is absent. */
  readonly digests: ReadonlyMap<string, Readonly<Record<string, RowDigest | null>>>;
}

/** Compares just these keys, now. Divergences come as suspected. */
export async function compareKeys(options: KeysOptions & { readonly shape?: Shape }): Promise<ReadDivergences & { readonly shape: Shape }> {
  const shape = options.shape ?? (await agreedShape(options.collection, options.connections, options.signal));
  return { shape, ...(await readDivergences({ ...options, shape })) };
}

/**
 * Of these keys, those on which the replicas do not all have the same hash, computed in the stores: rows need to be read only for them.
 * All of them where a store cannot compute one. `hash`: what the replicas have in common.
 */
export async function unequalKeys(
  options: Omit<KeysOptions, 'collection' | 'clock'> & { readonly shape: Shape; readonly hash: SketchHash },
): Promise<readonly Key[]> {
  const { connections, keys, shape, hash, signal } = options;
  const asked = connections.flatMap(({ sketching }) =>
    sketching?.hashKeys === undefined ? [] : [sketching.hashKeys(shape, hash, keys, signal)],
  );
  const hashes = await Promise.all(asked);
  if (hashes.length < connections.length) return keys;
  return keys.filter((_key, at) => hashes.some((one) => one[at] !== hashes[0]?.[at]));
}

export interface Versions {
  /** Replica id -> key text -> which version of the row it has. */
  readonly versions: ReadonlyMap<string, ReadonlyMap<string, RowMark>>;
  /** Where each replica was after that. */
  readonly positions: Readonly<Record<string, Position>>;
}

/** Which versions of these rows the replicas have; undefined where one of them can say that only by its rows. */
export async function readVersions(options: Omit<KeysOptions, 'collection'> & { readonly shape: Shape }): Promise<Versions | undefined> {
  const { connections, keys, shape, signal } = options;
  if (connections.some(({ readMarks }) => readMarks === undefined)) return undefined;
  const read = await Promise.all(
    connections.map(async (connection) => {
      const marks = (await connection.readMarks?.(shape, keys, signal)) ?? [];
      const position = await connection.position(signal);
      return { id: connection.replica.id, marks: new Map(marks.map((mark) => [keyText(shape.key, mark.key), mark])), position };
    }),
  );
  return {
    versions: new Map(read.map(({ id, marks }) => [id, marks])),
    positions: Object.fromEntries(read.map(({ id, position }) => [id, position])),
  };
}

export async function readDivergences(options: KeysOptions & { readonly shape: Shape }): Promise<ReadDivergences> {
  const { collection, connections, keys, shape, clock, signal } = options;
  if (keys.length === 0) return { divergences: [], equalKeys: [], digests: new Map() };
  const reads = await Promise.all(
    connections.map(async (connection) => {
      const rows = await connection.readRows(shape, keys, signal);
      // After the rows: what these rows hold, the position includes.
      const position = await connection.position(signal);
      return { id: connection.replica.id, position, rows: new Map(rows.map((row) => [keyText(shape.key, row.key), row])) };
    }),
  );
  const seenAt: Readonly<Record<string, Position>> = Object.fromEntries(reads.map((read) => [read.id, read.position]));
  const facts = factsOf(collection, connections);
  const divergences: Divergence[] = [];
  const equalKeys: Key[] = [];
  const digests = new Map<string, Readonly<Record<string, RowDigest | null>>>();
  for (const key of keys) {
    const text = keyText(shape.key, key);
    const rows = reveal(Object.fromEntries(reads.map((read): [string, Row | null] => [read.id, read.rows.get(text)?.row ?? null])));
    const divergence = judgeRows(collection.name, shape, key, rows, facts, seenAt, clock.nowMs());
    if (divergence === undefined) equalKeys.push(key);
    else divergences.push({ ...divergence, stamps: stampsOf(reads, text) });
    digests.set(text, Object.fromEntries(reads.map((read) => [read.id, read.rows.get(text)?.digest ?? null])));
  }
  return { divergences, equalKeys, digests };
}

function stampsOf(
  reads: readonly { readonly id: string; readonly rows: ReadonlyMap<string, ReadRow> }[],
  text: string,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    reads.flatMap(({ id, rows }) => {
      const stamp = rows.get(text)?.stamp;
      return stamp === undefined ? [] : [[id, stamp]];
    }),
  );
}

function factsOf(collection: Collection, connections: readonly ReplicaConnection[]): readonly ReplicaFacts[] {
  const replicas = connections.map((connection) => connection.replica);
  const reference = collection.authority ?? replicas.find((replica) => replica.role === 'leader')?.id;
  return replicas.map((replica) => ({ id: replica.id, isReference: replica.id === reference, mayLack: replica.role === 'cache' }));
}
