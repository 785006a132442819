import { sha256Hex } from '../base/hash.ts';
import { createRng } from '../base/rng.ts';
import type { Suggestion } from '../domain/suggestion.ts';
import { type ClientOdds, type ClientWait, clientOdds, mostOperations, type Quantile, waitsOf } from './client-odds.ts';
import { clientLooks } from './client-looks.ts';
import { waitCommand } from './commands.ts';
import { exampleSubject } from './example-subject.ts';
import { chooseQuorum } from './quorum-choice.ts';
import { isYoung } from './range-load.ts';
import { brokenMs, curveOf, gainInterval } from './replay.ts';
import { type CoordinatedOperation, staleAsCounted, tracedLegs } from './replica-legs.ts';
import type { Subject } from './suggester.ts';

/** Writes, and reads, under which a tail says nothing. */
const leastRows = 300;
const spell = 32;
/** Operations that failed, asked a replica twice or did not go to all: where they are more, the others do not describe what clients see. */
const mostLeftOutShare = 0.1;
/** A change that is not needed must make operations this much faster. */
const leastGainShare = 0.1;

type Clients = NonNullable<Subject['clients']>;

/**
 * How many replicas reads and writes of clients that ask all of them should wait for: the (R, W) that keeps every promise with the least
 * waiting, from the trips that traces show. What breaks a promise breaks it surely, and what keeps it keeps it surely: by the end of its
 * interval that is worse for it. Without a promise to readers no read may become staler than it is: only a setting that waits for at
 * least as many, or whose reads and writes meet, will do; and in a strict domain they must meet. Up before down.
 */
