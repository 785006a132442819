import type { Operation, Version } from '../domain/operation.ts';
import { leastWay } from './standby-odds.ts';
import type { Legs } from './wars.ts';

/**
 * Latencies of replicas as traces show them, where a client (a coordinator, a driver, a service that fans out) sends each write and read
 * to every replica itself. Client spans of one service under one parent, on one object, of one version where they write, to different
 * replicas, are one coordinated operation; all its times are told by one clock. Calls one after another (a store, then its cache) are
 * not: a call that begins when the first answer is there belongs to the next operation. An operation in which a replica was asked twice
 * or failed says nothing of how long it takes; it is counted.
 *
 * An operation stays whole, one row with all replicas, so that whoever draws it again draws a slow moment as slow for all of them.
 * Memory is bounded: of spans whose operation may go on the oldest make way, and of operations the latest stay. Within these bounds the
 * order in which spans come does not matter.
 */
export interface CoordinatedOperation {
  readonly collection: string;
  readonly kind: 'read' | 'write';
  /** Trace, service and object: the times of such operations are told by one clock. */
  readonly within: string;
  readonly startUs: number;
  /** One a replica, by name. */
  readonly trips: readonly ReplicaTrip[];
}

export interface ReplicaTrip {
  readonly replica: string;
  /** From the start of the operation until this replica was asked: asking many takes a client its time. */
  readonly sentMs: number;
  /** From then until it answered. */
  readonly tripMs: number;
  readonly version: Version | undefined;
}

/** What one collection's calls were that are no coordinated operation to learn from. */
export interface LeftOut {
  /** To one replica only. */
  readonly alone: number;
  readonly failed: number;
  /** To one replica twice at a time: which call goes with which is unknown. */
  readonly repeated: number;
}

export interface ReplicaLegs {
  /** Times are of one clock that does not go back, milliseconds; `openMs` is told by it. */
  fold(operations: readonly Operation[], nowMs?: number): void;
  /** What is over by then, the oldest first; without a time everything. What is folded afterwards begins anew. */
  drain(nowMs?: number): DrainedLegs;
}

export interface DrainedLegs {
  readonly operations: readonly CoordinatedOperation[];
  /** By collection. */
  readonly leftOut: ReadonlyMap<string, LeftOut>;
  /** Operations that made way for later ones. */
  readonly madeWay: number;
}

export interface ReplicaLegsOptions {
  /** '' where it is of no interest. */
  readonly collectionOf: (operation: Operation) => string;
  /** Name of the replica that was asked, '' where unknown. */
  readonly replicaOf: (operation: Operation) => string;
  readonly maxSpans?: number;
  readonly maxOperations?: number;
  /** For so long after a span of an operation came another may: until then a drain leaves it open. */
  readonly openMs?: number;
}

interface Call {
  readonly replica: string;
  readonly startUs: number;
  readonly endUs: number;
  readonly failed: boolean;
  readonly version: Version | undefined;
  readonly spanId: string;
}

interface Siblings {
  readonly collection: string;
  readonly within: string;
  readonly kind: 'read' | 'write';
  calls: Call[];
  /** When the last of them came. */
  lastMs: number;
}

const kinds: Readonly<Partial<Record<Operation['kind'], 'read' | 'write'>>> = {
  read: 'read',
  write: 'write',
  append: 'write',
  delete: 'write',
};
const clientSpan = 3;

