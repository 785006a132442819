import { sha256Hex } from '../../base/hash.ts';
import { createRng, type Rng } from '../../base/rng.ts';
import type { Collection } from '../../domain/collection.ts';
import type { Suggestion } from '../../domain/suggestion.ts';
import { askingAll, clientQuorum } from '../client-quorum.ts';
import { quorumCommands } from '../commands.ts';
import { exampleSubject } from '../example-subject.ts';
import { freshAsSeen, type Look } from '../fresh-as-seen.ts';
import { isYoung } from '../range-load.ts';
import { brokenMs, curveOf, gainInterval } from '../replay.ts';
import { leastWay, type StandbyOdds, standbyOdds, waysOf } from '../standby-odds.ts';
import type { StandbyLags, Subject, Suggester } from '../suggester.ts';

/** Moments of lag under which a tail says nothing. */
const leastMoments = 300;
const spell = 32;
/** Of the looks, the share that came right after their commit: about as soon as reads do come. */
const soonestShare = 0.1;
/** A change that is not needed must make commits this much faster. */
const leastGainShare = 0.1;

/** How many replicas must have a write, or are asked, before anybody goes on: standbys of a primary, and replicas that clients ask. */
export const quorum: Suggester = {
  id: 'quorum',
  title: 'Quorum',
  sentence:
    'Sets how many standbys a commit waits for, or how many of the replicas that clients ask reads and writes wait for: the fewest that keep the promised freshness, time and fault tolerance.',
  suggest: (subject) => [...standbyQuorum(subject), ...clientQuorum(subject)],
  get example() {
    return lagging(0.99);
  },
  get twin() {
    return lagging(null);
  },
  also: {
    get example() {
      return askingAll(0.99);
    },
    get twin() {
      return askingAll(null);
    },
  },
};

/**
 * How many standbys a commit should wait for: the fewest that keep every promise (fresh reads, commit time, standbys that may be lost),
 * from lags measured on the standbys themselves. One step at a time, and up before down: no read gets staler on the way.
 */