export function clientQuorum(subject: Subject): readonly Suggestion[] {
  const { clients, domain } = subject;
  if (clients === undefined || isYoung(subject)) return [];
  const { target } = clients;
  const { replicas: names, read, write, system } = target;
  const operations = clients.operations.slice(-mostOperations(names.length));
  const legs = tracedLegs(operations, names);
  if (Math.min(legs.writes, legs.reads) < leastRows || leftOutShare(clients, operations, legs.writes + legs.reads) > mostLeftOutShare)
    return [];
  const n = names.length;
  const waits = waitsOf(operations, names);
  const looks = clientLooks(operations, names);
  const all = clientOdds(legs, waits, { afterMs: target.afterMs, spell, looks }, subject.rng.fork('clients'));
  const now = all.find(({ r, w }) => r === read && w === write);
  if (now === undefined) return [];
  const mayBe = ({ r, w }: ClientOdds): boolean => {
    const meets = r + w > n;
    if (waitCommand(system, r, w, n) === undefined || (domain.consistency === 'strict' && !meets)) return false;
    return target.freshShare !== null || meets || (r >= read && w >= write);
  };
  const odds = all
    .filter((one) => one === now || mayBe(one))
    .map((one) => {
      const worse = (p99: Quantile): number => (one === now ? p99.lowMs : p99.highMs);
      return { ...one, readP99Ms: worse(one.readP99), writeP99Ms: worse(one.writeP99) };
    });
  const { chosen, steps, broken } = chooseQuorum(odds, {
    slo: target,
    readShare: legs.reads / (legs.reads + legs.writes),
    current: { r: read, w: write },
    switchShare: leastGainShare,
    sure: new Map(odds.map((one) => [one, { low: one.freshLow, high: one.freshHigh }])),
  });
  if (chosen === null || steps.length === 0) return [];
  const isBroken = odds.some((one) => one.r === read && one.w === write && broken.has(one));
  const costNow = costsOf(waits, read, write).map((ms) => ms + (isBroken ? brokenMs : 0));
  const costWith = costsOf(waits, chosen.r, chosen.w);
  const interval = gainInterval(
    costNow.map((cost, i) => cost - (costWith[i] ?? 0)),
    0,
    spell,
    subject.rng.fork('gain'),
  );
  if (!(interval.low > 0)) return [];
  const counted = staleAsCounted(operations, names);
  const staleNow = counted.stale[read - 1] ?? 0;
  const commands = steps.flatMap(({ r, w }) => waitCommand(system, r, w, n) ?? []);
  const when = target.afterMs === 0 ? 'right' : `${target.afterMs} ms`;
  const sayFresh = (one: ClientOdds): string => `${percent(one.fresh[0])} (${percent(one.freshLow)} to ${percent(one.freshHigh)})`;
  const sayCounted =
    counted.reads === 0
      ? ''
      : `, and of ${counted.reads} reads at whatever time ${percent(staleNow / counted.reads)} were counted stale by the answers of all replicas`;
  return [
    {
      id: `quorum-${sha256Hex(`${target.name}\n${subject.collection.name}\n${chosen.r}\n${chosen.w}`).slice(0, 12)}`,
      kind: 'quorum',
      domain: domain.name,
      collection: subject.collection.name,
      says: `Let clients of ${target.name} wait for R=${chosen.r}, W=${chosen.w} of ${n} replicas instead of R=${read}, W=${write}: ${
        isBroken
          ? `now ${breaksOf(now, target).join(', and ')}`
          : `operations would wait ${mean(costWith).toFixed(1)} ms instead of ${mean(costNow).toFixed(1)} ms, and every promise is kept`
      }.`,
      because: `Replayed over ${legs.writes} writes and ${legs.reads} reads of the last hour that went to all of ${names.join(', ')}, ${sayFresh(chosen)} of reads sent ${when} after a commit are fresh with it, ${sayFresh(now)} as it is${looks.length === 0 ? '' : `, by ${looks.length} reads of what their own trace had just written`}${sayCounted}. On average ${waitWords(chosen, now)}.`,
      stale: {
        afterMs: target.afterMs,
        predicted: 1 - now.fresh[0],
        predictedLow: 1 - now.freshHigh,
        predictedHigh: 1 - now.freshLow,
        predictedWith: 1 - chosen.fresh[0],
        observed: counted.reads === 0 ? null : staleNow / counted.reads,
        reads: counted.reads,
        observedBy: 'counted by the answers of all replicas in the last hour',
      },
      replay: {
        unit: isBroken ? `ms an operation, and ${brokenMs} ms where a promise is broken` : 'ms an operation',
        costWithout: mean(costNow),
        costWith: mean(costWith),
        gainLow: interval.low / waits.length,
        gainHigh: interval.high / waits.length,
        moves: steps.length,
        curveWithout: curveOf(costNow),
        curveWith: curveOf(costWith),
      },
      action: {
        kind: 'read-write',
        parameters: { of: target.name, replicas: names.join(','), read: chosen.r, write: chosen.w },
        commands: [
          ...(commands.length < 2 ? commands : commands.map((command, i) => `${i === 0 ? 'First' : 'Once all clients do'}, ${command}`)),
          `homeostat.yaml: targets.${target.name}: read: ${chosen.r}, write: ${chosen.w}, once all clients do`,
        ],
      },
      rollback: `Let clients wait for R=${read}, W=${write} again${steps.length > 1 ? ', up before down' : ''}. ${waitCommand(system, read, write, n) ?? ''}`,
      state: 'open',
      createdAtMs: subject.nowMs,
    },
  ];
}

function leftOutShare({ operations: all, leftOut, madeWay }: Clients, operations: Clients['operations'], used: number): number {
  const seen = all.length + madeWay;
  const notToAll = ((operations.length - used) / Math.max(1, operations.length)) * seen;
  const left = leftOut.failed + leftOut.repeated;
  return (notToAll + left) / Math.max(1, seen + left);
}

