/** Reading: every noun as a list and by id. What a person may not see (a domain of others, `pii` values) is left out here, in one place. */
import { z } from 'zod';
import type { Collection } from '../../../domain/collection.ts';
import type { Row } from '../../../domain/row.ts';
import { getAnomaly, listAnomalies } from '../../../io/store/anomalies.ts';
import { listApprovals } from '../../../io/store/approvals.ts';
import { getAuditEntry, listAudit } from '../../../io/store/audit.ts';
import { getCase, listCases } from '../../../io/store/cases.ts';
import { getDivergence, listDivergences, type StoredDivergence } from '../../../io/store/divergences.ts';
import type { Queryable } from '../../../io/store/database.ts';
import { getForecast, listForecasts, type StoredForecast } from '../../../io/store/forecasts.ts';
import { loadLatestSeries } from '../../../io/store/series.ts';
import { getOutcome, listOutcomes } from '../../../io/store/outcomes.ts';
import type { Page, PageRequest } from '../../../io/store/page.ts';
import { getProposal, listProposals, type ProposalSummary, type StoredProposal } from '../../../io/store/proposals.ts';
import { getRepair, listRepairs } from '../../../io/store/repairs.ts';
import { getSuggestion, listSuggestions } from '../../../io/store/suggestions.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import { explainCase } from '../../../runtime/explain-case.ts';
import { traceBack, type TracedCase } from '../../../runtime/trace-back.ts';
import type { Caller } from '../access.ts';
import { refuse } from '../access.ts';
import { ApiError, type Call, get, notFound, type Route } from '../route.ts';

const paging = {
  cursor: z.string().max(64).optional().describe('`nextCursor` of the page before.'),
  limit: z.coerce.number().int().min(1).max(1000).optional().describe('Items a page; 100 by default.'),
};
const text = z.string().max(400).optional();
const noun = z.looseObject({});
const page = z.object({ items: z.array(noun), nextCursor: z.string().nullable() });
/** Divergences of a case that its page shows; the rest is a list away. */
const caseDivergences = 200;
/** Rows whose way is told one by one. */
const tracedRows = 50;
/** Steps of history beside a forecast. */
const shownHistory = 96;

interface HasDomain {
  readonly domain?: string | null;
}

export function nounRoutes(context: RuntimeContext): readonly Route[] {
  const db = context.database;
  const collectionOf = (name: string): Collection | undefined => context.collections[name];

  return [
    ...reader(
      'anomalies',
      'Findings from traces.',
      z.object({ kind: text, grade: text, domain: text, collection: text, objectKey: text, service: text, caseId: text, ...paging }),
      (filter, request) => listAnomalies(db, filter, request),
      (id) => getAnomaly(db, id),
    ),
    ...reader(
      'divergences',
      'Keys whose rows differ between replicas.',
      z.object({ domain: text, collection: text, status: text, is: text, caseId: text, ...paging }),
      (filter, request) => listDivergences(db, filter, request),
      (id) => getDivergence(db, id),
      (item, caller) => hideDivergence(item, collectionOf(item.collection), caller),
    ),
    ...reader(
      'cases',
      'Divergences and findings that share a cause.',
      z.object({ domain: text, collection: text, state: text, ...paging }),
      (filter, request) => listCases(db, filter, request),
      async (id) => {
        const found = await getCase(db, id);
        return found === null ? null : { ...found, trace: await traceOf(context, found) };
      },
    ),
    ...reader(
      'proposals',
      'What waits for people, and what became of it.',
      z.object({
        domain: text,
        collection: text,
        state: text,
        caseId: text,
        strategy: text,
        view: z.enum(['line']).optional().describe('line: only what a line of the queue shows.'),
        awake: z.enum(['true', 'false']).optional().describe('true: leaves out those that are snoozed.'),
        ...paging,
      }),
      ({ awake, view: _view, ...filter }, request) =>
        listProposals(db, { ...filter, awakeAtMs: awake === 'true' ? context.clock.nowMs() : undefined }, request),
      undefined,
      (item, _caller, { view }) => (view === 'line' ? lineOf(item) : item),
    ),
    proposalRoute(context),
    ...reader(
      'repairs',
      'Proposals being carried out, or carried out.',
      z.object({ domain: text, collection: text, state: text, caseId: text, proposalId: text, ...paging }),
      (filter, request) => listRepairs(db, filter, request),
      (id) => getRepair(db, id),
    ),
    ...reader(
      'outcomes',
      'What became of proposals: what calibration learns from.',
      z.object({ domain: text, collection: text, strategy: text, is: text, ...paging }),
      (filter, request) => listOutcomes(db, filter, request),
      (id) => getOutcome(db, id),
    ),
    ...reader(
      'forecasts',
      'Predicted load and contention of key ranges.',
      z.object({ collection: text, metric: text, region: text, bucket: z.coerce.number().int().optional(), ...paging }),
      (filter, request) => listForecasts(db, filter, request),
      (id) => forecastWithHistory(db, id),
    ),
    ...reader(
      'suggestions',
      'Decisions with a replayed gain.',
      z.object({ domain: text, collection: text, kind: text, state: text, ...paging }),
      (filter, request) => listSuggestions(db, filter, request),
      (id) => getSuggestion(db, id),
    ),
    ...reader(
      'audit',
      'The hash chain of everything that was decided and done.',
      z.object({ subject: text, domain: text, action: text, actor: text, ...paging }),
      (filter, request) => listAudit(db, filter, request),
      (id) => (/^\d{1,15}$/.test(id) ? getAuditEntry(db, Number(id)) : Promise.resolve(null)),
    ),
  ];
}

