import type { Database, Queryable } from './database.ts';

/** A call that waits for an agent, or is being carried out by one. */
export interface StoredCall {
  readonly id: number;
  readonly method: string;
  readonly purpose: string;
  readonly args: readonly unknown[];
}

export interface CallFailure {
  readonly code: string;
  readonly message: string;
  readonly retry: 'later' | 'never';
}

export interface CallProgress {
  readonly state: 'waiting' | 'taken' | 'done' | 'failed';
  readonly parts: number;
  readonly isLeaseOver: boolean;
  readonly failure: CallFailure | null;
}

export interface AgentState {
  readonly collection: string;
  readonly replica: string;
  readonly version: string;
  readonly seenAtMs: number;
  readonly checksum: { readonly count: number; readonly sum: string } | null;
  readonly checksumAtMs: number | null;
}

/** An agent that was not heard of for this long is away: it calls at least every 10 s. */
const awayAfter = `interval '25 seconds'`;
/** A run that ended is of no use any more. */
const forgotten = `interval '1 hour'`;
/** What an agent does not report on for this long is given to another. */
const lease = `interval '20 seconds'`;
/** A caller that does not come back for this long does not want the answer any more. */
const wanted = `interval '20 seconds'`;

const channel = 'homeostat_agents';

/** Hears `call COLLECTION REPLICA` and `part CALL`; missed ones cost a poll interval. */
export function listenAgents(database: Database, heard: (payload: string) => void): Promise<() => Promise<void>> {
  return database.listen(channel, heard);
}

const notify = (db: Queryable, payload: string): Promise<unknown> => db.query('select pg_notify($1, $2)', [channel, payload]);

export async function addAgentCall(
  db: Queryable,
  call: {
    readonly collection: string;
    readonly replica: string;
    readonly method: string;
    readonly purpose: string;
    readonly args: unknown;
    /** The one agent that can answer; undefined: any that serves the replica. */
    readonly holder: string | undefined;
  },
): Promise<number> {
  const { rows } = await db.query<{ id: number }>(
    `insert into agent_calls (collection, replica, method, purpose, args, holder, wanted_until)
     values ($1, $2, $3, $4, $5, $6, now() + ${wanted}) returning id`,
    [call.collection, call.replica, call.method, call.purpose, JSON.stringify(call.args), call.holder ?? null],
  );
  await notify(db, `call ${call.collection} ${call.replica}`);
  return rows[0]?.id ?? 0;
}

/** Whether an agent serves this replica now: any, or the one that is named. */
export async function isAgentHere(db: Queryable, collection: string, replica: string, agent?: string): Promise<boolean> {
  const { rows } = await db.query(
    `select 1 from agent_runs where collection = $1 and replica = $2 and ($3::text is null or agent = $3) and seen_at > now() - ${awayAfter} limit 1`,
    [collection, replica, agent ?? null],
  );
  return rows.length > 0;
}

/** Where a call stands; says at the same time that its answer is still wanted. Undefined: the call is gone. */
export async function readAgentCall(db: Queryable, id: number): Promise<CallProgress | undefined> {
  const { rows } = await db.query<{ state: CallProgress['state']; parts: number; over: boolean; failure: CallFailure | null }>(
    `update agent_calls set wanted_until = now() + ${wanted} where id = $1
     returning state, parts, coalesce(lease_until < now(), false) as over, failure`,
    [id],
  );
  const [row] = rows;
  return row === undefined ? undefined : { state: row.state, parts: row.parts, isLeaseOver: row.over, failure: row.failure };
}

/** Parts from `from` on, in order; they are forgotten, and the agent may send as many more. */
export async function takeAgentParts(db: Database, id: number, from: number): Promise<readonly unknown[]> {
  return db.transaction(async (tx) => {
    const { rows } = await tx.query<{ seq: number; body: unknown }>(
      'delete from agent_parts where call_id = $1 and seq >= $2 returning seq, body',
      [id, from],
    );
    if (rows.length > 0) await tx.query('update agent_calls set parts_read = $2 where id = $1', [id, from + rows.length]);
    return rows.toSorted((a, b) => a.seq - b.seq).map((row) => row.body);
  });
}

export async function dropAgentCall(db: Queryable, id: number): Promise<void> {
  await db.query('delete from agent_calls where id = $1', [id]);
}

/** Gives a call whose agent went silent before it sent anything to the next agent; false where it has begun to answer. */
export async function offerAgentCallAgain(db: Queryable, id: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `update agent_calls set state = 'waiting', agent = null, lease_until = null
     where id = $1 and state = 'taken' and parts = 0 and lease_until < now()`,
    [id],
  );
  return rowCount === 1;
}

