import type { Rng } from '../base/rng.ts';
import type { CoordinatedOperation, ReplicaTrip } from './replica-legs.ts';
import { meanOf, spellInterval, wilson } from './share-interval.ts';

/**
 * What reads of all replicas saw of what their own trace had just written: no way of a message is supposed in it, and one clock tells when
 * the write was acknowledged and when the read began. One look serves every (R, W): it tells how long after the W-th acknowledgement the
 * read came, and whether one of its first R answers showed the write.
 */
export interface ClientLook {
  /** From the start of the write until the read began, milliseconds. */
  readonly sinceMs: number;
  /** When the first acknowledgement came, the second and so on, from the start of the write; ascending, milliseconds. */
  readonly acksMs: readonly number[];
  /** Whether the first answer, one of the first two and so on, showed the write. */
  readonly freshBy: readonly boolean[];
}

/** Of operations in order of time. Only numbered versions tell whether another one than the written one is newer. */
export function clientLooks(operations: readonly CoordinatedOperation[], replicas: readonly string[]): readonly ClientLook[] {
  const written = new Map<string, { readonly startUs: number; readonly version: bigint; readonly acksMs: readonly number[] }>();
  const looks: ClientLook[] = [];
  for (const { kind, within, startUs, trips } of operations) {
    const asked = trips.filter(({ replica }) => replicas.includes(replica)).toSorted((a, b) => answeredMs(a) - answeredMs(b));
    if (asked.length < replicas.length) continue;
    const versions = asked.map(({ version }) => version).filter((version) => typeof version === 'bigint');
    const [version] = versions;
    if (version === undefined || versions.length < asked.length) continue;
    if (kind === 'write') {
      written.set(within, { startUs, version, acksMs: asked.map(answeredMs) });
      continue;
    }
    const write = written.get(within);
    if (write === undefined) continue;
    const freshAt = versions.findIndex((read) => read >= write.version);
    looks.push({
      sinceMs: (startUs - write.startUs) / 1_000,
      acksMs: write.acksMs,
      freshBy: versions.map((_, i) => freshAt >= 0 && i >= freshAt),
    });
  }
  return looks;
}

const answeredMs = ({ sentMs, tripMs }: ReplicaTrip): number => sentMs + tripMs;

/** What looks say of one (R, W) at a time after the commit; 0 and 1 where they are too few. */
export interface SeenShare {
  /** Of reads that came no later than asked: the share of fresh ones surely is not below this. */
  readonly atLeast: number;
  /** Of the soonest of the reads that came later: it surely is not above this. */
  readonly atMost: number;
  /** Of these last reads: the share of fresh ones, its interval, and how much later than asked they came on average, milliseconds. */
  readonly after: { readonly fresh: number; readonly low: number; readonly high: number; readonly lateMs: number } | null;
}

/** Looks under which nothing is told. */
const leastLooks = 100;
/** Of the looks that came late enough, the share that came soonest. */
const soonestShare = 0.5;

/**
 * Every (R, W) by R then W. A replica that shows a write goes on to: so reads that came sooner than asked were at most as fresh, and those
 * that came later at least. A look says something of settings that were not in force, too: with a larger W the commit would have come later,
 * and the read was early by it.
 */
export function seenShares(
  looks: readonly ClientLook[],
  n: number,
  { afterMs, spell }: { readonly afterMs: number; readonly spell: number },
  rng: Rng,
): readonly SeenShare[] {
  const byW = Array.from({ length: n }, (_, i) => {
    const timed = looks.map((look) => ({ look, lateMs: look.sinceMs - (look.acksMs[i] ?? 0) - afterMs }));
    const late = timed.filter(({ lateMs }) => lateMs >= 0);
    const sorted = Float64Array.from(late, ({ lateMs }) => lateMs).sort();
    const untilMs = sorted[Math.max(leastLooks, Math.ceil(soonestShare * late.length)) - 1] ?? Number.POSITIVE_INFINITY;
    return { before: timed.filter(({ lateMs }) => lateMs <= 0), soonest: late.filter(({ lateMs }) => lateMs <= untilMs) };
  });
  const boundsOf = (some: (typeof byW)[number]['before'], r: number) => {
    if (some.length < leastLooks) return null;
    const values = Float64Array.from(some, ({ look }) => (look.freshBy[r] === true ? 1 : 0));
    const fresh = meanOf(values);
    const [spells, throws] = [spellInterval(values, spell, rng), wilson(fresh, values.length)];
    return { fresh, low: Math.min(spells.low, throws.low), high: Math.max(spells.high, throws.high) };
  };
  return Array.from({ length: n * n }, (_, i) => {
    const { before = [], soonest = [] } = byW[i % n] ?? {};
    const r = Math.floor(i / n);
    const after = boundsOf(soonest, r);
    const lateMs = meanOf(Float64Array.from(soonest, (one) => one.lateMs));
    return { atLeast: boundsOf(before, r)?.low ?? 0, atMost: after?.high ?? 1, after: after === null ? null : { ...after, lateMs } };
  });
}