/** What a line of the queue shows of a proposal. A queue of 100,000 is some 40 MB this way, not 200. */
export type ProposalLine = Pick<
  ProposalSummary,
  | 'id'
  | 'caseId'
  | 'domain'
  | 'collection'
  | 'strategy'
  | 'digest'
  | 'state'
  | 'says'
  | 'rows'
  | 'confidence'
  | 'approvalsNeeded'
  | 'author'
  | 'createdAtMs'
  | 'expiresAtMs'
  | 'decidedReason'
> & { readonly chosenBy: string };

function lineOf(item: ProposalSummary): ProposalLine {
  const {
    id,
    caseId,
    domain,
    collection,
    strategy,
    digest,
    state,
    says,
    rows,
    confidence,
    approvalsNeeded,
    author,
    createdAtMs,
    expiresAtMs,
    decidedReason,
  } = item;
  const chosenBy = item.choice.by === 'person' ? item.choice.name : item.choice.by;
  return {
    id,
    caseId,
    domain,
    collection,
    strategy,
    digest,
    state,
    says,
    rows,
    confidence,
    approvalsNeeded,
    author,
    createdAtMs,
    expiresAtMs,
    decidedReason,
    chosenBy,
  };
}

/** Two routes: the list and one item. `show` may hide parts from this caller. */
function reader<Query extends z.ZodObject, Item extends object>(
  name: string,
  says: string,
  query: Query,
  find: (filter: Omit<z.infer<Query>, 'cursor' | 'limit'>, request: PageRequest) => Promise<Page<Item>>,
  one: ((id: string) => Promise<Item | null>) | undefined,
  show: (item: Item, caller: Caller, query: z.infer<Query>) => object = (item) => item,
): readonly Route[] {
  const list = get(`/api/v1/${name}`, `${says} Newest first.`, { query, answer: page }, async (call: Call<z.infer<Query>, undefined>) => {
    const { cursor, limit, ...filter } = call.query as z.infer<Query> & PageRequest;
    let found: Page<Item>;
    try {
      found = await find(filter, { cursor, limit });
    } catch (error) {
      if (error instanceof RangeError) throw new ApiError(400, 'bad-cursor', error.message);
      throw error;
    }
    return {
      items: found.items.filter((item) => maySee(call.caller, item)).map((item) => show(item, call.caller, call.query)),
      nextCursor: found.nextCursor,
    };
  });
  if (one === undefined) return [list];
  return [
    list,
    get(`/api/v1/${name}/{id}`, `One of ${name}.`, { answer: noun }, async (call) => {
      const id = call.params['id'] ?? '';
      const item = await one(id);
      if (item === null || !maySee(call.caller, item)) throw notFound(singular(name), id);
      return show(item, call.caller, query.parse({}));
    }),
  ];
}

/** A forecast beside the points that it was made from; a step without a point is a step in which nothing happened. */
async function forecastWithHistory(db: Queryable, id: string): Promise<(StoredForecast & { readonly history: readonly number[] }) | null> {
  const forecast = await getForecast(db, id);
  if (forecast === null) return null;
  const points = await loadLatestSeries(db, forecast.series, forecast.stepMs, shownHistory);
  const history: number[] = [];
  for (const point of points) {
    const last = points[0]?.atMs ?? point.atMs;
    history[Math.round((point.atMs - last) / forecast.stepMs)] = point.value;
  }
  return { ...forecast, history: Array.from(history, (value) => value ?? 0) };
}

