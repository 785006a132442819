/**
 * Differences of one collection that wait until every replica has passed the positions at which they were seen, in the order in which
 * they were seen: because positions only grow, the first that has to wait ends the look. Nothing blocks: a follower half a minute
 * behind holds up no other key.
 *
 *   seen ─► waits ─(all have passed)─► read again ─► agrees: healed
 *            ▲                              ├─ written since: seen anew ─┐
 *            │                              ├─ without marks, too few looks: looked at again ─┐
 *            └──────────────────────────────┼────────────────────────────┴────────────────────┘
 *                                           └─ unchanged: confirmed
 *
 * Where feeds tell the writes of all replicas, what they tell is the mark of a row that its store does not mark; elsewhere such a row
 * takes a number of looks at random moments (`compare-watch.ts`).
 */
import type { Divergence, Position } from '../domain/divergence.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { isUnchanged, latestPositions, lookAgain } from './compare-confirm.ts';
import type { KeysOptions } from './compare-keys.ts';
import { gapMs, isMarked, LEAST_LOOKS, watchRng } from './compare-watch.ts';

export interface Suspect {
  readonly divergence: Divergence;
  /** Monotonic time of the mark that led to it. */
  readonly sinceMs: number;
  readonly looks: number;
  /** Looks since then that saw the same, of a row without marks. */
  readonly steady: number;
  /** Monotonic time of the look that it stands for. */
  readonly seenMs: number;
  /** Whether the store has it as suspected. */
  isRecorded: boolean;
}

interface Cohort {
  readonly positions: Readonly<Record<string, Position>>;
  /** Monotonic time before which it is not looked at: a key that is written all the time is not read all the time. */
  readonly dueMs: number;
  readonly members: Map<string, Suspect>;
}

/** What became of suspects; they no longer wait here. */
export interface Step {
  readonly confirmed: readonly Suspect[];
  readonly healed: readonly Suspect[];
}

type StepOptions = Omit<KeysOptions, 'keys'> & { readonly shape: Shape; readonly stalenessMs: number } & {
  /** Whether a feed has told that the key with this text was written at this monotonic time or later. */
  readonly wasToldSince: (text: string, sinceMs: number) => boolean;
  /** Whether feeds tell the writes of all replicas. */
  readonly areAllTold: boolean;
};

/** A few kB each: the row as every replica has it. */
const maxSuspects = 30_000;
/** Cohorts looked at in one step, so that the step stays short. */
const cohortsAtOnce = 50;
const firstWaitMs = 50;
const maxWaitMs = 5_000;
/** Between two looks at a row without marks, on average. */
const meanGapMs = 50;

export class Suspects {
  readonly #shapeKey: readonly string[];
  #cohorts: Cohort[] = [];
  readonly #cohortOf = new Map<string, Cohort>();
  readonly #rng = watchRng();

  constructor(shapeKey: readonly string[]) {
    this.#shapeKey = shapeKey;
  }

  get size(): number {
    return this.#cohortOf.size;
  }

  get isFull(): boolean {
    return this.size >= maxSuspects;
  }

  /**
   * Differences from one look at keys that were marked as written. What waits already, and was not written since it was seen, goes on
   * waiting from then: the store's marks say so, or, where it has none, that the write was told before.
   */
  offer(shape: Shape, found: readonly { readonly divergence: Divergence; readonly sinceMs: number }[], nowMs: number): void {
    const fresh = found.flatMap(({ divergence, sinceMs }) => {
      const text = keyText(this.#shapeKey, divergence.key);
      const waiting = this.#cohortOf.get(text)?.members.get(text);
      const isSame =
        waiting !== undefined && isUnchanged(shape, waiting.divergence, divergence) && (isMarked(divergence) || sinceMs <= waiting.seenMs);
      if (isSame) return [];
      const isRecorded = waiting?.isRecorded ?? false;
      return [{ divergence, sinceMs: Math.min(sinceMs, waiting?.sinceMs ?? sinceMs), looks: 0, steady: 0, seenMs: nowMs, isRecorded }];
    });
    this.#add(fresh, 0);
  }

  /** These keys agree. */
  drop(keys: readonly Key[]): void {
    for (const key of keys) this.#remove(keyText(this.#shapeKey, key));
  }

  #add(suspects: readonly Suspect[], dueMs: number): void {
    if (suspects.length === 0) return;
    const cohort: Cohort = {
      positions: latestPositions(suspects.map((suspect) => suspect.divergence)),
      dueMs,
      members: new Map(),
    };
    for (const suspect of suspects) {
      const text = keyText(this.#shapeKey, suspect.divergence.key);
      this.#remove(text);
      cohort.members.set(text, suspect);
      this.#cohortOf.set(text, cohort);
    }
    this.#cohorts.push(cohort);
  }

  #remove(text: string): void {
    this.#cohortOf.get(text)?.members.delete(text);
    this.#cohortOf.delete(text);
  }

