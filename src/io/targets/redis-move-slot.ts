import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { Failure } from '../../base/failure.ts';
import { absent, parseValueDigest, type ValueDigest, valueDigests, valueDigestScript } from './redis-value-digest.ts';

/**
 * Hands one hash slot over, live, by Redis Cluster's own protocol, in an order in which a crash at any step leaves something that the
 * same call finishes:
 *
 *   target: SETSLOT IMPORTING    source: SETSLOT MIGRATING    keys go over in batches    SETSLOT NODE at the target, the source, the rest
 *
 * A key is served by the source while it is there, and by the target (ASK) once it is not. So a copy must never lie at the target
 * while the source still serves the key: a client's delete in between would bring the old value back. MIGRATE hands over atomically:
 * the source waits until the target has restored the payload and checked its CRC-64, and deletes its copy only then. The digest of
 * each value is taken in the same transaction as its hand-over, and compared with the target's right after: what differs was written by a
 * client in between, and is counted.
 */
export interface SlotMove {
  readonly slot: number;
  readonly source: { readonly id: string; readonly redis: Redis; readonly host: string; readonly port: number };
  readonly target: { readonly id: string; readonly redis: Redis; readonly host: string; readonly port: number };
  /** All other masters: they are told at the end, so that clients are redirected once less. */
  readonly others: readonly Redis[];
  readonly auth: readonly string[];
  readonly keysPerSecond: number;
  readonly signal: AbortSignal;
}

export interface SlotMoved {
  readonly keys: number;
  /** Keys whose digest at the target was that of the hand-over. */
  readonly verified: number;
  /** Keys that a client wrote between hand-over and check. */
  readonly writtenSince: number;
}

const batchKeys = 50;
/** A key larger than what goes over in this time stops the move; both nodes stand still while one key goes over. */
const migrateTimeoutMs = 20_000;

export async function moveSlot(move: SlotMove): Promise<SlotMoved> {
  const { slot, source, target } = move;
  await tell(target.redis, ['SETSLOT', String(slot), 'IMPORTING', source.id]);
  await tell(source.redis, ['SETSLOT', String(slot), 'MIGRATING', target.id]);
  let keys = 0;
  let verified = 0;
  let writtenSince = 0;
  for (;;) {
    move.signal.throwIfAborted();
    const startedMs = performance.now();
    const names = namesOf(await source.redis.callBuffer('CLUSTER', 'GETKEYSINSLOT', String(slot), String(batchKeys)));
    if (names.length === 0) break;
    const sent = await handOver(move, names);
    const found = await valueDigests(target.redis, names, true);
    for (const [i, before] of sent.entries()) {
      if (before.digest === '') continue;
      keys += 1;
      if (isSame(before, found[i] ?? absent)) verified += 1;
      else writtenSince += 1;
    }
    const leastMs = (1_000 * names.length) / move.keysPerSecond;
    const left = leastMs - (performance.now() - startedMs);
    if (left > 0) await delay(left, undefined, { signal: move.signal });
  }
  await closeSlot(move);
  return { keys, verified, writtenSince };
}

/** The target first: if all else fails here, it knows that the slot is its own, and its newer epoch tells the others. */
export async function closeSlot(move: Pick<SlotMove, 'slot' | 'source' | 'target' | 'others'>): Promise<void> {
  const words = ['SETSLOT', String(move.slot), 'NODE', move.target.id];
  await tell(move.target.redis, words);
  await tell(move.source.redis, words);
  // They hear of it by gossip in any case.
  await Promise.allSettled(move.others.map((other) => tell(other, words)));
}

/** The time to live travels as what is left of it, so the moment of expiry shifts by what the way takes. */
function isSame(before: ValueDigest, after: ValueDigest): boolean {
  return before.digest === after.digest && Math.abs(before.expiresAtMs - after.expiresAtMs) <= migrateTimeoutMs;
}

/** The values as they were handed over, absent for a key that was gone. */
async function handOver(move: SlotMove, names: readonly Buffer[]): Promise<readonly ValueDigest[]> {
  const { source, target } = move;
  const transaction = source.redis.multi();
  for (const name of names) transaction.eval(valueDigestScript, 1, name);
  transaction.call(
    'MIGRATE',
    target.host,
    String(target.port),
    '',
    '0',
    String(migrateTimeoutMs),
    // What an earlier, cut-off hand-over left at the target is older: the source served the key until now.
    'REPLACE',
    ...move.auth,
    'KEYS',
    ...names,
  );
  let answers: readonly (readonly [Error | null, unknown])[] | null;
  try {
    answers = await transaction.exec();
  } catch (error) {
    // A key went away after it was listed: the node refuses to queue what concerns it. The list is read again.
    if (error instanceof Error && /EXECABORT|ASK|TRYAGAIN/.test(error.message)) return names.map(() => absent);
    throw error;
  }
  const digests: ValueDigest[] = [];
  for (const [i, [error, answer]] of (answers ?? []).entries()) {
    if (i < names.length) digests.push(error === null ? parseValueDigest(answer) : absent);
    else if (error !== null)
      throw new Failure(
        'migrate',
        `keys of slot ${move.slot} did not go over to ${target.host}:${target.port}: ${error.message}`,
        /BUSYKEY|NOPERM|NOAUTH|WRONGPASS/.test(error.message) ? 'never' : 'later',
        error,
      );
  }
  return digests;
}

async function tell(node: Redis, words: readonly string[]): Promise<void> {
  await node.call('CLUSTER', ...words);
}

function namesOf(answer: unknown): readonly Buffer[] {
  return Array.isArray(answer) ? answer.filter((name) => Buffer.isBuffer(name)) : [];
}