/** By default some 100 MB of spans at the very most, and as many operations as make the slowest of a thousand known. */
export function createReplicaLegs({
  collectionOf,
  replicaOf,
  maxSpans = 100_000,
  maxOperations = 100_000,
  openMs = 0,
}: ReplicaLegsOptions): ReplicaLegs {
  const open = new Map<string, Siblings>();
  let spans = 0;
  let operations: CoordinatedOperation[] = [];
  let leftOut = new Map<string, LeftOut>();
  let madeWay = 0;

  const leaveOut = (collection: string, why: keyof LeftOut): void => {
    const before = leftOut.get(collection) ?? { alone: 0, failed: 0, repeated: 0 };
    leftOut.set(collection, { ...before, [why]: before[why] + 1 });
  };
  const latest = (): CoordinatedOperation[] => {
    madeWay += Math.max(0, operations.length - maxOperations);
    return operations.sort(byTime).slice(-maxOperations);
  };
  const close = (siblings: Siblings, groups = sentTogether(siblings.calls)): void => {
    for (const calls of groups) {
      spans -= calls.length;
      const replicas = new Set(calls.map(({ replica }) => replica));
      if (replicas.size < calls.length) leaveOut(siblings.collection, 'repeated');
      else if (calls.some(({ failed }) => failed)) leaveOut(siblings.collection, 'failed');
      else if (calls.length < 2) leaveOut(siblings.collection, 'alone');
      else operations.push(coordinated(siblings, calls));
    }
    if (operations.length > 2 * maxOperations) operations = latest();
  };
  /** A parent that lives on, such as a worker's, has operations that are long over. */
  const closeOver = (siblings: Siblings): void => {
    const groups = sentTogether(siblings.calls);
    const endUs = (calls: readonly Call[]): number => calls.reduce((end, call) => Math.max(end, call.endUs), 0);
    const untilUs = endUs(siblings.calls) - openMs * 1_000;
    const firstOpen = groups.findIndex((calls) => endUs(calls) >= untilUs);
    siblings.calls = groups.slice(firstOpen).flat();
    close(siblings, groups.slice(0, firstOpen));
  };

  return {
    fold: (folded, nowMs = 0) => {
      for (const operation of folded) {
        const { facts, traceId, parentSpanId, service, startUs, endUs, failed, spanId } = operation;
        const kind = kinds[operation.kind];
        if (kind === undefined || operation.spanKind !== clientSpan || operation.index > 0) continue;
        const key = facts?.objectKey || operation.key || '';
        if (key === '') continue;
        const collection = collectionOf(operation);
        const replica = collection === '' ? '' : replicaOf(operation);
        if (replica === '') continue;
        const version = facts?.version === '' ? undefined : facts?.version;
        const written = kind === 'write' ? String(version ?? '') : '';
        const within = [traceId, service, key].join('\u0000');
        const name = [within, parentSpanId, kind, collection, written].join('\u0000');
        let siblings = open.get(name);
        if (siblings === undefined) {
          siblings = { collection, within, kind, calls: [], lastMs: nowMs };
          open.set(name, siblings);
        }
        siblings.calls.push({ replica, startUs, endUs, failed, version, spanId });
        siblings.lastMs = nowMs;
        spans += 1;
        if (spans <= maxSpans) continue;
        const [oldest] = open;
        if (oldest === undefined) continue;
        open.delete(oldest[0]);
        close(oldest[1]);
      }
    },
    drain: (nowMs = Number.POSITIVE_INFINITY) => {
      for (const [name, siblings] of open) {
        if (siblings.lastMs + openMs > nowMs) {
          closeOver(siblings);
          continue;
        }
        open.delete(name);
        close(siblings);
      }
      const drained = { operations: latest(), leftOut, madeWay };
      operations = [];
      leftOut = new Map();
      madeWay = 0;
      return drained;
    },
  };
}

const byTime = (a: CoordinatedOperation, b: CoordinatedOperation): number =>
  a.startUs - b.startUs ||
  compare(a.collection, b.collection) ||
  compare(a.kind, b.kind) ||
  compare(a.within, b.within) ||
  compare(placesOf(a), placesOf(b));
/** Of operations that begin in the same microsecond any order would do that does not hang on the order of spans. */
const placesOf = ({ trips }: CoordinatedOperation): string =>
  JSON.stringify(trips.map(({ replica, sentMs, tripMs, version }) => [replica, sentMs, tripMs, String(version)]));
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Calls that were on their way at one time, before the first of them was answered; some exporters round to the millisecond. */
function sentTogether(calls: readonly Call[]): readonly (readonly Call[])[] {
  const sorted = calls.toSorted((a, b) => a.startUs - b.startUs || b.endUs - a.endUs || compare(a.spanId, b.spanId));
  const groups: Call[][] = [];
  let firstUs = Number.NaN;
  let answeredUs = Number.NEGATIVE_INFINITY;
  for (const call of sorted) {
    const group = groups.at(-1);
    if (group === undefined || (call.startUs !== firstUs && call.startUs >= answeredUs)) {
      groups.push([call]);
      firstUs = call.startUs;
      answeredUs = call.endUs;
    } else {
      group.push(call);
      answeredUs = Math.min(answeredUs, call.endUs);
    }
  }
  return groups;
}

function coordinated({ collection, within, kind }: Siblings, calls: readonly Call[]): CoordinatedOperation {
  const startUs = calls[0]?.startUs ?? 0;
  const trips = calls.map((call) => ({
    replica: call.replica,
    sentMs: (call.startUs - startUs) / 1_000,
    tripMs: (call.endUs - call.startUs) / 1_000,
    version: call.version,
  }));
  return { collection, kind, within, startUs, trips: trips.toSorted((a, b) => compare(a.replica, b.replica)) };
}

