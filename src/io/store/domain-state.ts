import type { Queryable } from './database.ts';

/** What people and broken invariants have said about a domain: no row means not frozen, breaker closed. */
export interface DomainState {
  readonly domain: string;
  readonly frozen: boolean;
  readonly frozenBy: string | null;
  readonly frozenReason: string | null;
  readonly frozenAtMs: number | null;
  /** Open: automatic repair of this domain has stopped until a person closes it. */
  readonly breaker: 'closed' | 'open';
  readonly breakerReason: string | null;
  readonly breakerAtMs: number | null;
}

interface StateRow {
  domain: string;
  frozen: boolean;
  frozen_by: string | null;
  frozen_reason: string | null;
  frozen_at_ms: number | null;
  breaker: 'closed' | 'open';
  breaker_reason: string | null;
  breaker_at_ms: number | null;
}

const parseState = (row: StateRow): DomainState => ({
  domain: row.domain,
  frozen: row.frozen,
  frozenBy: row.frozen_by,
  frozenReason: row.frozen_reason,
  frozenAtMs: row.frozen_at_ms,
  breaker: row.breaker,
  breakerReason: row.breaker_reason,
  breakerAtMs: row.breaker_at_ms,
});

function untouched(domain: string): DomainState {
  return {
    domain,
    frozen: false,
    frozenBy: null,
    frozenReason: null,
    frozenAtMs: null,
    breaker: 'closed',
    breakerReason: null,
    breakerAtMs: null,
  };
}

export async function getDomainState(db: Queryable, domain: string): Promise<DomainState> {
  const { rows } = await db.query<StateRow>('select * from domain_state where domain = $1', [domain]);
  return rows[0] === undefined ? untouched(domain) : parseState(rows[0]);
}

/**
 * Reads the state and holds it until the transaction ends: a freeze that comes meanwhile waits, so nothing is applied after a
 * freeze was answered. Shared, so that repairs of one domain do not wait for each other. Behind a freeze that waits they do: those who
 * share a row's lock let others share it before one who waits for all of them, and repairs that overlap would put a freeze off for ever.
 */
export async function holdDomainState(tx: Queryable, domain: string): Promise<DomainState> {
  await tx.query('select pg_advisory_xact_lock_shared(hashtextextended($1, 0))', [gateOf(domain)]);
  await tx.query('insert into domain_state (domain) values ($1) on conflict do nothing', [domain]);
  const { rows } = await tx.query<StateRow>('select * from domain_state where domain = $1 for share', [domain]);
  return rows[0] === undefined ? untouched(domain) : parseState(rows[0]);
}

const gateOf = (domain: string): string => `homeostat freeze ${domain}`;

export async function listDomainStates(db: Queryable): Promise<readonly DomainState[]> {
  const { rows } = await db.query<StateRow>('select * from domain_state order by domain');
  return rows.map(parseState);
}

export async function setFrozen(
  tx: Queryable,
  domain: string,
  frozen: boolean,
  by: string,
  reason: string,
  atMs: number,
): Promise<DomainState> {
  await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [gateOf(domain)]);
  const { rows } = await tx.query<StateRow>(
    `insert into domain_state (domain, frozen, frozen_by, frozen_reason, frozen_at_ms, version) values ($1, $2, $3, $4, $5, 1)
     on conflict (domain) do update set frozen = $2, frozen_by = $3, frozen_reason = $4, frozen_at_ms = $5, version = domain_state.version + 1
     returning *`,
    [domain, frozen, by, reason, atMs],
  );
  return rows[0] === undefined ? untouched(domain) : parseState(rows[0]);
}

export async function setBreaker(
  tx: Queryable,
  domain: string,
  breaker: 'closed' | 'open',
  reason: string,
  atMs: number,
): Promise<DomainState> {
  const { rows } = await tx.query<StateRow>(
    `insert into domain_state (domain, breaker, breaker_reason, breaker_at_ms, version) values ($1, $2, $3, $4, 1)
     on conflict (domain) do update set breaker = $2, breaker_reason = $3, breaker_at_ms = $4, version = domain_state.version + 1
     returning *`,
    [domain, breaker, reason, atMs],
  );
  return rows[0] === undefined ? untouched(domain) : parseState(rows[0]);
}
