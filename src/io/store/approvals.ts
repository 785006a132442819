import type { EffectDigest } from '../../domain/effect.ts';
import type { Queryable } from './database.ts';

/** What one person said of one proposal, and of which effects. */
export interface Approval {
  readonly proposalId: string;
  readonly digest: string;
  readonly by: string;
  readonly says: 'approve' | 'reject';
  readonly comment: string;
  readonly atMs: number;
}

interface ApprovalRow {
  proposal_id: string;
  digest: string;
  by_person: string;
  says: 'approve' | 'reject';
  comment: string;
  at_ms: number;
}

const parseApproval = (row: ApprovalRow): Approval => ({
  proposalId: row.proposal_id,
  digest: row.digest,
  by: row.by_person,
  says: row.says,
  comment: row.comment,
  atMs: row.at_ms,
});

/** Records a decision; a person who decides again changes their own. */
export async function saveApproval(
  tx: Queryable,
  approval: {
    readonly proposalId: string;
    readonly digest: EffectDigest;
    readonly by: string;
    readonly says: 'approve' | 'reject';
    readonly comment: string;
    readonly atMs: number;
  },
): Promise<void> {
  await tx.query(
    `insert into approvals (proposal_id, digest, by_person, says, comment, at_ms) values ($1, $2, $3, $4, $5, $6)
     on conflict (proposal_id, by_person) do update set digest = $2, says = $4, comment = $5, at_ms = $6`,
    [approval.proposalId, approval.digest, approval.by, approval.says, approval.comment, approval.atMs],
  );
}

export async function listApprovals(db: Queryable, proposalId: string): Promise<readonly Approval[]> {
  const { rows } = await db.query<ApprovalRow>('select * from approvals where proposal_id = $1 order by seq', [proposalId]);
  return rows.map(parseApproval);
}
