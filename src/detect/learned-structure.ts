import { bareName } from './object-place.ts';
import { isInboxName, isOutboxName } from './outbox-table.ts';
import { storeOf, targetOf, type TraceView, type Unit } from './trace-view.ts';

/** One thing learned from traces or declared, with what it rests on. */
export interface LearnedFact {
  readonly is: 'outbox' | 'replica-host' | 'topic-lag';
  readonly name: string;
  /** How many traces speak for it. */
  readonly support: number;
  /** Share of the traces that could have spoken against it and did not. */
  readonly confidence: number;
  readonly value: number;
  readonly from: 'name' | 'traces' | 'config';
}

export interface LearnedStructure {
  isOutbox(table: string): boolean;
  isInbox(table: string): boolean;
  /** Whether `host` has been seen to take writes to `table`. */
  takesWrites(host: string, table: string): boolean;
  /** Longest normal time from publish to processing of a topic seen so far, microseconds, with how many messages it rests on. */
  topicLag(topic: string): { readonly support: number; readonly highUs: number };
  /** Share of the parents named by recent spans that are missing: how much is lost on the way. */
  lostShare(): number;
  /** Share of recent span links that point to traces never seen: near the share that head sampling leaves out. */
  missingLinkShare(): number;
  facts(): readonly LearnedFact[];
}

export interface DeclaredStructure {
  readonly outboxTables?: readonly string[];
  readonly notOutboxTables?: readonly string[];
  readonly inboxTables?: readonly string[];
  readonly replicaHosts?: readonly string[];
}

/** Traces remembered for links, which point to the recent past. */
const seenTracesMax = 50_000;

interface TableUse {
  insertedWithOthers: number;
  relayed: number;
  /** Units that wrote it and neither looked like an outbox's writer nor like its relay. */
  otherwise: number;
}

/** Tables, hosts and topics are bounded by the code of the fleet; beyond this a hostile sender is assumed and nothing new is learned. */
const namesMax = 20_000;

/**
 * What the fleet's structure seems to be, folded from traces in their order. An outbox is a table that request units insert into beside
 * other tables without publishing, and that units which publish read first and then mark or empty: three of those at least, and nine in
 * ten uses of it.
 */
