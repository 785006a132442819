/**
 * Lag is not divergence. A difference is confirmed only if it is still there, unchanged on every replica, after each of them has
 * passed the positions at which it was seen (LSN where two share a history, else the staleness budget).
 *
 * Unchanged means not written in between: a row that is set to one value, to another and back looks as it did, and on a follower that
 * lags it looks different again. Where a store marks the versions of its rows, the marks must be the same too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { rowDigest } from '../domain/row-encoding.ts';
import type { Collection } from '../domain/collection.ts';
import type { Divergence, Position } from '../domain/divergence.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { agreedShape } from './compare-shape.ts';
import { readDivergences } from './compare-keys.ts';

export interface Confirmation {
  readonly confirmed: readonly Divergence[];
  /** Keys that agree by now. */
  readonly healed: readonly Key[];
  /** Still different, but not as they were: in motion, or a replica did not pass the position in time. */
  readonly flapping: readonly Divergence[];
}

export interface ConfirmOptions {
  readonly collection: Collection;
  readonly connections: readonly ReplicaConnection[];
  readonly divergences: readonly Divergence[];
  readonly shape?: Shape;
  /** undefined: do not wait, look once more now; then only what is unchanged counts. */
  readonly stalenessMs: number | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** A follower that is further behind than this beyond the budget is reported as such, not waited for. */
const EXTRA_WAIT_MS = 30_000;
/** How often a key that changes is looked at again. */
const MAX_LOOKS = 3;
const KEYS_PER_READ = 1_000;
/** Rows without marks that are read again and again while positions are waited for. */
const MAX_PEEKED = 2_000;

export async function confirmDivergences(options: ConfirmOptions): Promise<Confirmation> {
  const { collection, connections, signal, stalenessMs } = options;
  const shape = options.shape ?? (await agreedShape(collection, connections, signal));
  const confirmed: Divergence[] = [];
  const healed: Key[] = [];
  const flapping: Divergence[] = [];
  let pending = options.divergences;
  for (let look = 0; look < MAX_LOOKS && pending.length > 0; look += 1) {
    const moving = new Set<string>();
    const peek = (): Promise<void> => peekAtUnmarked({ ...options, shape }, pending, moving);
    const hasPassed = stalenessMs === undefined || (await waitForPositions(latestPositions(pending), options, stalenessMs, peek));
    const again = await lookAgain({ ...options, shape }, pending);
    const status = hasPassed && stalenessMs !== undefined ? 'confirmed' : 'suspected';
    const stays = (one: Divergence): boolean => !moving.has(keyText(shape.key, one.key));
    (hasPassed ? confirmed : flapping).push(...again.unchanged.filter(stays).map((one) => ({ ...one, status }) as const));
    healed.push(...again.healed);
    // Seen anew, now: what it was first seen at says nothing of a row that has moved since.
    pending = [
      ...again.changed,
      ...again.unchanged.filter((one) => !stays(one)).map((one) => again.seenNow.get(keyText(shape.key, one.key)) ?? one),
    ];
    signal.throwIfAborted();
  }
  return { confirmed, healed, flapping: [...flapping, ...pending] };
}

export interface SecondLook {
  /** Different as before, and not written since. */
  readonly unchanged: readonly Divergence[];
  /** Different, but not as before: seen for the first time, as it is now. */
  readonly changed: readonly Divergence[];
  readonly healed: readonly Key[];
  /** Key text -> what differs, as this look saw it. */
  readonly seenNow: ReadonlyMap<string, Divergence>;
}

/**
 * While positions are waited for: which of the rows that no store marks are seen otherwise in between. A row that goes back and forth is
 * caught by that unless it does so within one look and the next each time.
 */
async function peekAtUnmarked(
  options: Parameters<typeof lookAgain>[0],
  pending: readonly Divergence[],
  moving: Set<string>,
): Promise<void> {
  const textOf = (key: Key): string => keyText(options.shape.key, key);
  const watched = pending.filter((one) => !isMarked(one) && !moving.has(textOf(one.key))).slice(0, MAX_PEEKED);
  const again = await lookAgain(options, watched);
  for (const key of [...again.changed.map((one) => one.key), ...again.healed]) moving.add(textOf(key));
}

/** Whether every row of it has its store's mark, so that two looks tell whether it was written in between. */
export function isMarked(divergence: Divergence): boolean {
  return Object.entries(divergence.replicas).every(([replica, row]) => row === null || divergence.stamps?.[replica] !== undefined);
}

/** Reads the keys of `seen` once more and says what became of each. */
export async function lookAgain(
  options: Pick<ConfirmOptions, 'collection' | 'connections' | 'clock' | 'signal'> & { readonly shape: Shape },
  seen: readonly Divergence[],
): Promise<SecondLook> {
  const { shape } = options;
  const unchanged: Divergence[] = [];
  const changed: Divergence[] = [];
  const healed: Key[] = [];
  const seenNow = new Map<string, Divergence>();
  for (let at = 0; at < seen.length; at += KEYS_PER_READ) {
    const batch = seen.slice(at, at + KEYS_PER_READ);
    const now = await readDivergences({ ...options, keys: batch.map((one) => one.key) });
    const differing = new Map(now.divergences.map((one) => [keyText(shape.key, one.key), one]));
    for (const [text, one] of differing) seenNow.set(text, one);
    for (const before of batch) {
      const again = differing.get(keyText(shape.key, before.key));
      if (again === undefined) healed.push(before.key);
      else if (isUnchanged(shape, before, again)) unchanged.push({ ...again, seenAt: before.seenAt, firstSeenMs: before.firstSeenMs });
      else changed.push({ ...again, firstSeenMs: before.firstSeenMs });
    }
  }
  return { unchanged, changed, healed, seenNow };
}

/** Whether two looks at a key saw the same versions of its rows. */
export function isUnchanged(shape: Shape, before: Divergence, after: Divergence): boolean {
  return Object.keys({ ...before.replicas, ...after.replicas }).every((replica) => {
    const one = before.replicas[replica] ?? null;
    const two = after.replicas[replica] ?? null;
    if (one === null || two === null) return one === two;
    return before.stamps?.[replica] === after.stamps?.[replica] && rowDigest(shape, one) === rowDigest(shape, two);
  });
}

/** The furthest position of each replica among the divergences: the last read, because positions only grow. */
export function latestPositions(divergences: readonly Divergence[]): Readonly<Record<string, Position>> {
  const latest: Record<string, Position> = {};
  for (const divergence of divergences) {
    for (const [replica, position] of Object.entries(divergence.seenAt)) {
      const known = latest[replica];
      if (known === undefined || known.atMs < position.atMs) latest[replica] = position;
    }
  }
  return latest;
}

/** False where a replica has not passed in time. */
async function waitForPositions(
  positions: Readonly<Record<string, Position>>,
  options: ConfirmOptions,
  stalenessMs: number,
  peek: () => Promise<void>,
): Promise<boolean> {
  const { connections, clock, signal } = options;
  const deadlineMs = clock.monotonicMs() + stalenessMs + EXTRA_WAIT_MS;
  let outstanding = connections.flatMap((connection) =>
    Object.entries(positions).flatMap(([replica, position]) => (replica === connection.replica.id ? [] : [{ connection, position }])),
  );
  for (let wait = 20; ; wait = Math.min(wait * 2, 500)) {
    const passed = await Promise.all(outstanding.map(({ connection, position }) => connection.hasPassed(position, stalenessMs, signal)));
    outstanding = outstanding.filter((_one, at) => passed[at] !== true);
    if (outstanding.length === 0) return true;
    if (clock.monotonicMs() > deadlineMs) return false;
    await sleep(wait, undefined, { signal });
    await peek();
  }
}
