/**
 * Lag is not divergence. A difference is confirmed only if it is still there, unchanged on every replica, after each of them has
 * passed the positions at which it was seen (LSN where two share a history, else the staleness budget).
 *
 * Unchanged means not written in between: a row that is set to one value, to another and back looks as it did, and on a follower that
 * lags it looks different again. Where a store marks the versions of its rows, the marks must be the same too; where it does not, the
 * row must have been the same in every one of a number of looks (`compare-watch.ts`).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { Rng } from '../base/rng.ts';
import { rowDigest } from '../domain/row-encoding.ts';
import type { Collection } from '../domain/collection.ts';
import type { Divergence, Position } from '../domain/divergence.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { agreedShape } from './compare-shape.ts';
import { readDivergences, readVersions, type Versions } from './compare-keys.ts';
import { UnmarkedWatch, watchRng } from './compare-watch.ts';

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
  /** Whether a feed has told that the key with this text was written at this monotonic time or later. */
  readonly wasToldSince?: (text: string, sinceMs: number) => boolean;
  /** Monotonic time of the earliest first sight among the divergences; now where it is absent. */
  readonly seenSinceMs?: number;
  /** Decides when rows without marks are looked at; another one each time where it is absent. */
  readonly rng?: Rng;
}

/** A follower that is further behind than this beyond the budget is reported as such, not waited for. */
const EXTRA_WAIT_MS = 30_000;
/** How often a key that changes is looked at again. */
const MAX_LOOKS = 3;
const KEYS_PER_READ = 1_000;
/** How often positions are asked for, at first and after a while. */
const FIRST_ASK_MS = 20;
const LAST_ASK_MS = 500;

export async function confirmDivergences(options: ConfirmOptions): Promise<Confirmation> {
  const { collection, connections, signal, stalenessMs } = options;
  const shape = options.shape ?? (await agreedShape(collection, connections, signal));
  const confirmed: Divergence[] = [];
  const healed: Key[] = [];
  const flapping: Divergence[] = [];
  const rng = options.rng ?? watchRng();
  let pending = options.divergences;
  for (let look = 0; look < MAX_LOOKS && pending.length > 0; look += 1) {
    const sinceMs = look === 0 && options.seenSinceMs !== undefined ? options.seenSinceMs : options.clock.monotonicMs();
    const watch = new UnmarkedWatch({
      shape,
      divergences: stalenessMs === undefined ? [] : pending,
      look: (divergences) => lookAgain({ ...options, shape }, divergences),
      wasTold: (text) => options.wasToldSince?.(text, sinceMs) === true,
      rng,
    });
    const hasPassed = stalenessMs === undefined || (await waitForPositions(latestPositions(pending), options, stalenessMs, watch));
    const again = await lookAgain({ ...options, shape }, pending);
    const status = hasPassed && stalenessMs !== undefined ? 'confirmed' : 'suspected';
    const stays = (one: Divergence): boolean => !watch.isMoving(one);
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

/** Looks at the keys of `seen` once more and says what became of each. Rows travel again only where they are not what they were. */
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
    const marks = await readVersions({ ...options, keys: batch.map((one) => one.key) });
    const isSame = (before: Divergence): boolean => marks !== undefined && hasVersions(shape, before, marks);
    for (const before of marks === undefined ? [] : batch.filter(isSame)) {
      unchanged.push(before);
      seenNow.set(keyText(shape.key, before.key), { ...before, seenAt: marks?.positions ?? before.seenAt });
    }
    const others = batch.filter((before) => !isSame(before));
    if (others.length === 0) continue;
    const now = await readDivergences({ ...options, keys: others.map((one) => one.key) });
    const differing = new Map(now.divergences.map((one) => [keyText(shape.key, one.key), one]));
    for (const [text, one] of differing) seenNow.set(text, one);
    for (const before of others) {
      const again = differing.get(keyText(shape.key, before.key));
      if (again === undefined) healed.push(before.key);
      else if (isUnchanged(shape, before, again)) unchanged.push({ ...again, seenAt: before.seenAt, firstSeenMs: before.firstSeenMs });
      else changed.push({ ...again, firstSeenMs: before.firstSeenMs });
    }
  }
  return { unchanged, changed, healed, seenNow };
}

/** Whether every replica has the very version of the row that was seen. */
function hasVersions(shape: Shape, before: Divergence, { versions }: Versions): boolean {
  const text = keyText(shape.key, before.key);
  return [...versions].every(([replica, marks]) => {
    const row = before.replicas[replica] ?? null;
    const mark = marks.get(text);
    if (row === null || mark === undefined) return row === null && mark === undefined;
    return before.stamps?.[replica] === mark.stamp && rowDigest(shape, row) === mark.digest;
  });
}

/** Whether two looks at a key saw the same versions of its rows. */
export function isUnchanged(shape: Shape, before: Divergence, after: Divergence): boolean {
  return Object.keys({ ...before.replicas, ...after.replicas }).every((replica) => {
    const one = before.replicas[replica] ?? null;
    const two = after.replicas[replica] ?? null;
    if (one === null || two === null) return one === two;
    return (
      before.stamps?.[replica] === after.stamps?.[replica] &&
      // As good as equal digests: the encoding is injective.
      shape.columns.every(({ name }) => (one[name] ?? null) === (two[name] ?? null))
    );
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

/** False where a replica has not passed in time, or rows without marks could not be looked at often enough. */
async function waitForPositions(
  positions: Readonly<Record<string, Position>>,
  options: ConfirmOptions,
  stalenessMs: number,
  watch: UnmarkedWatch,
): Promise<boolean> {
  const { connections, clock, signal } = options;
  const nowMs = (): number => clock.monotonicMs();
  const deadlineMs = nowMs() + stalenessMs + EXTRA_WAIT_MS;
  let outstanding = connections.flatMap((connection) =>
    Object.entries(positions).flatMap(([replica, position]) => (replica === connection.replica.id ? [] : [{ connection, position }])),
  );
  let askMs = nowMs();
  let everyMs = FIRST_ASK_MS;
  let lookMs = nowMs() + watch.nextGapMs();
  for (;;) {
    if (nowMs() >= askMs) {
      const passed = await Promise.all(outstanding.map(({ connection, position }) => connection.hasPassed(position, stalenessMs, signal)));
      outstanding = outstanding.filter((_one, at) => passed[at] !== true);
      askMs = nowMs() + everyMs;
      everyMs = Math.min(everyMs * 2, LAST_ASK_MS);
    }
    if (outstanding.length === 0 && watch.isSatisfied) return true;
    if (nowMs() > deadlineMs) return false;
    if (nowMs() >= lookMs) {
      await watch.look(nowMs);
      lookMs = nowMs() + watch.nextGapMs();
    }
    const nextMs = outstanding.length === 0 ? lookMs : watch.isIdle ? askMs : Math.min(askMs, lookMs);
    await sleep(Math.max(0, nextMs - nowMs()), undefined, { signal });
  }
}