/** From the rows of a case back to the writes that caused it. Ids, versions and times only: no values. */
async function traceOf(context: RuntimeContext, found: { readonly id: string; readonly collection: string }): Promise<TracedCase | null> {
  const collection = context.collections[found.collection];
  if (collection === undefined) return null;
  const members = await listDivergences(context.database, { caseId: found.id }, { limit: caseDivergences });
  const traced = traceBack(members.items, await explainCase(context.database, collection, members.items, context.clock.nowMs()));
  return { says: traced.says, rows: traced.rows.slice(0, tracedRows) };
}

/** One proposal with everything that its page shows: approvals, case, members, cause, repair, timeline. */
function proposalRoute(context: RuntimeContext): Route {
  const db = context.database;
  const query = z.object({
    rows: z.coerce
      .number()
      .int()
      .min(0)
      .max(100_000)
      .optional()
      .describe('Effects to answer with; all by default. The digest names all of them.'),
  });
  return get(
    '/api/v1/proposals/{id}',
    'One proposal with its effects, inverse, verdict, approvals, case, repair and timeline.',
    { query, answer: noun },
    async (call) => {
      const id = call.params['id'] ?? '';
      const proposal = await getProposal(db, id);
      if (proposal === null || !maySee(call.caller, proposal)) throw notFound('proposal', id);
      const [approvals, case_, repairs, members] = await Promise.all([
        listApprovals(db, id),
        getCase(db, proposal.caseId),
        listRepairs(db, { proposalId: id }, { limit: 1 }),
        listDivergences(db, { caseId: proposal.caseId }, { limit: caseDivergences }),
      ]);
      const repair = repairs.items[0] ?? null;
      const subjects = [id, proposal.caseId, ...(repair === null ? [] : [repair.id])];
      const [cause, similar, ...entries] = await Promise.all([
        case_?.cause === null || case_ === null ? Promise.resolve(null) : getAnomaly(db, case_.cause),
        listOutcomes(db, { domain: proposal.domain, collection: proposal.collection, strategy: proposal.strategy }, { limit: 100 }),
        ...subjects.map((subject) => listAudit(db, { subject }, { limit: 100 })),
      ]);
      const collection = context.collections[proposal.collection];
      const shown = call.query.rows ?? proposal.effects.length;
      const cut: StoredProposal = { ...proposal, effects: proposal.effects.slice(0, shown), inverse: proposal.inverse.slice(0, shown) };
      return {
        ...hideProposal(cut, collection, call.caller),
        approvals,
        case: case_,
        cause,
        trace: case_ === null ? null : await traceOf(context, case_),
        repair,
        divergences: members.items.map((item) => hideDivergence(item, collection, call.caller)),
        before: {
          total: similar.items.length,
          verified: similar.items.filter((outcome) => outcome.is === 'verified').length,
          undone: similar.items.filter((outcome) => outcome.is === 'undone').length,
        },
        authority: collection?.authority ?? null,
        columnClasses: collection?.columnClasses ?? {},
        timeline: entries.flatMap((found) => found.items).toSorted((a, b) => a.seq - b.seq),
        nowMs: context.clock.nowMs(),
      };
    },
  );
}

export function maySee(caller: Caller, item: object): boolean {
  const domain = (item as HasDomain).domain;
  return caller.domains === undefined || typeof domain !== 'string' || caller.domains.includes(domain);
}

/** Values of `pii` columns are for those who decide. */
function hideRow(row: Row | null, collection: Collection | undefined): Row | null {
  if (row === null || collection === undefined) return row;
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => [column, value !== null && collection.columnClasses[column] === 'pii' ? '•••' : value]),
  );
}

function hideDivergence(item: StoredDivergence, collection: Collection | undefined, caller: Caller): object {
  if (refuse(caller, 'approver', item.domain) === null) return item;
  return {
    ...item,
    replicas: Object.fromEntries(Object.entries(item.replicas).map(([replica, row]) => [replica, hideRow(row, collection)])),
  };
}

function hideProposal(proposal: StoredProposal, collection: Collection | undefined, caller: Caller): object {
  if (refuse(caller, 'approver', proposal.domain) === null) return proposal;
  const hide = (effects: StoredProposal['effects']): object =>
    effects.map((effect) => ({ ...effect, before: hideRow(effect.before, collection), after: hideRow(effect.after, collection) }));
  return { ...proposal, effects: hide(proposal.effects), inverse: hide(proposal.inverse) };
}

function singular(name: string): string {
  return name.endsWith('ies') ? `${name.slice(0, -3)}y` : name.replace(/s$/, '');
}
