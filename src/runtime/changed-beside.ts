import { canonicalJson, type Json } from '../base/hash.ts';
import type { Divergence } from '../domain/divergence.ts';
import type { Effect } from '../domain/effect.ts';
import { type Key, keyText, type Row, type Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';

/** Rows read at once. */
const keysPerRead = 500;

/**
 * Keys for which a row that the effects do not touch is no longer the one that was confirmed, or that do not differ any more. Compare-and-set
 * guards the rows that are written; what they are written from can have changed while the proposal waited for people, and copying what it was
 * then would leave the replicas apart, and an older value on one of them. Caches are left out: an entry comes and goes by itself, and whether
 * one is emptied does not depend on the others.
 */
export async function changedBeside(
  connections: readonly ReplicaConnection[],
  shape: Shape,
  effects: readonly Effect[],
  confirmed: readonly Pick<Divergence, 'key' | 'replicas'>[],
  signal: AbortSignal,
): Promise<readonly Key[]> {
  const sources = connections.filter((connection) => connection.replica.role !== 'cache');
  const isSource = new Set(sources.map(({ replica }) => replica.id));
  const text = (key: Key): string => keyText(shape.key, key);
  const rowsOf = new Map(confirmed.map((divergence) => [text(divergence.key), divergence.replicas]));
  const written = new Map<string, { readonly key: Key; readonly replicas: Set<string> }>();
  for (const effect of effects) {
    if (!isSource.has(effect.replica)) continue;
    const known = written.get(text(effect.key));
    if (known === undefined) written.set(text(effect.key), { key: effect.key, replicas: new Set([effect.replica]) });
    else known.replicas.add(effect.replica);
  }
  const changed = new Map<string, Key>();
  for (const [name, { key }] of written) if (!rowsOf.has(name)) changed.set(name, key);
  for (const connection of sources) {
    const { id } = connection.replica;
    const beside = [...written].filter(([name, { replicas }]) => rowsOf.has(name) && !replicas.has(id));
    for (let start = 0; start < beside.length; start += keysPerRead) {
      const some = beside.slice(start, start + keysPerRead);
      const rows = await connection.readRows(
        shape,
        some.map(([, { key }]) => key),
        signal,
      );
      const found = new Map<string, Row>(rows.map(({ key, row }) => [text(key), row]));
      for (const [name, { key }] of some) {
        if (canonicalJson((found.get(name) ?? null) as Json) !== canonicalJson((rowsOf.get(name)?.[id] ?? null) as Json))
          changed.set(name, key);
      }
    }
  }
  return [...changed.values()];
}
