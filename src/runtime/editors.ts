import type { Proposal } from '../domain/proposal.ts';
import type { Queryable } from '../io/store/database.ts';
import { listEarlierAuthors } from '../io/store/proposals.ts';

/** People who wrote this proposal or a version that it was edited from: none of them approves it. */
export async function editorsOf(db: Queryable, proposal: Proposal): Promise<readonly string[]> {
  const authors = await listEarlierAuthors(db, proposal.id);
  return [...new Set([proposal.author, ...authors])].filter((author) => author !== 'homeostat');
}