/** An agent takes what waits for its replica, oldest first. What nobody wants any more goes. */
export async function takeAgentCalls(
  db: Database,
  who: { readonly collection: string; readonly replica: string; readonly agent: string },
  limit: number,
): Promise<readonly StoredCall[]> {
  await db.query(`delete from agent_calls where collection = $1 and replica = $2 and wanted_until < now()`, [who.collection, who.replica]);
  const { rows } = await db.query<{ id: number; method: string; purpose: string; args: readonly unknown[] }>(
    `update agent_calls set state = 'taken', agent = $3, lease_until = now() + ${lease} where id in (
       select id from agent_calls where collection = $1 and replica = $2 and state = 'waiting' and (holder is null or holder = $3) order by id limit $4 for update skip locked)
     returning id, method, purpose, args`,
    [who.collection, who.replica, who.agent, limit],
  );
  return rows.toSorted((a, b) => a.id - b.id);
}

/** Renews the leases of what an agent is busy with, and says which of it is not wanted any more. */
export async function renewAgentCalls(db: Queryable, agent: string, ids: readonly number[]): Promise<{ readonly gone: readonly number[] }> {
  if (ids.length === 0) return { gone: [] };
  const { rows } = await db.query<{ id: number }>(
    `update agent_calls set lease_until = now() + ${lease}
     where id = any($2::bigint[]) and agent = $1 and state = 'taken' and wanted_until >= now() returning id`,
    [agent, ids],
  );
  const kept = new Set(rows.map((row) => row.id));
  return { gone: ids.filter((id) => !kept.has(id)) };
}

/** One part of an answer, the end of it, or both. `unread`: parts that nobody has taken yet; undefined: the call is not this agent's. */
export async function giveAgentPart(
  db: Database,
  answer: {
    readonly agent: string;
    readonly call: number;
    readonly seq: number;
    readonly part?: unknown;
    readonly end?: 'done' | 'failed';
    readonly failure?: CallFailure;
  },
): Promise<number | undefined> {
  return db.transaction(async (tx) => {
    const { rows } = await tx.query<{ parts: number; read: number }>(
      `update agent_calls set lease_until = now() + ${lease}, parts = greatest(parts, $3),
         state = coalesce($4, state), failure = coalesce($5, failure)
       where id = $1 and agent = $2 and state = 'taken' and wanted_until >= now()
       returning parts, parts_read as read`,
      [
        answer.call,
        answer.agent,
        answer.part === undefined ? answer.seq : answer.seq + 1,
        answer.end ?? null,
        answer.failure === undefined ? null : JSON.stringify(answer.failure),
      ],
    );
    const [row] = rows;
    if (row === undefined) return undefined;
    // Sent twice (the first answer was lost): the first counts, unless it was read already.
    if (answer.part !== undefined && answer.seq >= row.read)
      await tx.query('insert into agent_parts (call_id, seq, body) values ($1, $2, $3) on conflict do nothing', [
        answer.call,
        answer.seq,
        JSON.stringify(answer.part),
      ]);
    await notify(tx, `part ${answer.call}`);
    return row.parts - row.read;
  });
}

/**
 * An agent was heard of. Several agents of one replica are allowed: they share its calls. True where it sent a checksum that is not the last
 * one: rows have changed since.
 */
export async function saveAgentSeen(
  db: Queryable,
  who: { readonly collection: string; readonly replica: string; readonly agent: string; readonly version: string },
  checksum: { readonly count: number; readonly sum: string } | undefined,
): Promise<boolean> {
  const { rows } = await db.query<{ changed: boolean }>(
    `with before as (select checksum from agents where collection = $1 and replica = $2),
       ended as (delete from agent_runs where collection = $1 and replica = $2 and agent <> $3 and seen_at < now() - ${forgotten}),
       run as (insert into agent_runs (agent, collection, replica, seen_at) values ($3, $1, $2, now())
               on conflict (agent) do update set seen_at = excluded.seen_at)
     insert into agents (collection, replica, agent, version, seen_at, checksum, checksum_at)
     values ($1, $2, $3, $4, now(), $5::jsonb, case when $5::jsonb is null then null else now() end)
     on conflict (collection, replica) do update set agent = excluded.agent, version = excluded.version, seen_at = excluded.seen_at,
       checksum = coalesce(excluded.checksum, agents.checksum), checksum_at = coalesce(excluded.checksum_at, agents.checksum_at)
     returning $5::jsonb is not null and $5::jsonb is distinct from (select checksum from before) as changed`,
    [who.collection, who.replica, who.agent, who.version, checksum === undefined ? null : JSON.stringify(checksum)],
  );
  return rows[0]?.changed === true;
}

export async function listAgents(db: Queryable): Promise<readonly AgentState[]> {
  const { rows } = await db.query<{
    collection: string;
    replica: string;
    version: string;
    seen: number;
    checksum: AgentState['checksum'];
    sent: number | null;
  }>(
    `select collection, replica, version, (extract(epoch from seen_at) * 1000)::bigint as seen, checksum,
       (extract(epoch from checksum_at) * 1000)::bigint as sent from agents order by collection, replica`,
  );
  return rows.map((row) => ({
    collection: row.collection,
    replica: row.replica,
    version: row.version,
    seenAtMs: row.seen,
    checksum: row.checksum,
    checksumAtMs: row.sent,
  }));
}
