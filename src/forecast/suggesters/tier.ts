import { sha256Hex } from '../../base/hash.ts';
import { createRng } from '../../base/rng.ts';
import { exampleSubject } from '../example-subject.ts';
import { isYoung, sayPercent, sayRate, sumOf, sumOfLists } from '../range-load.ts';
import { curveOf, gainInterval } from '../replay.ts';
import type { Subject, Suggester } from '../suggester.ts';

/** Moments of lag in the record: with 1,000 the slowest of a thousand was seen. */
const leastMoments = 1_000;
/** The slowest lag seen may be this share of the budget: what was not seen may be slower. */
const budgetShare = 0.5;
/** What a read costs at a standby, in reads at the leader: it takes none of what only the leader can do. */
const standbyPrice = 0.5;

/**
 * A collection whose readers may see state that is some seconds old is read from a standby: its lag never came near the budget, and
 * the leader, which alone can write, is spared the reads. Never for a strict or a session domain.
 */
export const tier: Suggester = {
  id: 'tier',
  title: 'Cheaper consistency tier',
  sentence: 'Reads a collection from standbys where its domain tolerates more staleness than they were ever behind.',
  suggest: (subject) => {
    const { domain, collection, standbys } = subject;
    if (isYoung(subject) || standbys === undefined || (domain.consistency !== 'eventual' && domain.consistency !== 'bounded')) return [];
    const leader = collection.replicas.find(({ role }) => role === 'leader');
    if (leader === undefined) return [];
    const lags = standbys.lags.filter(({ replayMs }) => replayMs.length >= leastMoments);
    const [best] = lags
      .map(({ standby, replayMs }) => ({ standby, worstMs: Math.max(...replayMs), moments: replayMs.length }))
      .toSorted((a, b) => a.worstMs - b.worstMs);
    if (best === undefined || best.worstMs > budgetShare * domain.stalenessMs) return [];
    const steps = subject.latencyP95Ms.length;
    const atLeader = subject.history.filter((row) => row.bucket >= 0 && row.region === leader.region);
    const reads = sumOfLists(
      atLeader.map((row) => row.operations.map((value, i) => Math.max(0, value - (row.writes[i] ?? 0)))),
      steps,
    );
    const all = sumOfLists(
      atLeader.map(({ operations }) => operations),
      steps,
    );
    const afterwards = reads.map((value) => standbyPrice * value);
    const interval = gainInterval(
      reads.map((value, i) => value - (afterwards[i] ?? 0)),
      // As much as an hour of what is saved: clients have to be told.
      (sumOf(reads) / Math.max(1, steps)) * (3_600_000 / subject.stepMs) * standbyPrice,
      Math.max(12, Math.round(3_600_000 / subject.stepMs)),
      subject.rng,
    );
    if (!(interval.low > 0)) return [];
    const seconds = subject.stepMs / 1000;
    return [
      {
        id: `tier-${sha256Hex(`${collection.name}\n${best.standby}`).slice(0, 12)}`,
        kind: 'tier',
        domain: domain.name,
        collection: collection.name,
        says: `Read ${collection.name} from ${best.standby}: ${domain.name} tolerates ${domain.stalenessMs} ms, and it was never more than ${best.worstMs.toFixed(0)} ms behind.`,
        because: `Over ${best.moments} measured moments the lag stayed below half of the budget. Reads are ${sayPercent(sumOf(reads), sumOf(all))} of the operations at the leader: ${sayRate(sumOf(reads) / Math.max(1, steps))} would leave it.`,
        replay: {
          unit: 'reads at the leader',
          costWithout: sumOf(reads) * seconds,
          costWith: sumOf(afterwards) * seconds,
          gainLow: interval.low * seconds,
          gainHigh: interval.high * seconds,
          moves: 1,
          curveWithout: curveOf(reads),
          curveWith: curveOf(afterwards),
        },
        action: {
          kind: 'tier',
          parameters: { collection: collection.name, from: leader.id, to: best.standby },
          commands: [
            `PostgreSQL: in the readers' connection string: host=LEADER_HOST,${best.standby.toUpperCase()}_HOST target_session_attrs=prefer-standby`,
            `CockroachDB: SELECT ... FROM ${collection.name} AS OF SYSTEM TIME follower_read_timestamp()`,
            `MongoDB: readPreference=secondaryPreferred&maxStalenessSeconds=${Math.max(90, Math.floor(domain.stalenessMs / 1_000))}`,
            'Cassandra: CONSISTENCY LOCAL_ONE for reads, in the driver’s execution profile',
          ],
        },
        rollback: `Point the readers of ${collection.name} at ${leader.id} again; no data is moved by it.`,
        state: 'open',
        createdAtMs: subject.nowMs,
      },
    ];
  },
  get example() {
    return tolerant(30_000);
  },
  get twin() {
    return tolerant(50);
  },
};

function tolerant(stalenessMs: number): Subject {
  const rng = createRng('tier-example');
  const subject = exampleSubject();
  const replayMs = Array.from({ length: 1_200 }, () => 5 + 40 * rng.next());
  return {
    ...subject,
    domain: { ...subject.domain, stalenessMs },
    collection: {
      ...subject.collection,
      replicas: [
        { id: 'eu', engine: 'postgres', url: 'postgres://eu/shop', region: 'eu', role: 'leader', table: 'orders', columnNames: {} },
      ],
    },
    standbys: {
      target: {
        kind: 'postgres-quorum',
        name: 'orders-primary',
        url: 'postgres://primary/shop',
        collections: ['orders'],
        standbys: ['north'],
        commitP99Ms: null,
        observeMs: 10_000,
        freshShare: null,
        faults: 0,
      },
      waitsFor: 0,
      lags: [{ standby: 'north', replayMs, flushMs: replayMs, writeMs: replayMs }],
    },
  };
}
