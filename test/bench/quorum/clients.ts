import { createRng } from '../../../src/base/rng.ts';
import { clientLooks } from '../../../src/forecast/client-looks.ts';
import { type ClientOdds, clientOdds, waitsOf } from '../../../src/forecast/client-odds.ts';
import { type CoordinatedOperation, tracedLegs } from '../../../src/forecast/replica-legs.ts';
import { type AskedCall, type Chosen, startAskedRedis, type TraceTurn } from '../../servers/asked-redis.ts';
import type { Told } from './judge.ts';

/**
 * Stale reads counted by clients that ask three real Redis servers themselves, each behind a proxy that draws every way of every request.
 * A record is made while they wait for R=1, W=1; what it tells of each setting is held against what the clients count while it is in force.
 * Which turn is the record's and which a setting's is by lot, so that all have the same load, and no read is in both. Ways there are as long as those back, or all that
 * a request takes longer is lost on the way there.
 */
export interface ClientsOptions {
  /** Of each lane; two in five are the record's, and one each setting's. */
  readonly turns: number;
  /** Only the harder of the networks. */
  readonly isShort: boolean;
}

export interface JudgedClients {
  readonly ways: string;
  readonly r: number;
  readonly w: number;
  readonly counted: number;
  readonly reads: number;
  /** Standard error of the count, points. */
  readonly errorPoints: number;
  /** By trips and by what reads saw. */
  readonly told: Told;
  readonly tripsAlone: Told;
}

const laneCount = 12;
const names = ['a', 'b', 'far'];
const spell = 32;
const settings = [
  { r: 1, w: 1 },
  { r: 2, w: 1 },
  { r: 1, w: 2 },
] as const;
const rng = createRng('clients');
const wayMs = (replica: number, kind: AskedCall['kind']): number =>
  (replica === 2 ? 8 : kind === 'write' ? 4 : 1) * (1 - Math.log(1 - rng.next()));
const networks = {
  'ways alike': (replica: number, kind: AskedCall['kind']) => ({ there: wayMs(replica, kind), back: wayMs(replica, kind) }),
  'long ways there': (replica: number, kind: AskedCall['kind']) => ({ there: 2 * wayMs(replica, kind), back: 1 }),
} as const;

export async function countOnRedis({ turns, isShort }: ClientsOptions): Promise<readonly JudgedClients[]> {
  const judged: JudgedClients[] = [];
  for (const [ways, draw] of Object.entries(networks).slice(isShort ? 1 : 0)) {
    const register = await startAskedRedis(draw, laneCount);
    try {
      const record = recorder();
      const forRecord: Chosen = { read: 1, write: 1, trace: record.trace };
      const forCounts = settings.map(({ r, w }): Chosen => ({ read: r, write: w, trace: recorder().trace }));
      const lots = [forRecord, forRecord, ...forCounts];
      const counts = await register.run(turns, () => rng.pick(lots));
      const [seeing, blind] = [oddsOf(record.operations(), true), oddsOf(record.operations(), false)];
      for (const chosen of forCounts) {
        const { read: r, write: w } = chosen;
        const { reads, stale } = counts.get(chosen) ?? { reads: 0, stale: 0 };
        const counted = stale / reads;
        const errorPoints = 100 * Math.sqrt((counted * (1 - counted)) / reads);
        judged.push({ ways, r, w, counted, reads, errorPoints, told: toldOf(seeing, { r, w }), tripsAlone: toldOf(blind, { r, w }) });
      }
    } finally {
      await register.close();
    }
  }
  return judged;
}

/** Keeps what spans of the calls would say. */
function recorder(): { readonly trace: TraceTurn; operations(): readonly CoordinatedOperation[] } {
  const made: CoordinatedOperation[] = [];
  const nowUs = (): number => 1_000 * (performance.timeOrigin + performance.now());
  let turns = 0;
  return {
    trace: async (work) => {
      turns += 1;
      const within = String(turns);
      const calls: { readonly call: AskedCall; readonly startUs: number; readonly endUs: number; readonly version: number }[] = [];
      await work(async (call, send) => {
        const startUs = nowUs();
        const version = await send();
        calls.push({ call, startUs, endUs: nowUs(), version });
        return version;
      });
      for (const kind of ['write', 'read'] as const) {
        const own = calls.filter(({ call }) => call.kind === kind);
        const startUs = Math.min(...own.map((one) => one.startUs));
        made.push({
          collection: 'registers',
          kind,
          within,
          startUs,
          trips: own.map((one) => ({
            replica: names[one.call.replica] ?? '',
            sentMs: (one.startUs - startUs) / 1_000,
            tripMs: (one.endUs - one.startUs) / 1_000,
            version: BigInt(one.version),
          })),
        });
      }
    },
    operations: () => made.toSorted((a, b) => a.startUs - b.startUs),
  };
}

const oddsOf = (operations: readonly CoordinatedOperation[], isSeeing: boolean): readonly ClientOdds[] =>
  clientOdds(
    tracedLegs(operations, names),
    waitsOf(operations, names),
    { afterMs: 0, spell, looks: isSeeing ? clientLooks(operations, names) : [] },
    rng,
  );

function toldOf(odds: readonly ClientOdds[], { r, w }: { readonly r: number; readonly w: number }): Told {
  const one = odds.find((other) => other.r === r && other.w === w);
  return one === undefined ? { stale: 0, low: 0, high: 1 } : { stale: 1 - one.fresh[0], low: 1 - one.freshHigh, high: 1 - one.freshLow };
}