function standbyQuorum(subject: Subject): readonly Suggestion[] {
  const { standbys, domain } = subject;
  if (standbys === undefined || standbys.lags.length === 0 || isYoung(subject)) return [];
  const { target, waitsFor, lags } = standbys;
  if (Math.min(...lags.map(({ replayMs }) => replayMs.length)) < leastMoments) return [];
  const legs = lags.map(({ standby, writeMs }) => waysOf(writeMs, readTripsOf(standby, subject)));
  const looks = looksOf(subject);
  const odds = standbyOdds(lags, { afterMs: [0], legs, waitsForReplay: true, spell }, subject.rng.fork('odds')).map((one) =>
    asSeen(one, lags, looks, waitsFor, subject.rng.fork('looks')),
  );
  const breaks = (one: StandbyOdds, fresh: number): readonly string[] => [
    ...(target.freshShare !== null && fresh < target.freshShare
      ? [`at most ${percent(one.freshHigh)} of reads are fresh, ${percent(target.freshShare)} are promised`]
      : []),
    ...(target.commitP99Ms !== null && one.commitP99Ms > target.commitP99Ms
      ? [`a commit waits ${one.commitP99Ms.toFixed(1)} ms (99 %), ${target.commitP99Ms} ms are promised`]
      : []),
    ...(one.waitsFor < target.faults
      ? [`${target.faults} lost ${target.faults === 1 ? 'standby' : 'standbys'} could take a commit with it`]
      : []),
  ];
  const now = odds[waitsFor];
  const kept = odds.filter((one) => breaks(one, one.freshLow).length === 0 && one.waitsFor <= lags.length);
  const best = kept[0];
  if (now === undefined || best === undefined || best === now) return [];
  // What keeps a promise keeps it surely, and what breaks it breaks it surely: between the two nothing is suggested for its sake.
  const broken = breaks(now, now.freshHigh);
  if (broken.length === 0 && best.commitMeanMs > (1 - leastGainShare) * now.commitMeanMs) return [];
  const penalty = broken.length > 0 ? brokenMs : 0;
  const costNow = Array.from(now.commitMs, (ms) => ms + penalty);
  const costBest = Array.from(best.commitMs);
  const interval = gainInterval(
    costNow.map((cost, i) => cost - (costBest[i] ?? 0)),
    0,
    spell,
    subject.rng.fork('gain'),
  );
  if (!(interval.low > 0)) return [];
  const names = lags.map((lag) => lag.standby);
  const seen = observedOf(standbys.staleReads, subject);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const moments = costNow.length;
  return [
    {
      id: `quorum-${sha256Hex(`${target.name}\n${best.waitsFor}`).slice(0, 12)}`,
      kind: 'quorum',
      domain: domain.name,
      collection: subject.collection.name,
      says: `Let commits on ${target.name} wait for ${best.waitsFor} of ${lags.length} standbys instead of ${waitsFor}: ${broken.length > 0 ? `now ${broken.join(', and ')}` : `they would wait ${best.commitMeanMs.toFixed(1)} ms instead of ${now.commitMeanMs.toFixed(1)} ms, and every promise is kept`}.`,
      because: `Replayed over ${moments} measured moments, ${percent(best.fresh[0] ?? 0)} of reads sent right after a commit are fresh with it (${percent(best.freshLow)} to ${percent(best.freshHigh)}), ${percent(now.fresh[0] ?? 0)} as it is${sayLooks(now, looks)}${sayObserved(now, seen)}. A commit would wait ${best.commitMeanMs.toFixed(1)} ms on average and ${best.commitP99Ms.toFixed(1)} ms in the slowest of a hundred.`,
      stale: {
        predicted: 1 - (now.fresh[0] ?? 0),
        predictedLow: 1 - now.freshHigh,
        predictedHigh: 1 - now.freshLow,
        predictedWith: 1 - (best.fresh[0] ?? 0),
        observed: seen?.share ?? null,
        reads: seen?.reads ?? 0,
      },
      replay: {
        unit: broken.length > 0 ? `ms a commit, and ${brokenMs} ms where a promise is broken` : 'ms a commit',
        costWithout: mean(costNow),
        costWith: mean(costBest),
        gainLow: interval.low / moments,
        gainHigh: interval.high / moments,
        moves: 1,
        curveWithout: curveOf(costNow),
        curveWith: curveOf(costBest),
      },
      action: {
        kind: 'standbys',
        target: target.name,
        parameters: { standbys: best.waitsFor, of: names.join(',') },
        commands: quorumCommands(best.waitsFor, names, lags.length + 1),
      },
      rollback: 'The value that was in force before is kept and set again, by itself where commits become slower than promised.',
      state: 'open',
      createdAtMs: subject.nowMs,
    },
  ];
}

/**
 * A read is on its way to a standby for half a round trip, as traced: it finds what has arrived by then. Of the standby's own region,
 * where it is known as a replica (by its id, its region or its host) and was read; else of the nearest: what promises readers less.
 */
function readTripsOf(standby: string, { collection, readTripMs }: Subject): readonly number[] {
  const own = readTripMs.get(replicaOf(standby, collection)?.region ?? '')?.filter((ms) => ms > 0) ?? [];
  if (own.length > 0) return own;
  const measured = [...readTripMs.values()].filter((trips) => leastWay(trips) > 0);
  return measured.toSorted((a, b) => leastWay(a) - leastWay(b))[0] ?? [];
}

const replicaOf = (standby: string, { replicas }: Collection): Collection['replicas'][number] | undefined =>
  replicas.find(({ id, region, url }) => [id, region, URL.parse(url)?.hostname].includes(standby));

/** Looks at the standbys: of their replicas, by id where the span names one, else by address. */
function looksOf({ standbys, collection }: Subject): readonly Look[] {
  const { lags = [], looks = [] } = standbys ?? {};
  return lags.flatMap(({ standby }, index) => {
    const replica = replicaOf(standby, collection);
    const names = new Set([standby, replica?.id]);
    const { host, hostname } = URL.parse(replica?.url ?? '') ?? {};
    const hosts = new Set([host, hostname, `${hostname}:5432`]);
    return looks
      .filter((look) => (look.replica === '' ? hosts.has(look.host) : names.has(look.replica)))
      .map((look) => ({ ...look, standby: index }));
  });
}

