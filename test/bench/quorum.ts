import { createRng, type Rng } from '../../src/base/rng.ts';
import { type Legs, quorumOdds } from '../../src/forecast/wars.ts';
import type { Bench } from './bench.ts';
import { redisAvailable } from '../servers/redis.ts';
import type { Judged, RealSetting, Told } from './quorum/judge.ts';
import { countOnRedis, type JudgedClients } from './quorum/clients.ts';
import { countOnStandbys } from './quorum/standbys.ts';

/**
 * Is P(fresh) as told? A replicated register is simulated message by message: writes with rising versions, replicas that keep the
 * newest they received, reads that return the newest of their first R answers. The first half of each run is the record that the
 * prediction is made from; the stale reads of the second half are counted. The simulation knows nothing of WARS: later writes that
 * are on their way, and slow spells that come and go, are in it.
 */
interface Setting {
  readonly name: string;
  readonly n: number;
  readonly r: number;
  readonly w: number;
  /** A read begins this long after a commit. */
  readonly afterMs: number;
  readonly network: keyof typeof networks;
}

/** One leg to replica `i`, milliseconds; `isSlow`: in a slow spell. In `three regions` the readers are at the far end from the writers. */
const networks = {
  'one room': (_i: number, isWrite: boolean, _isSlow: boolean, rng: Rng) => (isWrite ? 4 : 1) * -Math.log(1 - rng.next()),
  'long tails': (_i: number, isWrite: boolean, _isSlow: boolean, rng: Rng) => (isWrite ? 2 : 1) * Math.exp(0.9 * rng.normal()),
  'three regions': (i: number, isWrite: boolean, _isSlow: boolean, rng: Rng) =>
    0.3 + 8 * (isWrite ? i % 3 : 2 - (i % 3)) + (isWrite ? 3 : 0.5) * -Math.log(1 - rng.next()),
  'slow spells': (i: number, isWrite: boolean, isSlow: boolean, rng: Rng) =>
    (isWrite ? (isSlow && i > 0 ? 25 : 3) : 1) * -Math.log(1 - rng.next()),
} as const;

const setting = (network: Setting['network'], n: number, r: number, w: number, afterMs: number): Setting => ({
  name: `${network}, N=${n} R=${r} W=${w}, ${afterMs} ms`,
  n,
  r,
  w,
  afterMs,
  network,
});

const settings: readonly Setting[] = [
  setting('one room', 3, 1, 1, 0),
  setting('one room', 3, 1, 1, 5),
  setting('one room', 3, 2, 1, 0),
  setting('one room', 3, 1, 2, 0),
  setting('one room', 3, 2, 2, 0),
  setting('long tails', 3, 1, 1, 0),
  setting('long tails', 3, 1, 2, 0),
  setting('long tails', 5, 1, 1, 2),
  setting('long tails', 5, 2, 2, 0),
  setting('three regions', 3, 1, 1, 0),
  setting('three regions', 3, 2, 1, 10),
  setting('three regions', 3, 1, 2, 5),
  setting('slow spells', 3, 1, 1, 0),
  setting('slow spells', 3, 1, 2, 10),
  setting('slow spells', 3, 2, 1, 0),
  setting('slow spells', 5, 2, 2, 5),
];

/** Commits wait for so many standbys, of which one is 25 ms late; a read begins so long after. */
const realSettings: readonly RealSetting[] = [
  { waitsFor: 0, afterMs: 4 },
  { waitsFor: 0, afterMs: 60 },
  { waitsFor: 1, afterMs: 0 },
  { waitsFor: 1, afterMs: 4 },
  { waitsFor: 1, afterMs: 60 },
  { waitsFor: 2, afterMs: 0 },
];
/** Reads that come just when a standby begins to show: a tenth of a millisecond is several points there, and counts need many reads. */
const knifeEdges: readonly RealSetting[] = [
  { waitsFor: 0, afterMs: 0 },
  { waitsFor: 0, afterMs: 24 },
  { waitsFor: 1, afterMs: 24 },
];