export function createLearner(declared: DeclaredStructure = {}): LearnedStructure & { learn(trace: TraceView): void } {
  const tables = new Map<string, TableUse>();
  const writers = new Map<string, number>();
  const readers = new Map<string, number>();
  const lags = new Map<string, { support: number; highUs: number }>();
  const outboxes = new Set((declared.outboxTables ?? []).map(bareName));
  const notOutboxes = new Set((declared.notOutboxTables ?? []).map(bareName));
  const inboxes = new Set((declared.inboxTables ?? []).map(bareName));
  const replicaHosts = new Set(declared.replicaHosts ?? []);

  let lost = 0;
  let lostOf = 0;
  let links = 0;
  let missingLinks = 0;
  const seenTraces = new Set<string>();

  const use = (table: string): TableUse | undefined => {
    const known = tables.get(table);
    if (known !== undefined || tables.size >= namesMax) return known;
    const fresh: TableUse = { insertedWithOthers: 0, relayed: 0, otherwise: 0 };
    tables.set(table, fresh);
    return fresh;
  };
  const count = (map: Map<string, number>, key: string): void => {
    const before = map.get(key);
    if (before !== undefined || map.size < namesMax) map.set(key, (before ?? 0) + 1);
  };
  const isLearnedOutbox = (table: string): boolean => {
    const seen = tables.get(table);
    return (
      seen !== undefined &&
      seen.relayed >= 3 &&
      seen.insertedWithOthers >= 3 &&
      seen.otherwise * 9 <= seen.relayed + seen.insertedWithOthers
    );
  };

  const learnUnit = (unit: Unit): void => {
    for (const read of unit.reads) if (read.host !== '') count(readers, `${read.host}\0${bareName(targetOf(read))}`);
    if (unit.writes.length === 0) return;
    for (const write of unit.writes) {
      const table = bareName(targetOf(write));
      if (table === '') continue;
      if (write.host !== '') count(writers, `${write.host}\0${table}`);
      const seen = use(table);
      if (seen === undefined) continue;
      const isInsert = write.statement?.verb === 'insert' || write.kind === 'append';
      if (unit.publishes.length === 0) {
        const store = storeOf(write);
        if (isInsert && unit.writes.some((other) => other !== write && storeOf(other) === store && bareName(targetOf(other)) !== table))
          seen.insertedWithOthers += 1;
        else seen.otherwise += 1;
      } else if (
        !isInsert &&
        unit.reads.some((read) => bareName(targetOf(read)) === table && read.startUs <= (unit.publishes[0]?.startUs ?? 0))
      )
        seen.relayed += 1;
      else seen.otherwise += 1;
    }
  };

  return {
    isOutbox(table) {
      const bare = bareName(table);
      if (notOutboxes.has(bare)) return false;
      return outboxes.has(bare) || isOutboxName(table) || isLearnedOutbox(bare);
    },
    isInbox: (table) => inboxes.has(bareName(table)) || isInboxName(table),
    takesWrites: (host, table) => !replicaHosts.has(host) && writers.has(`${host}\0${bareName(table)}`),
    topicLag: (topic) => lags.get(topic) ?? { support: 0, highUs: 0 },
    missingLinkShare: () => (links < 3 ? 0 : missingLinks / links),
    lostShare: () => (lostOf < 200 ? 0 : lost / lostOf),
    facts() {
      const facts: LearnedFact[] = [];
      for (const [name, seen] of tables) {
        if (!outboxes.has(name) && !isOutboxName(name) && !isLearnedOutbox(name)) continue;
        const support = seen.insertedWithOthers + seen.relayed;
        const from = outboxes.has(name) ? 'config' : isOutboxName(name) ? 'name' : 'traces';
        facts.push({ is: 'outbox', name, support, confidence: support / Math.max(1, support + seen.otherwise), value: 1, from });
      }
      for (const [name, support] of readers) {
        const [host = '', table = ''] = name.split('\0');
        if (writers.has(name) || ![...writers.keys()].some((other) => other.endsWith(`\0${table}`))) continue;
        facts.push({
          is: 'replica-host',
          name: `${host} for ${table}`,
          support,
          confidence: support / (support + 1),
          value: 1,
          from: replicaHosts.has(host) ? 'config' : 'traces',
        });
      }
      for (const [name, lag] of lags)
        facts.push({
          is: 'topic-lag',
          name,
          support: lag.support,
          confidence: lag.support / (lag.support + 1),
          value: lag.highUs,
          from: 'traces',
        });
      return facts;
    },
    learn(trace) {
      lostOf += trace.operations.length;
      lost += trace.missingParents;
      if (seenTraces.size >= seenTracesMax) {
        const oldest = seenTraces.keys().next();
        if (oldest.done !== true) seenTraces.delete(oldest.value);
      }
      seenTraces.add(trace.traceId);
      for (const unit of trace.units) {
        for (const link of unit.entry.links) {
          if (link.traceId === trace.traceId) continue;
          links += 1;
          if (!seenTraces.has(link.traceId)) missingLinks += 1;
        }
      }
      // The recent past counts most: old traces fade by half.
      if (lostOf > 100_000) {
        lostOf /= 2;
        lost /= 2;
      }
      for (const unit of trace.units) {
        learnUnit(unit);
        const from = unit.calledBy;
        if (from?.kind === 'publish' && unit.entry.kind === 'consume') {
          const lagUs = Math.max(0, unit.entry.startUs - from.endUs);
          const known = lags.get(from.target);
          if (known !== undefined) {
            known.support += 1;
            if (lagUs > known.highUs) known.highUs = lagUs;
          } else if (lags.size < namesMax) lags.set(from.target, { support: 1, highUs: lagUs });
        }
      }
    },
  };
}
