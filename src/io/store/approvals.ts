import { parseEffectDigest } from '../../domain/effect.ts';
import type { Approval } from '../../guard/approvals.ts';
import type { Queryable } from './database.ts';

interface ApprovalRow {
  proposal_id: string;
  digest: string;
  by_person: string;
  is_human: boolean;
  says: 'approve' | 'reject';
  comment: string;
  at_ms: number;
}

const parseApproval = (row: ApprovalRow): Approval => ({
  proposalId: row.proposal_id,
  digest: parseEffectDigest(row.digest),
  by: row.by_person,
  isHuman: row.is_human,
  is: row.says,
  atMs: row.at_ms,
  ...(row.comment === '' ? {} : { comment: row.comment }),
});

/** Records a decision; a person who decides again changes their own. */
export async function saveApproval(tx: Queryable, approval: Approval): Promise<void> {
  await tx.query(
    `insert into approvals (proposal_id, digest, by_person, is_human, says, comment, at_ms) values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (proposal_id, by_person) do update set digest = $2, is_human = $4, says = $5, comment = $6, at_ms = $7`,
    [approval.proposalId, approval.digest, approval.by, approval.isHuman, approval.is, approval.comment ?? '', approval.atMs],
  );
}

export async function listApprovals(db: Queryable, proposalId: string): Promise<readonly Approval[]> {
  const { rows } = await db.query<ApprovalRow>('select * from approvals where proposal_id = $1 order by seq', [proposalId]);
  return rows.map(parseApproval);
}
