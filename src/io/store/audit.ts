import type { Json } from '../../base/hash.ts';
import { type AuditEntry, nextEntry } from '../../report/audit-chain.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

/** Any number: it names the one lock that orders appends to the chain, across all processes. */
const chainLock = 0x686f6d65;

export interface AuditDraft {
  /** `homeostat`, or a person. */
  readonly actor: string;
  /** `repair.sealed`, `proposal.approved` ... */
  readonly action: string;
  /** Id of the case, proposal, repair or domain. */
  readonly subject: string;
  readonly domain: string | null;
  /** No row values: digests, ids, counts, sentences. */
  readonly facts: Json;
}

export interface AuditFilter {
  readonly subject?: string | undefined;
  readonly domain?: string | undefined;
  readonly action?: string | undefined;
  readonly actor?: string | undefined;
}

interface AuditRow {
  seq: number;
  record: string;
}

const parseEntry = (row: AuditRow): AuditEntry => JSON.parse(row.record) as AuditEntry;

/**
 * Appends to the chain, in the transaction of what it records. The lock is held until that transaction ends, so append last:
 * nothing slow may follow.
 */
export async function appendAudit(tx: Queryable, draft: AuditDraft, nowMs: number): Promise<AuditEntry> {
  await tx.query('select pg_advisory_xact_lock($1)', [chainLock]);
  const { rows } = await tx.query<{ seq: number; hash: string }>('select seq, hash from audit order by seq desc limit 1');
  const entry = nextEntry(rows[0] ?? null, {
    at: new Date(nowMs).toISOString(),
    actor: draft.actor,
    action: draft.action,
    subject: draft.subject,
    facts: draft.facts,
  });
  await tx.query('insert into audit (seq, at_ms, actor, action, domain, subject, record, hash) values ($1, $2, $3, $4, $5, $6, $7, $8)', [
    entry.seq,
    nowMs,
    draft.actor,
    draft.action,
    draft.domain,
    draft.subject,
    JSON.stringify(entry),
    entry.hash,
  ]);
  return entry;
}

export async function listAudit(db: Queryable, filter: AuditFilter, request: PageRequest): Promise<Page<AuditEntry>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<AuditRow>(
    `select seq, record from audit
      where ($1::text is null or subject = $1) and ($2::text is null or domain = $2) and ($3::text is null or action = $3) and ($4::text is null or actor = $4)
        and seq < $5
      order by seq desc limit $6`,
    [filter.subject, filter.domain, filter.action, filter.actor, before, fetch],
  );
  return toPage(rows, limit, parseEntry);
}

/** The chain from its beginning, in order, read in batches: for verification and export. */
export async function* readAuditChain(db: Queryable, afterSeq = -1): AsyncGenerator<AuditEntry> {
  const batchRows = 1_000;
  for (let last = afterSeq; ; ) {
    const { rows } = await db.query<AuditRow>('select seq, record from audit where seq > $1 order by seq limit $2', [last, batchRows]);
    for (const row of rows) yield parseEntry(row);
    const end = rows.at(-1);
    if (end === undefined || rows.length < batchRows) return;
    last = end.seq;
  }
}

export async function getAuditEntry(db: Queryable, seq: number): Promise<AuditEntry | null> {
  const { rows } = await db.query<AuditRow>('select seq, record from audit where seq = $1', [seq]);
  return rows[0] === undefined ? null : parseEntry(rows[0]);
}
