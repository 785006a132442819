import { setTimeout as delay } from 'node:timers/promises';
import type { Collection } from '../domain/collection.ts';
import type { RowDigest } from '../domain/digest.ts';
import type { Effect } from '../domain/effect.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { compareAfter } from '../verify/compare.ts';
import { agreedShape } from './compare-shape.ts';
import type { RuntimeContext } from './context.ts';

/** Rows read at once. */
const keysPerRead = 500;
/** How long rows that were written after the repair get to become equal everywhere; a domain's staleness budget if that is shorter. */
const settleLimitMs = 10_000;
const settleTickMs = 200;

export type Verified = { readonly is: 'equal' } | { readonly is: 'not-equal'; readonly rows: number };

/**
 * Reads every replica again, through connections that the repair did not use, and compares each row's digest with what its effect
 * leaves. A row that somebody wrote after the repair is not as we left it; it counts as right once all replicas hold it, for which
 * it gets the domain's staleness budget. Anything else is a repair that did not do what it said.
 */
export async function verifyEffects(
  context: RuntimeContext,
  collection: Collection,
  effects: readonly Effect[],
  signal: AbortSignal,
): Promise<Verified> {
  const connections = await context.replicas.verifiers(collection.name);
  // As the tables are now: one that was altered since these connections last looked has other columns, and after the repair other digests.
  const shape = await agreedShape(collection, connections, signal);
  const budgetMs = Math.min(settleLimitMs, context.domains[collection.domain]?.stalenessMs ?? 0);
  const deadlineMs = context.clock.monotonicMs() + budgetMs;
  let left = effects;
  for (;;) {
    const found = await readDigests(connections, shape, left, signal);
    const text = (key: Key): string => keyText(shape.key, key);
    const compared = compareAfter(left, (replica, key) => found.get(replica)?.get(text(key)) ?? null);
    if (compared.is === 'equal') return { is: 'equal' };
    left = compared.effects.filter((effect) => {
      const digests = connections.flatMap(({ replica }) => {
        const digest = found.get(replica.id)?.get(text(effect.key)) ?? null;
        // A cache need not hold the row.
        return digest === null && replica.role === 'cache' ? [] : [digest];
      });
      return digests.some((digest) => digest !== digests[0]);
    });
    if (left.length === 0) return { is: 'equal' };
    if (context.clock.monotonicMs() >= deadlineMs) return { is: 'not-equal', rows: left.length };
    await delay(settleTickMs, undefined, { signal });
  }
}

/**
 * Whether a batch that answers `changed-since-read` went in before: nothing is as it was, and some row is as the batch leaves it.
 * A batch goes in as a whole, so one such row is enough.
 */
export async function wereApplied(
  connection: ReplicaConnection,
  shape: Shape,
  effects: readonly Effect[],
  signal: AbortSignal,
): Promise<boolean> {
  const found = (await readDigests([connection], shape, effects, signal)).get(connection.replica.id);
  const digestOf = (effect: Effect): RowDigest | null => found?.get(keyText(shape.key, effect.key)) ?? null;
  return effects.every((effect) => digestOf(effect) !== effect.expects) && effects.some((effect) => digestOf(effect) === effect.leaves);
}

async function readDigests(
  connections: readonly ReplicaConnection[],
  shape: Shape,
  effects: readonly Effect[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ReadonlyMap<string, RowDigest>>> {
  const keys = [...new Map(effects.map((effect) => [keyText(shape.key, effect.key), effect.key])).values()];
  const found = new Map<string, Map<string, RowDigest>>();
  for (const connection of connections) {
    const digests = new Map<string, RowDigest>();
    for (let start = 0; start < keys.length; start += keysPerRead) {
      for (const row of await connection.readRows(shape, keys.slice(start, start + keysPerRead), signal))
        digests.set(keyText(shape.key, row.key), row.digest);
    }
    found.set(connection.replica.id, digests);
  }
  return found;
}