/** Of reads and writes, what changes for them. */
function waitWords(chosen: ClientOdds, now: ClientOdds): string {
  const words = (what: string, after: number, before: number, slowest: Quantile): readonly string[] =>
    after === before
      ? []
      : [
          `a ${what} would wait ${after.toFixed(1)} ms instead of ${before.toFixed(1)} ms, ${slowest.ms.toFixed(1)} ms in the slowest of a hundred`,
        ];
  return [
    ...words('read', chosen.readMeanMs, now.readMeanMs, chosen.readP99),
    ...words('write', chosen.writeMeanMs, now.writeMeanMs, chosen.writeP99),
  ].join(', and ');
}

/** What each operation of the record would have waited. */
const costsOf = (waits: readonly ClientWait[], r: number, w: number): readonly number[] =>
  waits.map(({ kind, answersMs }) => answersMs[(kind === 'read' ? r : w) - 1] ?? 0);

function breaksOf(now: ClientOdds, { freshShare, readP99Ms, writeP99Ms, faults, replicas }: Clients['target']): readonly string[] {
  const slow = (what: string, { lowMs }: Quantile, promisedMs: number | null): readonly string[] =>
    promisedMs !== null && lowMs > promisedMs
      ? [`a ${what} waits ${lowMs.toFixed(1)} ms or more (99 %), ${promisedMs} ms are promised`]
      : [];
  return [
    ...(freshShare !== null && now.freshHigh < freshShare
      ? [`at most ${percent(now.freshHigh)} of reads are fresh, ${percent(freshShare)} are promised`]
      : []),
    ...slow('read', now.readP99, readP99Ms),
    ...slow('write', now.writeP99, writeP99Ms),
    ...(Math.max(now.r, now.w) > replicas.length - faults
      ? [`${faults} lost ${faults === 1 ? 'replica' : 'replicas'} would stop ${now.r > replicas.length - faults ? 'reads' : 'writes'}`]
      : []),
  ];
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
const percent = (share: number): string => `${Number((100 * share).toFixed(2))} %`;

/** Three replicas, one of them far, of which clients wait for one and read again what they wrote, with and without a promise to readers. */
export function askingAll(freshShare: number | null): Subject {
  const rng = createRng('client-quorum-example');
  const names = ['a', 'b', 'far'];
  const wayMs = (replica: string): number => (replica === 'far' ? 6 : 1) * (1 - Math.log(1 - rng.next()));
  const operations = Array.from({ length: 800 }, (_, i): readonly CoordinatedOperation[] => {
    const startMs = 1_700_000_000_000 + 2_000 * i;
    const trips = names.map((replica) => ({
      replica,
      there: wayMs(replica),
      back: wayMs(replica),
      asked: wayMs(replica),
      answered: wayMs(replica),
    }));
    const readMs = Math.min(...trips.map(({ there, back }) => there + back)) + 0.1;
    const of = (kind: 'read' | 'write', atMs: number, tripsOf: CoordinatedOperation['trips']): CoordinatedOperation => ({
      collection: 'orders',
      kind,
      within: String(i),
      startUs: 1_000 * (startMs + atMs),
      trips: tripsOf,
    });
    const version = BigInt(i + 1);
    return [
      of(
        'write',
        0,
        trips.map(({ replica, there, back }) => ({ replica, sentMs: 0, tripMs: there + back, version })),
      ),
      of(
        'read',
        readMs,
        trips.map(({ replica, there, asked, answered }) => ({
          replica,
          sentMs: 0,
          tripMs: asked + answered,
          version: readMs + asked >= there ? version : version - 1n,
        })),
      ),
    ];
  }).flat();
  return {
    ...exampleSubject(),
    clients: {
      target: {
        kind: 'client-quorum',
        name: 'orders-ring',
        collections: ['orders'],
        replicas: ['a', 'b', 'far'],
        read: 1,
        write: 1,
        system: 'cassandra',
        freshShare,
        afterMs: 0,
        readP99Ms: 50,
        writeP99Ms: 50,
        faults: 1,
      },
      operations,
      leftOut: { alone: 0, failed: 3, repeated: 0 },
      madeWay: 0,
    },
  };
}
