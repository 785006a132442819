/**
 * Effects on Redis: WATCH the keys, compare what is there with what each effect expects, write in one MULTI. EXEC does nothing if a
 * watched key changed in between: then the whole batch is `changed-since-read`. An existing key keeps its time to live.
 */
import type { ChainableCommander, Redis } from 'ioredis';
import { invariant } from '../../../base/assert.ts';
import { Failure } from '../../../base/failure.ts';
import type { Effect } from '../../../domain/effect.ts';
import { rowDigest } from '../../../domain/row-encoding.ts';
import type { Key, Row, Shape } from '../../../domain/row.ts';
import type { ApplyResult } from '../replica.ts';
import { type FoundValue, readValues, rowOf, type ValueKind } from './redis.ts';
import { jsonFromRow, onlyColumn } from './values.ts';

interface Target {
  readonly shape: Shape;
  readonly kind: ValueKind;
  readonly names: Readonly<Record<string, string>>;
  readonly format: (key: Key) => string;
  readonly who: string;
}

export async function applyEffects(redis: Redis, target: Target, effects: readonly Effect[]): Promise<ApplyResult> {
  if (effects.length === 0) return { is: 'already-applied', rows: 0 };
  const keys = effects.map((effect) => target.format(effect.key));
  invariant(new Set(keys).size === keys.length, 'a batch has one effect a key', {});
  await redis.watch(...keys);
  const found = await readValues(redis, target.kind, keys);
  const digests = effects.map((effect, at) => {
    const row = rowOf(target.shape, target.names, target.kind, effect.key, found[at]);
    return row === undefined ? null : rowDigest(target.shape, row);
  });
  const changed = effects.filter((effect, at) => digests[at] !== effect.expects);
  if (changed.length > 0) {
    await redis.unwatch();
    if (effects.every((effect, at) => digests[at] === effect.leaves)) return { is: 'already-applied', rows: effects.length };
    return { is: 'changed-since-read', keys: changed.map((effect) => effect.key) };
  }
  const transaction = redis.multi();
  for (const [at, effect] of effects.entries()) {
    const key = keys[at] ?? '';
    if (effect.after === null) transaction.del(key);
    else writeRow(transaction, target, key, effect, effect.after, found[at]);
  }
  const answers = await transaction.exec();
  if (answers === null) return { is: 'changed-since-read', keys: effects.map((effect) => effect.key) };
  const failed = answers.find(([error]) => error !== null)?.[0];
  // Redis does not take back what went before in a MULTI; the commands used here fail only on a wrong type, which the digest excludes.
  if (failed !== undefined && failed !== null)
    throw new Failure('replica-failed', `${target.who} refused a part of the change: compare again.`, 'never', failed);
  // What another writer left since is theirs: a cache entry that was emptied is loaded again at once. Verification looks at what is there.
  return { is: 'applied', rows: effects.length };
}

function writeRow(
  transaction: ChainableCommander,
  target: Target,
  key: string,
  effect: Effect,
  after: Row,
  found: FoundValue | undefined,
): void {
  const { shape, names, kind } = target;
  const current = found?.is === 'value' ? found.value : null;
  switch (kind) {
    case 'json': {
      const text = jsonFromRow(shape, names, after, current instanceof Uint8Array ? Buffer.from(current).toString('utf8') : null);
      if (current === null) transaction.set(key, text);
      else transaction.set(key, text, 'KEEPTTL');
      return;
    }
    case 'hash': {
      for (const column of shape.columns) {
        const field = names[column.name] ?? column.name;
        const value = after[column.name] ?? null;
        if (effect.before !== null && (effect.before[column.name] ?? null) === value) continue;
        if (value === null) transaction.hdel(key, field);
        else transaction.hset(key, field, value);
      }
      return;
    }
    case 'string': {
      const value = after[onlyColumn(shape)?.name ?? ''] ?? '';
      if (current === null) transaction.set(key, value);
      else transaction.set(key, value, 'KEEPTTL');
      return;
    }
    case 'set':
      throw new Failure(
        'read-only',
        `${target.who} keeps sets, whose order and types a row does not tell: delete the key and let its writer fill it.`,
        'never',
      );
    default: {
      const never: never = kind;
      throw new TypeError(`no such kind of value: ${String(never)}`);
    }
  }
}
