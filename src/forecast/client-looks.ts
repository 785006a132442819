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

/** What looks say of one (R, W) at a time after the commit. */
export interface SeenShare {
  /** The share of fresh reads surely is not below, and not above; 0 and 1 where looks are too few. */
  readonly low: number;
  readonly high: number;
  /** Null where looks are too few. */
  readonly fresh: number | null;
}

/** Looks under which nothing is told. */
const leastLooks = 100;
/** Reads that came so late that they are this much fresher say more of the trips than of what is asked. */
const mostGain = 0.05;

/**
 * A replica that shows a write goes on to: so reads that came sooner than asked were at most as fresh, and those that came later at least. A
 * look says something of settings that were not in force, too: with a larger W the commit would have come later, and the read was early by
 * it. `gains`: how much fresher a read is that comes so much later, as trips say, the likeliest first; by these the looks are corrected, as a
 * control variate. Looks are taken by how late they are only as far as that matters: how late a busy client is with a read goes with how
 * late its writes arrive.
 */
export function seenShare(
  looks: readonly ClientLook[],
  { r, w, afterMs, spell }: { readonly r: number; readonly w: number; readonly afterMs: number; readonly spell: number },
  gains: readonly ((lateMs: number) => number)[],
  rng: Rng,
): SeenShare {
  const timed = looks.map((look) => ({
    lateMs: look.sinceMs - (look.acksMs[w - 1] ?? 0) - afterMs,
    fresh: look.freshBy[r - 1] === true ? 1 : 0,
  }));
  const sharesOf = (some: typeof timed) => {
    const values = Float64Array.from(some, ({ fresh }) => fresh);
    const fresh = meanOf(values);
    const [spells, throws] = [spellInterval(values, spell, rng), wilson(fresh, values.length)];
    return { fresh, low: Math.min(spells.low, throws.low), high: Math.max(spells.high, throws.high) };
  };
  const early = timed.filter(({ lateMs }) => lateMs <= 0);
  const atLeast = early.length < leastLooks ? 0 : sharesOf(early).low;
  const late = timed.filter(({ lateMs }) => lateMs >= 0);
  const soon = late.filter(({ lateMs }) => (gains[0]?.(lateMs) ?? 0) <= mostGain);
  if (soon.length < leastLooks) return { low: atLeast, high: late.length < leastLooks ? 1 : sharesOf(late).high, fresh: null };
  const seen = sharesOf(soon);
  const [gain = 0, ...others] = gains.map((gainOf) => meanOf(Float64Array.from(soon, ({ lateMs }) => gainOf(lateMs))));
  return { low: Math.max(atLeast, seen.low - Math.max(gain, ...others)), high: seen.high, fresh: seen.fresh - gain };
}