export const bench: Bench = {
  name: 'quorum',
  says: 'predicted against counted stale reads, simulated, on a real PostgreSQL with two standbys and on three real Redis that clients ask themselves, and the time to enumerate nine (R, W)',
  run: async ({ quick, log }) => {
    const operations = quick ? 30_000 : 200_000;
    let worst = 0;
    let worstIndependent = 0;
    let total = 0;
    for (const one of settings) {
      const rng = createRng(one.name);
      const { legs, staleShare } = simulateRegister(one, operations, rng);
      const options = { trials: 100_000, spell: 16, afterMs: [one.afterMs] };
      const staleWith = (isPaired: boolean): number =>
        1 - (quorumOdds(legs, { ...options, isPaired }, rng.fork('odds')).find(({ r, w }) => r === one.r && w === one.w)?.fresh[0] ?? 0);
      const predicted = staleWith(true);
      worstIndependent = Math.max(worstIndependent, 100 * Math.abs(staleWith(false) - staleShare));
      const points = 100 * Math.abs(predicted - staleShare);
      log(`${one.name}: predicted ${(100 * predicted).toFixed(2)} % stale, counted ${(100 * staleShare).toFixed(2)} %`);
      worst = Math.max(worst, points);
      total += points;
    }
    const enumerateS = timeNine();
    const real = await countOnStandbys(
      quick
        ? { settings: realSettings, errorPoints: 0.5, leastTurns: 2, turns: 3, aboutShare: 0, writes: 95 }
        : { settings: [...realSettings, ...knifeEdges], errorPoints: 0.2, leastTurns: 3, turns: 36, aboutShare: 1 / 2, writes: 300 },
    );
    for (const one of real) {
      log(
        `PostgreSQL, commits wait for ${one.waitsFor} of 2, ${one.afterMs} ms: counted ${percent(one.counted)} stale of ${one.reads} (standard error ${one.errorPoints.toFixed(2)})`,
      );
      log(`  as it is: ${say(one.asItIs, one.counted)}`);
      for (const told of one.asItWouldBe) log(`  from commits that waited for ${told.waitedFor}: ${say(told, one.counted)}`);
      log(`  from lags alone: ${say(one.lagsAlone, one.counted)}`);
      log(`  raw lags: ${say(one.rawLag, one.counted)}`);
    }
    const asked = redisAvailable ? await countOnRedis(quick ? { turns: 60, isShort: true } : { turns: 2_000, isShort: false }) : [];
    for (const one of asked) {
      log(
        `Redis asked by clients, ${one.ways}, R=${one.r} W=${one.w}: counted ${percent(one.counted)} stale of ${one.reads} (standard error ${one.errorPoints.toFixed(2)})`,
      );
      log(`  from R=1, W=1: ${say(one.told, one.counted)}`);
      log(`  from trips alone: ${say(one.tripsAlone, one.counted)}`);
    }
    const pointsOf = (told: (one: Judged) => Told): number => Math.max(...real.map((one) => 100 * Math.abs(told(one).stale - one.counted)));
    const intervals = real.flatMap(({ asItIs, asItWouldBe, lagsAlone, counted, errorPoints }) =>
      [asItIs, lagsAlone, ...asItWouldBe].map(
        ({ low, high }) => counted + (2 * errorPoints) / 100 < low || counted - (2 * errorPoints) / 100 > high,
      ),
    );
    const worstReal = pointsOf(({ asItIs }) => asItIs);
    return {
      figures: {
        settings: settings.length,
        stale_error_points_max: Math.max(worst, worstReal),
        stale_error_points_max_simulated: worst,
        stale_error_points_mean_simulated: total / settings.length,
        real_settings: real.length,
        stale_error_points_max_real: worstReal,
        // What a change of the quorum would do, before it is made.
        stale_error_points_max_real_raised: Math.max(
          ...real.flatMap(({ waitsFor, counted, asItWouldBe }) =>
            asItWouldBe.filter(({ waitedFor }) => waitedFor < waitsFor).map(({ stale }) => 100 * Math.abs(stale - counted)),
          ),
        ),
        stale_error_points_max_real_lags_alone: pointsOf(({ lagsAlone }) => lagsAlone),
        // Of all that is told of real settings, from the same number of standbys, from another and from lags alone.
        told_intervals: intervals.length,
        told_intervals_missed: intervals.filter((isMissed) => isMissed).length,
        ...askedFigures(asked),
        enumerate_s: enumerateS,
      },
      // Of the same records: legs drawn apart, and lags as the primary tells them.
      baseline: { stale_error_points_max_simulated: worstIndependent, stale_error_points_max_real: pointsOf(({ rawLag }) => rawLag) },
    };
  },
};

