import { Hash64 } from '../base/hash64.ts';
import type { LearnedFact } from '../domain/learned-fact.ts';
import type { Operation } from '../domain/operation.ts';
import { HeardServices } from './heard-services.ts';
import { type Counter, HostTables } from './host-tables.ts';
import { isLongAfter, mayHaveBegunBefore, MissingCount } from './missing-count.ts';
import { lossyShare } from './habits.ts';
import { bareName } from './object-place.ts';
import { isInboxName, isOutboxName } from './outbox-table.ts';
import { RecentKeys } from './recent-keys.ts';
import { knownOf } from './shape-knowledge.ts';
import { hashLinkedTrace, hashTrace, idsOf } from './span-ids.ts';
import { storeOf, targetOf, type TraceView, type Unit } from './trace-view.ts';
import { tracesAtOnce } from './traces-ahead.ts';

export interface LearnedStructure {
  isOutbox(table: string): boolean;
  isInbox(table: string): boolean;
  /** Whether `host` has been seen to take writes to `table`. */
  takesWrites(host: string, table: string): boolean;
  /** Longest normal time from publish to processing of a topic, microseconds: as declared, else as seen, with how many messages it rests on. */
  topicLag(topic: string): { readonly support: number; readonly highUs: number; readonly isDeclared: boolean };
  /** Steps that the configuration gives a workflow; 'none' where it says that it is no saga. */
  declaredSteps(root: string): readonly string[] | 'none' | undefined;
  /** Keeps what a workflow's runs have taught, so that it is shown and survives a restart. */
  noteSaga(root: string, runs: number, confidence: number, steps: readonly string[]): void;
  /** What an earlier process had learned of workflows. */
  knownSagas(): readonly LearnedFact[];
  /** Share of the parents named by recent spans that are missing: how much is lost on the way. */
  lostShare(): number;
  /** Share of recent span links that point to traces never seen: near the share that head sampling leaves out. */
  missingLinkShare(): number;
  /** Whether what shows at `atUs` may have begun before the first span that was seen. */
  mayBeCut(atUs: number): boolean;
  /** What `count` says by now. */
  countOf(count: MissingCount): { readonly of: number; readonly missing: number };
  /** Whether so much has been seen that the two shares mean something. */
  isLossKnown(): boolean;
  /** {@link lostShare} from the first missing parent on, when it is still rough; 0 where nothing is missing, or so little that it is an exception. */
  lossSoFar(): number;
  /** Whether what a service did from `fromUs` to `toUs` shows: {@link HeardServices.between}. */
  heardBetween(service: string, fromUs: number, toUs: number, atUs: number): 'heard' | 'silent' | 'open';
  facts(): readonly LearnedFact[];
}

export interface DeclaredStructure {
  readonly outboxTables?: readonly string[];
  readonly notOutboxTables?: readonly string[];
  readonly inboxTables?: readonly string[];
  readonly replicaHosts?: readonly string[];
  /** Hosts that are no replicas, whatever it looks like. */
  readonly primaryHosts?: readonly string[];
  /** Longest normal wait of a topic's messages, milliseconds. */
  readonly topicLagMs?: Readonly<Record<string, number>>;
  /** Steps of a workflow, `service verb table`, by its root: `service POST /path`. */
  readonly sagas?: Readonly<Record<string, readonly string[]>>;
  /** Roots of workflows that are no sagas. */
  readonly notSagas?: readonly string[];
}

/** Spans and links from which a share means something. */
const enoughParents = 500;
const enoughLinks = 50;
/** Traces with missing parents are waited for longest, so that the first ones to close look better than the rest. */
const lossKnownAfterUs = 20_000_000;
/** A producer's trace can be over later than its consumer's: by its own length, by late spans, by clocks that differ. */
const linkPatienceUs = 12_000_000;
/** Links that wait at most; beyond it new ones are not counted. */
const waitingLinksMax = 50_000;

/** Traces remembered for links, which point to the recent past. */
const seenTracesMax = 50_000;

/** What a table's name in spans says of it. */
interface TableName {
  readonly bare: string;
  /** As declared, or as the name itself says; undefined where its use decides. */
  readonly isOutbox: boolean | undefined;
  readonly isInbox: boolean;
  use: TableUse | undefined;
}

