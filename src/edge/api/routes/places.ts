/** Where state lives: domains, collections, replicas, and the overview that puts them into one matrix. */
import { z } from 'zod';
import { type Collection, isCompared } from '../../../domain/collection.ts';
import { listAgents } from '../../../io/store/agent-calls.ts';
import { listCounters } from '../../../io/store/counters.ts';
import { countOpenDivergences, listOpenDivergences } from '../../../io/store/divergences.ts';
import { getDomainState, listDomainStates } from '../../../io/store/domain-state.ts';
import { countProposals, listProposals } from '../../../io/store/proposals.ts';
import { countRepairs, listRepairs } from '../../../io/store/repairs.ts';
import { listMeasurements } from '../../../io/store/measurements.ts';
import { listFeeds, listReplicaChanges } from '../../../io/store/change-feeds.ts';
import { listCollectionStates, listReplicaStates } from '../../../io/store/scans.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import type { Caller } from '../access.ts';
import { get, notFound, type Route } from '../route.ts';
import { maySee } from './nouns.ts';

const noun = z.looseObject({});
const list = z.object({ items: z.array(noun), nextCursor: z.null() });
/** Divergences that are looked at to say which replica is wrong; above it the figure is a lower bound. */
const countedDivergences = 5_000;

interface DivergedRows {
  readonly rows: Readonly<Record<string, number>>;
  readonly isLowerBound: boolean;
}

const shownMeasurements = 1_000;

/** Every open page reads the overview after each change; counting reads rows, so it is done at most this often. */
const countedForMs = 1_000;

export function placeRoutes(context: RuntimeContext): readonly Route[] {
  const counts = new Map<string, { readonly untilMs: number; readonly rows: Promise<DivergedRows> }>();
  const counted = (collection: Collection): Promise<DivergedRows> => {
    const nowMs = context.clock.monotonicMs();
    const known = counts.get(collection.name);
    if (known !== undefined && known.untilMs > nowMs) return known.rows;
    const rows = divergedByReplica(context, collection);
    counts.set(collection.name, { untilMs: nowMs + countedForMs, rows });
    return rows;
  };
  const db = context.database;
  const everything = (items: readonly object[], caller: Caller): object => ({
    items: items.filter((item) => maySee(caller, item)),
    nextCursor: null,
  });

  const domains = async (): Promise<readonly object[]> => {
    const states = new Map((await listDomainStates(db)).map((state) => [state.domain, state]));
    return Promise.all(
      Object.values(context.domains).map(async (domain) => ({
        ...domain,
        id: domain.name,
        domain: domain.name,
        state: states.get(domain.name) ?? (await getDomainState(db, domain.name)),
      })),
    );
  };
  const collections = async (): Promise<readonly object[]> => {
    const [states, open] = await Promise.all([listCollectionStates(db), countOpenDivergences(db)]);
    return Object.values(context.collections).map((collection) => ({
      ...withoutUrls(collection),
      id: collection.name,
      state: states.find((state) => state.collection === collection.name) ?? null,
      diverged: Object.fromEntries(open.filter((count) => count.collection === collection.name).map((count) => [count.status, count.rows])),
    }));
  };
  const replicas = async (): Promise<readonly object[]> => {
    const [states, agents, told, feeds] = await Promise.all([listReplicaStates(db), listAgents(db), listReplicaChanges(db), listFeeds(db)]);
    const changesOf = (collection: string, replica: string): object | null => {
      const one = told.find((each) => each.collection === collection && each.replica === replica);
      const feed = feeds.find((each) => each.source === one?.source);
      return one === undefined ? null : { isTold: one.isTold, says: one.says, feed: feed ?? null };
    };
    return Object.values(context.collections).flatMap((collection) =>
      collection.replicas.map(({ url: _secret, ...replica }) => ({
        ...replica,
        id: `${collection.name}.${replica.id}`,
        replica: replica.id,
        collection: collection.name,
        domain: collection.domain,
        state: states.find((state) => state.collection === collection.name && state.replica === replica.id) ?? null,
        agent: agents.find((agent) => agent.collection === collection.name && agent.replica === replica.id) ?? null,
        changes: changesOf(collection.name, replica.id),
      })),
    );
  };
  const byId = (what: string, find: () => Promise<readonly object[]>): Route =>
    get(`/api/v1/${what}s/{id}`, `One ${what}.`, { answer: noun }, async (call) => {
      const item = (await find()).find((candidate) => (candidate as { readonly id: string }).id === call.params['id']);
      if (item === undefined || !maySee(call.caller, item)) throw notFound(what, call.params['id'] ?? '');
      return item;
    });

  return [
    get('/api/v1/domains', 'Classes of state with one promise each, and whether they are frozen.', { answer: list }, async (call) =>
      everything(await domains(), call.caller),
    ),
    byId('domain', domains),
    get('/api/v1/collections', 'Logical data sets, and how their last comparison went.', { answer: list }, async (call) =>
      everything(await collections(), call.caller),
    ),
    byId('collection', collections),
    get(
      '/api/v1/replicas',
      'Stores that hold a copy, whether they answer, and whether they tell their writes; a gap is when writes went untold and a full scan looked for them.',
      { answer: list },
      async (call) => everything(await replicas(), call.caller),
    ),
    byId('replica', replicas),
    get(
      '/api/v1/measurements',
      'What stores say of themselves: replication lag, consumer lag, waits for locks, deadlocks; the latest of each.',
      { answer: list },
      async (call) => everything(await listMeasurements(db, shownMeasurements), call.caller),
    ),
    get('/api/v1/overview', 'The matrix domains x replicas with what needs attention.', { answer: noun }, async (call) =>
      overview(context, call.caller, counted),
    ),
  ];
}