/** Absent where there is no Redis. */
function askedFigures(asked: readonly JudgedClients[]): Readonly<Record<string, number>> {
  if (asked.length === 0) return {};
  const worst = (told: (one: JudgedClients) => Told): number =>
    Math.max(...asked.map((one) => 100 * Math.abs(told(one).stale - one.counted)));
  const missed = ({ counted, errorPoints, told }: JudgedClients): boolean =>
    counted + (2 * errorPoints) / 100 < told.low || counted - (2 * errorPoints) / 100 > told.high;
  return {
    asked_settings: asked.length,
    stale_error_points_max_asked: worst(({ told }) => told),
    stale_error_points_max_asked_trips_alone: worst(({ tripsAlone }) => tripsAlone),
    asked_intervals_missed: asked.filter(missed).length,
  };
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
const say = ({ stale, low, high }: Told, counted: number): string =>
  `predicted ${percent(stale)} (${percent(low)} to ${percent(high)}), off by ${(100 * (stale - counted)).toFixed(2)}`;

interface Message {
  readonly at: number;
  readonly is: 'write-arrives' | 'ack' | 'read-starts' | 'read-arrives' | 'answer';
  readonly operation: number;
  readonly replica: number;
  readonly version: number;
}

/** Writes come one after the other, each followed by one read `afterMs` after its commit. */
function simulateRegister(
  { n, r, w, afterMs, network }: Setting,
  operations: number,
  rng: Rng,
): { readonly legs: readonly Legs[]; readonly staleShare: number } {
  const leg = networks[network];
  const recordUntil = Math.floor(operations / 2);
  const record = Array.from({ length: n }, () => ({ w: [] as number[], a: [] as number[], r: [] as number[], s: [] as number[] }));
  const kept = new Float64Array(n).fill(-1);
  let isSlow = false;
  let now = 0;
  let stale = 0;
  let counted = 0;
  for (let operation = 0; operation < operations; operation += 1) {
    // Spells last some forty operations; one in five operations is in a slow one.
    if (rng.next() < (isSlow ? 0.025 : 0.00625)) isSlow = !isSlow;
    const delays = Array.from({ length: n }, (_, i) => ({
      w: leg(i, true, isSlow, rng),
      a: leg(i, false, isSlow, rng),
      r: leg(i, false, isSlow, rng),
      s: leg(i, false, isSlow, rng),
    }));
    if (operation < recordUntil) {
      delays.forEach((delay, i) => {
        record[i]?.w.push(delay.w);
        record[i]?.a.push(delay.a);
        record[i]?.r.push(delay.r);
        record[i]?.s.push(delay.s);
      });
    }
    const queue: Message[] = delays.map((delay, replica) => ({
      at: now + delay.w,
      is: 'write-arrives',
      operation,
      replica,
      version: operation,
    }));
    let acks = 0;
    let answers = 0;
    let newest = -1;
    let lastAt = now;
    while (queue.length > 0) {
      let next = 0;
      for (let i = 1; i < queue.length; i += 1) if ((queue[i]?.at ?? 0) < (queue[next]?.at ?? 0)) next = i;
      const [message] = queue.splice(next, 1);
      if (message === undefined) break;
      const { at, replica, version } = message;
      lastAt = at;
      const delay = delays[replica];
      if (message.is === 'write-arrives') {
        kept[replica] = Math.max(kept[replica] ?? -1, version);
        queue.push({ ...message, at: at + (delay?.a ?? 0), is: 'ack' });
      } else if (message.is === 'ack') {
        acks += 1;
        if (acks === w) queue.push({ ...message, at: at + afterMs, is: 'read-starts' });
      } else if (message.is === 'read-starts') {
        delays.forEach((one, i) => queue.push({ at: at + one.r, is: 'read-arrives', operation, replica: i, version: -1 }));
      } else if (message.is === 'read-arrives') {
        queue.push({ ...message, at: at + (delay?.s ?? 0), is: 'answer', version: kept[replica] ?? -1 });
      } else {
        answers += 1;
        if (answers <= r) newest = Math.max(newest, version);
      }
    }
    if (operation >= recordUntil) {
      counted += 1;
      if (newest < operation) stale += 1;
    }
    now = lastAt;
  }
  return { legs: record, staleShare: stale / counted };
}

/** Seconds for all nine settings of three replicas at 100,000 trials; the best of five runs: what else runs on the machine is not ours. */
function timeNine(): number {
  const rng = createRng('time');
  const draw = (mean: number): Float64Array => Float64Array.from({ length: 5_000 }, () => -mean * Math.log(1 - rng.next()));
  const replicas: readonly Legs[] = [1, 2, 3].map((i) => ({ w: draw(3 * i), a: draw(1), r: draw(1), s: draw(1) }));
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 5; run += 1) {
    const startedMs = performance.now();
    quorumOdds(replicas, { trials: 100_000, isPaired: true, spell: 32, afterMs: [0, 1, 2, 5, 10, 20, 50, 100] }, rng);
    best = Math.min(best, (performance.now() - startedMs) / 1000);
  }
  return best;
}