interface TableUse {
  readonly insertedWithOthers: Counter;
  readonly relayed: Counter;
  /** Units that wrote it and neither looked like an outbox's writer nor like its relay. */
  readonly otherwise: Counter;
}

/** Lines of the service graph of one sort. */
const edgesMax = 2_000;

/** Tables, hosts and topics are bounded by the code of the fleet; beyond this a hostile sender is assumed and nothing new is learned. */
const namesMax = 20_000;

/** The tables that a unit wrote, by store. */
function tablesByStore(unit: Unit): ReadonlyMap<string, ReadonlySet<string>> {
  const written = new Map<string, Set<string>>();
  for (const write of unit.writes) {
    const store = storeOf(write);
    const known = written.get(store);
    if (known === undefined) written.set(store, new Set([bareName(targetOf(write))]));
    else known.add(bareName(targetOf(write)));
  }
  return written;
}

/** So many are looked through; of more a set is made. */
const fewReads = 8;

function isReadBy(unit: Unit, startUs: number, table: string): boolean {
  for (const one of unit.reads) if (one.startUs <= startUs && bareName(targetOf(one)) === table) return true;
  return false;
}

/** Whether in all traces that are alike the table is read before `startUs`, or in none: equal times are in no order. */
function isSameForAll({ reads }: Unit, startUs: number, table: string): boolean {
  const ofTable = reads.filter((one) => bareName(targetOf(one)) === table);
  return ofTable.length === 0 || ofTable.some((one) => one.startUs < startUs);
}

function tablesReadBy(unit: Unit, startUs: number): ReadonlySet<string> {
  const read = new Set<string>();
  for (const one of unit.reads) if (one.startUs <= startUs) read.add(bareName(targetOf(one)));
  return read;
}

/**
 * What the fleet's structure seems to be, folded from traces in their order. An outbox is a table that request units insert into beside
 * other tables without publishing, and that units which publish read first and then mark or empty: three of those at least, and nine in
 * ten uses of it.
 */