async function overview(
  context: RuntimeContext,
  caller: Caller,
  counted: (collection: Collection) => Promise<DivergedRows>,
): Promise<object> {
  const db = context.database;
  const collections = Object.values(context.collections).filter((collection) => maySee(caller, collection) && isCompared(collection));
  const [states, replicaStates, collectionStates, proposals, repairCounts, recentRepairs, counters, waiting] = await Promise.all([
    listDomainStates(db),
    listReplicaStates(db),
    listCollectionStates(db),
    countProposals(db),
    countRepairs(db),
    listRepairs(db, {}, { limit: 1000 }),
    listCounters(db),
    listProposals(db, { state: 'waiting' }, { limit: 100 }),
  ]);
  const diverged = await Promise.all(collections.map((collection) => counted(collection)));
  return {
    nowMs: context.clock.nowMs(),
    domains: Object.values(context.domains)
      .filter((domain) => caller.domains === undefined || caller.domains.includes(domain.name))
      .map((domain) => ({ ...domain, state: states.find((state) => state.domain === domain.name) ?? null })),
    collections: collections.map((collection, index) => ({
      name: collection.name,
      domain: collection.domain,
      authority: collection.authority ?? null,
      state: collectionStates.find((state) => state.collection === collection.name) ?? null,
      isLowerBound: diverged[index]?.isLowerBound ?? false,
      replicas: collection.replicas.map((replica) => ({
        id: replica.id,
        region: replica.region,
        role: replica.role,
        engine: replica.engine,
        diverged: diverged[index]?.rows[replica.id] ?? 0,
        state: replicaStates.find((state) => state.collection === collection.name && state.replica === replica.id) ?? null,
      })),
    })),
    proposals: proposals.filter((count) => maySee(caller, count)),
    repairs: repairCounts.filter((count) => maySee(caller, count)),
    recentRepairs: recentRepairs.items.filter((repair) => maySee(caller, repair)),
    waiting: waiting.items.filter((proposal) => maySee(caller, proposal)),
    counters,
  };
}

/** Which replica is wrong, by rows: the ones that differ from the authority, or else from what most replicas hold. */
async function divergedByReplica(context: RuntimeContext, collection: Collection): Promise<DivergedRows> {
  const open = await listOpenDivergences(context.database, collection.name, countedDivergences);
  const rows: Record<string, number> = {};
  for (const divergence of open) {
    if (divergence.status !== 'confirmed') continue;
    const texts = Object.entries(divergence.replicas).map(([replica, row]): readonly [string, string] => [
      replica,
      row === null ? '' : JSON.stringify(Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1))),
    ]);
    const right = rightText(texts, collection.authority);
    for (const [replica, text] of texts) if (text !== right) rows[replica] = (rows[replica] ?? 0) + 1;
  }
  return { rows, isLowerBound: open.length >= countedDivergences };
}

function rightText(texts: readonly (readonly [string, string])[], authority: string | undefined): string | undefined {
  const declared = texts.find(([replica]) => replica === authority);
  if (declared !== undefined) return declared[1];
  const votes = new Map<string, number>();
  for (const [, text] of texts) votes.set(text, (votes.get(text) ?? 0) + 1);
  const [first, second] = [...votes].toSorted((a, b) => b[1] - a[1]);
  // A tie has no right side: every replica is then counted as wrong.
  return first !== undefined && first[1] > (second?.[1] ?? 0) ? first[0] : undefined;
}

function withoutUrls(collection: Collection): object {
  return { ...collection, replicas: collection.replicas.map(({ url: _secret, ...replica }) => replica) };
}