/**
 * The replicas of a collection as its operations show them: of the sets that are in no larger one, the one that most operations went to
 * whole. (A client that asks two of three shows sets of two; a ring has many sets.) By name.
 */
export function replicasSeen(operations: readonly CoordinatedOperation[]): readonly string[] {
  const sets = new Map<string, { readonly names: readonly string[]; count: number }>();
  for (const { trips } of operations) {
    const names = trips.map(({ replica }) => replica);
    const set = sets.get(names.join('\u0000')) ?? { names, count: 0 };
    set.count += 1;
    sets.set(names.join('\u0000'), set);
  }
  const all = [...sets.values()];
  const whole = all.filter(
    ({ names }) => !all.some((other) => other.names.length > names.length && names.every((one) => other.names.includes(one))),
  );
  return whole.toSorted((a, b) => b.count - a.count || compare(a.names.join(), b.names.join()))[0]?.names ?? [];
}

/**
 * Legs for WARS from operations that went to all of `replicas`, in order of time. Only trips are seen, there and back. In the middle each
 * way is half of one. A quickest trip (5 %) is taken to be as long there as back, and what another takes longer may be lost on either
 * way: `late` has writes arrive as late and reads as soon as may be, `early` the other way round. No figure of waiting differs between
 * them, and the share of fresh reads lies between theirs.
 */
export interface TracedLegs {
  readonly writes: number;
  readonly reads: number;
  readonly middle: readonly Legs[];
  readonly late: readonly Legs[];
  readonly early: readonly Legs[];
}

export function tracedLegs(operations: readonly CoordinatedOperation[], replicas: readonly string[]): TracedLegs {
  const rowsOf = (kind: 'read' | 'write'): readonly (readonly ReplicaTrip[])[] =>
    operations
      .filter((one) => one.kind === kind)
      .flatMap((one) => {
        const row = replicas.flatMap((name) => one.trips.find(({ replica }) => replica === name) ?? []);
        return row.length === replicas.length ? [row] : [];
      });
  const writes = rowsOf('write');
  const reads = rowsOf('read');
  const legs = (writeShare: number, readShare: number): readonly Legs[] =>
    replicas.map((_, i) => {
      const [w, a] = waysOf(
        writes.map((row) => row[i]),
        writeShare,
      );
      const [r, s] = waysOf(
        reads.map((row) => row[i]),
        readShare,
      );
      return { w, a, r, s };
    });
  return { writes: writes.length, reads: reads.length, middle: legs(0.5, 0.5), late: legs(1, 0), early: legs(0, 1) };
}

/** Ways there, from the start of the operation, and back; `share` of what a trip takes longer than the quickest is lost on the way there. */
function waysOf(trips: readonly (ReplicaTrip | undefined)[], share: number): readonly [there: Float64Array, back: Float64Array] {
  const quickest = leastWay(trips.map((trip) => trip?.tripMs ?? 0));
  const there = new Float64Array(trips.length);
  const back = new Float64Array(trips.length);
  trips.forEach((trip, k) => {
    const { sentMs = 0, tripMs = 0 } = trip ?? {};
    const least = Math.min(quickest, tripMs / 2);
    const way = least + share * (tripMs - 2 * least);
    there[k] = sentMs + way;
    back[k] = tripMs - way;
  });
  return [there, back];
}

/**
 * Measured truth beside the odds: of reads that asked every replica and were told numbered versions by all, how many would have been
 * stale for a client that had gone by the first r answers, whenever it came. Index 0: r = 1.
 */
export function staleAsCounted(
  operations: readonly CoordinatedOperation[],
  replicas: readonly string[],
): { readonly reads: number; readonly stale: readonly number[] } {
  const stale = replicas.map(() => 0);
  let reads = 0;
  for (const { kind, trips } of operations) {
    const asked = trips.filter(({ replica }) => replicas.includes(replica));
    if (kind !== 'read' || asked.length < replicas.length) continue;
    const versions = asked.toSorted((a, b) => a.sentMs + a.tripMs - b.sentMs - b.tripMs).map(({ version }) => version);
    const numbers = versions.filter((version) => typeof version === 'bigint');
    if (numbers.length < replicas.length) continue;
    reads += 1;
    const newest = numbers.reduce((a, b) => (a > b ? a : b));
    const freshAt = numbers.indexOf(newest);
    for (let r = 0; r < freshAt; r += 1) stale[r] = (stale[r] ?? 0) + 1;
  }
  return { reads, stale };
}