export function createLearner(
  declared: DeclaredStructure = {},
  known: readonly LearnedFact[] = [],
): LearnedStructure & {
  /** Looks at what learning from these traces will look up. */
  comeNear(traces: readonly TraceView[]): void;
  learn(trace: TraceView): void;
  /** End of input: what has not come will not come. */
  settle(): void;
} {
  const tables = new Map<string, TableUse>();
  const writers = new HostTables(namesMax);
  const readers = new HostTables(namesMax);
  const edges = {
    call: new HostTables(edgesMax),
    send: new HostTables(edgesMax),
    take: new HostTables(edgesMax),
    write: new HostTables(edgesMax),
  } as const;
  const lags = new Map<string, { support: number; highUs: number }>();
  const outboxes = new Set((declared.outboxTables ?? []).map(bareName));
  const notOutboxes = new Set((declared.notOutboxTables ?? []).map(bareName));
  const inboxes = new Set((declared.inboxTables ?? []).map(bareName));
  const replicaHosts = new Set(declared.replicaHosts ?? []);
  const primaryHosts = new Set(declared.primaryHosts ?? []);
  const declaredLags = new Map(Object.entries(declared.topicLagMs ?? {}).map(([topic, ms]) => [topic, ms * 1000]));
  const declaredSagas = new Map(Object.entries(declared.sagas ?? {}));
  const notSagas = new Set(declared.notSagas ?? []);
  const sagas = new Map<string, LearnedFact>();
  /** Replicas that an earlier process knew; forgotten when one of them takes a write. */
  const knownReplicas = new Map<string, LearnedFact>();
  for (const fact of known) {
    if (fact.from !== 'traces') continue;
    switch (fact.is) {
      case 'outbox': {
        // Both kinds of use had been seen at least three times each.
        const half = Math.max(3, Math.round(fact.support / 2));
        const otherwise = Math.round(fact.support / Math.max(0.01, fact.confidence)) - fact.support;
        tables.set(fact.name, { insertedWithOthers: { count: half }, relayed: { count: half }, otherwise: { count: otherwise } });
        break;
      }
      case 'topic-lag':
        lags.set(fact.name, { support: fact.support, highUs: fact.value });
        break;
      case 'replica-host':
        knownReplicas.set(fact.name, fact);
        break;
      case 'saga':
        sagas.set(fact.name, fact);
        break;
      case 'edge':
        if (fact.edge !== undefined) edges[fact.edge.by].count(fact.edge.from, fact.edge.to, fact.support);
        break;
    }
  }

  const heard = new HeardServices();
  const parents = new MissingCount(enoughParents);
  const links = new MissingCount(enoughLinks);
  let firstUs = Number.POSITIVE_INFINITY;
  let newestUs = 0;
  let isOver = false;
  const seenTraces = new RecentKeys(seenTracesMax);
  const near = new Int32Array(tracesAtOnce);
  const hash = new Hash64();
  /** In order of arrival, which is nearly that of their times; those before `settledLinks` are done with. */
  let waitingLinks: { readonly traceId: string; readonly dueUs: number; readonly isFirst: boolean }[] = [];
  let settledLinks = 0;

  const isLate = (): boolean => isLongAfter(firstUs, newestUs);

  /** Names are few, and detectors ask several times with every write. */
  const names = new Map<string, TableName>();
  const nameOf = (table: string): TableName => {
    const known = names.get(table);
    if (known !== undefined) return known;
    const bare = bareName(table);
    const isNamedOutbox = outboxes.has(bare) || isOutboxName(table) ? true : undefined;
    const name: TableName = {
      bare,
      isOutbox: notOutboxes.has(bare) ? false : isNamedOutbox,
      isInbox: inboxes.has(bare) || isInboxName(table),
      use: tables.get(bare),
    };
    if (names.size < namesMax) names.set(table, name);
    return name;
  };

  const use = (table: string): TableUse | undefined => {
    const known = tables.get(table);
    if (known !== undefined || tables.size >= namesMax) return known;
    const fresh: TableUse = { insertedWithOthers: { count: 0 }, relayed: { count: 0 }, otherwise: { count: 0 } };
    tables.set(table, fresh);
    return fresh;
  };
  const isOutboxUse = (seen: TableUse | undefined): boolean =>
    seen !== undefined &&
    seen.relayed.count >= 3 &&
    seen.insertedWithOthers.count >= 3 &&
    seen.otherwise.count * 9 <= seen.relayed.count + seen.insertedWithOthers.count;

  /** What the trace at hand counts for, one for each time, as long as all that are alike count for the same. */
  let lesson: Counter[] = [];
  let isOfShape = false;
  const note = (counter: Counter | undefined): void => {
    if (counter === undefined) return;
    counter.count += 1;
    if (isOfShape) lesson.push(counter);
  };

  /** Lines of the service graph that a unit adds: who asked it, what it sends, takes and writes. */
  const learnEdges = (unit: Unit): void => {
    const caller = unit.parent;
    if (caller !== undefined && caller.service !== unit.service && unit.calledBy?.kind !== 'publish')
      note(edges.call.counter(caller.service, unit.service));
    for (const publish of unit.publishes) if (publish.target !== '') note(edges.send.counter(unit.service, publish.target));
    for (const consume of unit.consumes) if (consume.target !== '') note(edges.take.counter(consume.target, unit.service));
    const write = unit.writes[0];
    if (write !== undefined) note(edges.write.counter(unit.service, write.namespace === '' ? write.system : write.namespace));
    for (const other of unit.writes)
      if (other.system !== write?.system || other.namespace !== write.namespace)
        note(edges.write.counter(unit.service, other.namespace === '' ? other.system : other.namespace));
  };

  /** A table that only facts name is not the same for all that are alike. */
  const isNamedByFacts = (operation: Operation): boolean => operation.target === '' && operation.facts !== undefined;

  const learnUnit = (unit: Unit): void => {
    learnEdges(unit);
    if (isOfShape && (unit.reads.some(isNamedByFacts) || unit.writes.some(isNamedByFacts))) isOfShape = false;
    for (const read of unit.reads) if (read.host !== '') note(readers.counter(read.host, bareName(targetOf(read))));
    if (unit.writes.length === 0) return;
    const first = unit.publishes[0];
    // Made where they are asked for, which is seldom; looked up, not looked for: a batch job writes a hundred thousand rows in one unit.
    let written: ReadonlyMap<string, ReadonlySet<string>> | undefined;
    let readBefore: ReadonlySet<string> | undefined;
    const hasFewReads = unit.reads.length <= fewReads;
    for (const write of unit.writes) {
      const name = nameOf(targetOf(write));
      const table = name.bare;
      if (table === '') continue;
      if (write.host !== '') note(writers.counter(write.host, table));
      const seen = (name.use ??= use(table));
      if (seen === undefined) continue;
      const isInsert = write.statement?.verb === 'insert' || write.kind === 'append';
      if (first === undefined) {
        if (isInsert && unit.writes.length > 1 && ((written ??= tablesByStore(unit)).get(storeOf(write))?.size ?? 0) > 1)
          note(seen.insertedWithOthers);
        else note(seen.otherwise);
        continue;
      }
      const isRelayed =
        !isInsert && (hasFewReads ? isReadBy(unit, first.startUs, table) : (readBefore ??= tablesReadBy(unit, first.startUs)).has(table));
      if (isOfShape && !isInsert && !isSameForAll(unit, first.startUs, table)) isOfShape = false;
      note(isRelayed ? seen.relayed : seen.otherwise);
    }
  };

  const learnUnits = (trace: TraceView): void => {
    const known = knownOf(trace.shape);
    if (known?.lesson !== undefined && known.lesson !== 'own') {
      const counters = known.lesson;
      for (let i = 0; i < counters.length; i += 1) (counters[i] as Counter).count += 1;
      return;
    }
    isOfShape = known !== undefined && known.lesson === undefined;
    for (const unit of trace.units) learnUnit(unit);
    if (known !== undefined) known.lesson = isOfShape ? lesson : 'own';
    lesson = [];
  };

  const settleLinks = (atUs: number): void => {
    while (settledLinks < waitingLinks.length) {
      const link = waitingLinks[settledLinks];
      if (link === undefined || link.dueUs > atUs) break;
      settledLinks += 1;
      hashLinkedTrace(hash, link.traceId);
      links.add(link.isFirst, 1, seenTraces.has(hash.low, hash.high) ? 0 : 1);
    }
    if (settledLinks < waitingLinksMax) return;
    waitingLinks = waitingLinks.slice(settledLinks);
    settledLinks = 0;
  };

  return {
    settle() {
      isOver = true;
      settleLinks(Number.POSITIVE_INFINITY);
    },
    isOutbox(table) {
      const name = nameOf(table);
      return name.isOutbox ?? isOutboxUse((name.use ??= tables.get(name.bare)));
    },
    isInbox: (table) => nameOf(table).isInbox,
    takesWrites: (host, table) => primaryHosts.has(host) || (!replicaHosts.has(host) && writers.has(host, bareName(table))),
    topicLag(topic) {
      const highUs = declaredLags.get(topic);
      if (highUs !== undefined) return { support: lags.get(topic)?.support ?? 0, highUs, isDeclared: true };
      return { support: 0, highUs: 0, ...lags.get(topic), isDeclared: false };
    },
    declaredSteps: (root) => (notSagas.has(root) ? 'none' : declaredSagas.get(root)),
    noteSaga(root, runs, confidence, steps) {
      if (notSagas.has(root) || declaredSagas.has(root) || (sagas.size >= namesMax && !sagas.has(root))) return;
      sagas.set(root, { is: 'saga', name: root, support: runs, confidence, value: steps.length, steps, from: 'traces' });
    },
    knownSagas: () => [...sagas.values()],
    mayBeCut: (atUs) => mayHaveBegunBefore(firstUs, atUs),
    isLossKnown: () => isOver || (parents.read(isLate()).of >= enoughParents && newestUs - firstUs >= lossKnownAfterUs),
    countOf: (count) => count.read(isLate()),
    missingLinkShare() {
      const { of, missing } = links.read(isLate());
      return of < 3 ? 0 : missing / of;
    },
    lostShare() {
      const { of, missing } = parents.read(isLate());
      return of < 200 ? 0 : missing / of;
    },
    lossSoFar() {
      const { of, missing } = parents.read(isLate());
      const share = of === 0 ? 0 : missing / of;
      return !isLate() || of < enoughParents || share >= lossyShare ? share : 0;
    },
    heardBetween: (service, fromUs, toUs, atUs) => heard.between(service, fromUs, toUs, atUs),
    facts() {
      const facts: LearnedFact[] = [];
      for (const [name, seen] of tables) {
        if (notOutboxes.has(name) || (!outboxes.has(name) && !isOutboxName(name) && !isOutboxUse(seen))) continue;
        const support = seen.insertedWithOthers.count + seen.relayed.count;
        const from = outboxes.has(name) ? 'config' : isOutboxName(name) ? 'name' : 'traces';
        facts.push({ is: 'outbox', name, support, confidence: support / Math.max(1, support + seen.otherwise.count), value: 1, from });
      }
      const shown = new Set<string>();
      for (const { host, table, count } of readers.entries()) {
        const support = count + (knownReplicas.get(`${host} for ${table}`)?.support ?? 0);
        if (writers.has(host, table) || primaryHosts.has(host)) continue;
        if (!writers.hasTable(table)) {
          const earlier = knownReplicas.get(`${host} for ${table}`);
          if (earlier === undefined) continue;
        }
        shown.add(`${host} for ${table}`);
        facts.push({
          is: 'replica-host',
          name: `${host} for ${table}`,
          support,
          confidence: support / (support + 1),
          value: 1,
          from: replicaHosts.has(host) ? 'config' : 'traces',
        });
      }
      for (const [name, fact] of knownReplicas) {
        const [host = '', table = ''] = name.split(' for ');
        if (!shown.has(name) && !primaryHosts.has(host) && !writers.has(host, table)) facts.push(fact);
      }
      for (const name of outboxes)
        if (!tables.has(name)) facts.push({ is: 'outbox', name, support: 0, confidence: 1, value: 1, from: 'config' });
      for (const [name, steps] of declaredSagas)
        facts.push({ is: 'saga', name, support: 0, confidence: 1, value: steps.length, steps, from: 'config' });
      for (const [name, highUs] of declaredLags)
        facts.push({ is: 'topic-lag', name, support: lags.get(name)?.support ?? 0, confidence: 1, value: highUs, from: 'config' });
      facts.push(...sagas.values());
      for (const by of ['call', 'send', 'take', 'write'] as const)
        for (const { host: from, table: to, count: support } of edges[by].entries())
          if (to !== '')
            facts.push({
              is: 'edge',
              name: `${from} ${by} ${to}`,
              support,
              confidence: 1,
              value: 1,
              edge: { by, from, to },
              from: 'traces',
            });
      for (const [name, lag] of lags) {
        if (declaredLags.has(name)) continue;
        facts.push({
          is: 'topic-lag',
          name,
          support: lag.support,
          confidence: lag.support / (lag.support + 1),
          value: lag.highUs,
          from: 'traces',
        });
      }
      return facts;
    },
    comeNear(traces) {
      const count = Math.min(near.length, traces.length);
      for (let i = 0; i < count; i += 1) {
        const first = traces[i]?.operations[0];
        if (first !== undefined) near[i] = hashTrace(hash, idsOf(first)).low;
      }
      seenTraces.glanceAll(near, count);
    },
    learn(trace) {
      if (trace.startUs < firstUs) firstUs = trace.startUs;
      if (trace.endUs > newestUs) newestUs = trace.endUs;
      // A later stretch of a trace (a message that waited) hangs on spans that were there before.
      const first = trace.operations[0];
      if (first === undefined) return;
      hashTrace(hash, idsOf(first));
      if (seenTraces.add(hash.low, hash.high)) {
        parents.add(mayHaveBegunBefore(firstUs, trace.startUs), trace.operations.length, trace.missingParents);
      }
      settleLinks(trace.endUs);
      for (const unit of trace.units) {
        for (const link of unit.entry.links) {
          if (link.traceId === trace.traceId) continue;
          hashLinkedTrace(hash, link.traceId);
          const isFirst = mayHaveBegunBefore(firstUs, trace.startUs);
          if (seenTraces.has(hash.low, hash.high)) links.add(isFirst, 1, 0);
          else if (waitingLinks.length - settledLinks < waitingLinksMax)
            waitingLinks.push({ traceId: link.traceId, dueUs: trace.endUs + linkPatienceUs, isFirst });
        }
      }
      parents.fade(100_000);
      learnUnits(trace);
      for (const unit of trace.units) {
        heard.note(unit.service, unit.entry.endUs);
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