interface SeenOdds extends StandbyOdds {
  /** True where the share is told from what reads saw. */
  readonly isSeen: boolean;
}

/**
 * What reads saw of the standbys, where it is surer than what lags and ways say or contradicts it: no clock of a server and no way is
 * supposed in it. Right after a commit is when the soonest of them came.
 */
function asSeen(one: StandbyOdds, lags: readonly StandbyLags[], looks: readonly Look[], waitedFor: number, rng: Rng): SeenOdds {
  const times = looks.map(({ afterMs }) => afterMs).toSorted((a, b) => a - b);
  const soonest = times.slice(0, Math.ceil(soonestShare * times.length));
  const at = soonest.filter((_, i) => i % Math.ceil(soonest.length / 100) === 0);
  const looked = new Set(looks.map(({ standby }) => standby));
  if (looked.size < lags.length) return { ...one, isSeen: false };
  const seen = freshAsSeen(looks, lags, { at, waitedFor, waitsFor: one.waitsFor, spell }, rng);
  const told = one.fresh[0] ?? 0;
  const isSurer = seen.high - seen.low < one.freshHigh - one.freshLow;
  if (!isSurer && told >= seen.low && told <= seen.high) return { ...one, isSeen: false };
  return { ...one, fresh: [seen.fresh], freshLow: seen.low, freshHigh: seen.high, isSeen: true };
}

interface Observed {
  readonly staleReads: number;
  readonly reads: number;
  /** Null where no read was traced. */
  readonly share: number | null;
}

/** Measured truth beside the prediction: what traces of the last day proved, of all reads that were traced. Null: nobody looked. */
function observedOf(staleReads: number | undefined, subject: Subject): Observed | null {
  if (staleReads === undefined) return null;
  const day = Math.max(1, Math.round(86_400_000 / subject.stepMs));
  const perStep = subject.history.map((row) =>
    row.operations.slice(-day).reduce((sum, value, i) => sum + value - (row.writes.slice(-day)[i] ?? 0), 0),
  );
  const reads = Math.round(perStep.reduce((sum, value) => sum + value, 0) * (subject.stepMs / 1_000));
  return { staleReads, reads, share: reads > 0 ? Math.min(1, staleReads / reads) : null };
}

const sayLooks = (now: SeenOdds, looks: readonly Look[]): string =>
  now.isSeen ? `, by ${looks.length} traced reads of what their own trace had just written` : '';

/** Right after a commit is the worst moment to read: of all reads, at whatever time, fewer are stale. */
function sayObserved(now: StandbyOdds, seen: Observed | null): string {
  if (seen === null) return '';
  const share = seen.share === null ? '' : `, ${Number((100 * seen.share).toPrecision(2))} % of all reads`;
  return ` (stale as predicted there: ${percent(1 - (now.fresh[0] ?? 0))}; proven in traces of the last day: ${seen.staleReads} stale ${seen.staleReads === 1 ? 'read' : 'reads'}${share})`;
}

const percent = (share: number): string => `${Number((100 * share).toFixed(1))} %`;

/** Two standbys some milliseconds behind a primary that waits for neither, with and without a promise to readers. */
function lagging(freshShare: number | null): Subject {
  const rng = createRng('quorum-example');
  const lags: readonly StandbyLags[] = ['north', 'south'].map((standby, i) => {
    const replayMs = Array.from({ length: 600 }, () => (1 + i) * (1 + 3 * rng.next()));
    return { standby, replayMs, flushMs: replayMs.map((ms) => ms / 2), writeMs: replayMs.map(() => 0.4) };
  });
  return {
    ...exampleSubject(),
    standbys: {
      target: {
        kind: 'postgres-quorum',
        name: 'orders-primary',
        url: 'postgres://primary/shop',
        collections: ['orders'],
        standbys: ['north', 'south'],
        commitP99Ms: 50,
        observeMs: 10_000,
        freshShare,
        faults: 0,
      },
      waitsFor: 0,
      lags,
      staleReads: 12,
    },
  };
}