  /** Looks again at what every replica has passed. */
  async step(options: StepOptions): Promise<Step> {
    const { clock } = options;
    this.#cohorts = this.#cohorts.filter((cohort) => cohort.members.size > 0);
    const due: Cohort[] = [];
    for (const cohort of this.#cohorts) {
      if (due.length >= cohortsAtOnce) break;
      if (cohort.dueMs > clock.monotonicMs()) continue;
      if (!(await havePassed(options.connections, cohort.positions, options.stalenessMs, options.signal))) break;
      due.push(cohort);
    }
    const members = due.flatMap((cohort) => [...cohort.members.values()]);
    if (members.length === 0) return { confirmed: [], healed: [] };
    const lookedMs = clock.monotonicMs();
    const again = await lookAgain(
      options,
      members.map((suspect) => suspect.divergence),
    );
    const before = new Map(members.map((suspect) => [keyText(this.#shapeKey, suspect.divergence.key), suspect]));
    for (const text of before.keys()) this.#remove(text);
    const suspectOf = (key: Key): readonly Suspect[] => [before.get(keyText(this.#shapeKey, key))].filter((one) => one !== undefined);
    const wasTold = (divergence: Divergence): boolean => {
      const text = keyText(this.#shapeKey, divergence.key);
      return !isMarked(divergence) && options.wasToldSince(text, before.get(text)?.seenMs ?? lookedMs);
    };
    const [moved, stayed] = parted(again.unchanged, wasTold);
    const [proven, unproven] = parted(stayed, (divergence) => {
      const looks = (before.get(keyText(this.#shapeKey, divergence.key))?.steady ?? 0) + 1;
      return isMarked(divergence) || options.areAllTold || looks > LEAST_LOOKS;
    });
    // Seen anew: what it was first seen at says nothing of a row that has moved since.
    const anew = [...again.changed, ...moved.map((one) => again.seenNow.get(keyText(this.#shapeKey, one.key)) ?? one)];
    const changed = anew.flatMap((divergence) =>
      suspectOf(divergence.key).map((suspect) => ({ ...suspect, divergence, looks: suspect.looks + 1, steady: 0, seenMs: lookedMs })),
    );
    for (const [looks, group] of Map.groupBy(changed, (suspect) => suspect.looks))
      this.#add(group, clock.monotonicMs() + Math.min(maxWaitMs, firstWaitMs * 2 ** Math.min(looks, 10)));
    const looked = unproven.flatMap((divergence) =>
      suspectOf(divergence.key).map((suspect) => ({ ...suspect, steady: suspect.steady + 1 })),
    );
    this.#add(looked, clock.monotonicMs() + gapMs(meanGapMs, this.#rng));
    return {
      confirmed: proven.flatMap((divergence) =>
        suspectOf(divergence.key).map((suspect) => ({ ...suspect, divergence: { ...divergence, status: 'confirmed' as const } })),
      ),
      healed: again.healed.flatMap(suspectOf),
    };
  }

  /** Those that are older than `beforeMs` and that the store does not have. */
  unrecorded(beforeMs: number): readonly Suspect[] {
    return this.#cohorts
      .flatMap((cohort) => [...cohort.members.values()])
      .filter((suspect) => !suspect.isRecorded && suspect.sinceMs <= beforeMs);
  }

  /** Monotonic time of the oldest mark whose difference is nowhere but here. */
  oldestUnrecordedMs(): number | undefined {
    let oldest: number | undefined;
    for (const cohort of this.#cohorts) {
      for (const suspect of cohort.members.values())
        if (!suspect.isRecorded && suspect.sinceMs < (oldest ?? Number.POSITIVE_INFINITY)) oldest = suspect.sinceMs;
    }
    return oldest;
  }
}

/** Whether every replica has passed the positions of all others. */
export async function havePassed(
  connections: readonly ReplicaConnection[],
  positions: Readonly<Record<string, Position>>,
  stalenessMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const answers = await Promise.all(
    connections.flatMap((connection) =>
      Object.entries(positions).flatMap(([replica, position]) =>
        replica === connection.replica.id ? [] : [connection.hasPassed(position, stalenessMs, signal)],
      ),
    ),
  );
  return answers.every(Boolean);
}

function parted<T>(all: readonly T[], test: (one: T) => boolean): readonly [readonly T[], readonly T[]] {
  return [all.filter(test), all.filter((one) => !test(one))];
}
