import type { Json } from '../base/hash.ts';
import type { EffectDigest } from '../domain/effect.ts';
import { parseEffectDigest } from '../domain/effect.ts';
import type { Key, Row } from '../domain/row.ts';
import { advance } from '../apply/advance.ts';
import { planBatches } from '../apply/plan.ts';
import { planUndo } from '../apply/undo.ts';
import { weighApproval } from '../guard/approvals.ts';
import { decide } from '../guard/verdict.ts';
import { listApprovals, saveApproval } from '../io/store/approvals.ts';
import { appendAudit } from '../io/store/audit.ts';
import { makeCasesDue, moveCase, reopenCase } from '../io/store/cases.ts';
import type { Queryable } from '../io/store/database.ts';
import { listCaseDivergences } from '../io/store/divergences.ts';
import { getDomainState, setFrozen } from '../io/store/domain-state.ts';
import { publishEvent } from '../io/store/events.ts';
import { appendOutbox } from '../io/store/outbox.ts';
import {
  getProposal,
  insertProposal,
  lockProposal,
  moveProposal,
  type ProposalState,
  snoozeProposal as storeSnooze,
  type StoredProposal,
} from '../io/store/proposals.ts';
import { beginUndo, lockRepair, makeRepairsDue } from '../io/store/repairs.ts';
import { askForScan } from '../io/store/scans.ts';
import { editProposal as buildEdited } from '../propose/proposal.ts';
import type { Situation } from '../propose/strategy.ts';
import { tellBreaker } from './breaker.ts';
import { endProposal } from './close-case.ts';
import { compareKeys } from './compare.ts';
import type { RuntimeContext } from './context.ts';
import { editorsOf } from './editors.ts';
import { readGuardFacts } from './guard-facts.ts';
import { planRepair } from './propose-worker.ts';

/** What a person's decision came to. Nothing happened unless it is `done`. */
export type Decision =
  | {
      readonly is: 'done';
      readonly state: ProposalState | 'undoing' | 'ok';
      readonly have: number;
      readonly need: number;
      readonly repairId: string | null;
      readonly proposalId: string;
    }
  | { readonly is: 'not-found' }
  /** The thing is not what the person saw any more. */
  | { readonly is: 'conflict'; readonly says: string; readonly digest?: string }
  | { readonly is: 'refused'; readonly rule: string; readonly says: string }
  | { readonly is: 'invalid'; readonly says: string };

/** A repair that waits longer than this for a person who snoozed it is not waiting, it is forgotten. */
const snoozeLimitMs = 30 * 24 * 3_600_000;

export function approveProposal(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string; readonly by: string; readonly comment?: string },
): Promise<Decision> {
  return decideProposal(context, id, { ...input, is: 'approve' });
}

export function rejectProposal(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string; readonly by: string; readonly reason: string },
): Promise<Decision> {
  return decideProposal(context, id, { digest: input.digest, by: input.by, comment: input.reason, is: 'reject' });
}

async function decideProposal(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string; readonly by: string; readonly comment?: string; readonly is: 'approve' | 'reject' },
): Promise<Decision> {
  return context.database.transaction(async (tx) => {
    const seen = await lockSeen(tx, id, input.digest);
    if (seen.is !== 'seen') return seen;
    const { proposal, digest } = seen;
    const nowMs = context.clock.nowMs();
    const approval = {
      proposalId: id,
      digest,
      by: input.by,
      isHuman: true,
      is: input.is,
      atMs: nowMs,
      ...(input.comment === undefined || input.comment === '' ? {} : { comment: input.comment }),
    };
    const weighed = weighApproval({
      proposal,
      verdict: proposal.verdict,
      given: await listApprovals(tx, id),
      approval,
      nowMs,
      editors: await editorsOf(tx, proposal),
    });
    if (weighed.is === 'refused') {
      return weighed.status === 409
        ? { is: 'conflict', says: weighed.says, digest: proposal.digest }
        : { is: 'refused', rule: weighed.rule, says: weighed.says };
    }
    if (weighed.state.is === 'approved') {
      // A freeze that was answered before is seen here; the executor asks again.
      const domain = await getDomainState(tx, proposal.domain);
      if (domain.frozen)
        return {
          is: 'refused',
          rule: 'frozen',
          says: `${proposal.domain} is frozen (${domain.frozenReason ?? 'by a person'}): unfreeze it first.`,
        };
    }
    if (weighed.state.is === 'denied')
      return { is: 'refused', rule: weighed.state.rule, says: 'The guard denies it: no approval can release it.' };
    await saveApproval(tx, approval);
    const facts: Json = { digest: proposal.digest, case: proposal.caseId, comment: input.comment ?? '' };
    switch (weighed.state.is) {
      case 'rejected':
        await endProposal(tx, proposal, 'rejected', input.by, input.comment ?? '', nowMs);
        // A person said no: the same thing is not proposed to them again a second later.
        await reopenCase(
          tx,
          proposal.caseId,
          `Rejected by ${input.by}${input.comment ? `: ${input.comment}` : ''}.`,
          nowMs + rejectedRestMs,
          nowMs,
        );
        return done(proposal, 'rejected', 0, proposal.approvalsNeeded, null);
      case 'approved': {
        await moveProposal(tx, id, ['waiting'], 'planned', null, nowMs);
        await moveCase(tx, proposal.caseId, ['open', 'proposed', 'waiting'], 'repairing', nowMs);
        const repairId = await planRepair(context, tx, proposal, weighed.state.by, false, nowMs);
        await publishEvent(tx, { kind: 'proposal', id, domain: proposal.domain, state: 'planned' });
        await appendAudit(
          tx,
          {
            actor: input.by,
            action: 'proposal.approved',
            subject: id,
            domain: proposal.domain,
            facts: { ...facts, repair: repairId, approvedBy: weighed.state.by },
          },
          nowMs,
        );
        return done(proposal, 'planned', weighed.state.by.length, proposal.approvalsNeeded, repairId);
      }
      case 'waiting':
        await publishEvent(tx, { kind: 'proposal', id, domain: proposal.domain, state: 'waiting' });
        await appendAudit(
          tx,
          {
            actor: input.by,
            action: 'proposal.approved',
            subject: id,
            domain: proposal.domain,
            facts: { ...facts, have: weighed.state.have, need: weighed.state.need },
          },
          nowMs,
        );
        return done(proposal, 'waiting', weighed.state.have, weighed.state.need, null);
      case 'expired':
        return { is: 'conflict', says: 'The proposal has expired.', digest: proposal.digest };
      default:
        return weighed.state satisfies never;
    }
  });
}

/** How long a rejected case rests before it is proposed again. */
const rejectedRestMs = 3_600_000;

export async function snoozeProposal(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string; readonly by: string; readonly untilMs: number },
): Promise<Decision> {
  const nowMs = context.clock.nowMs();
  if (!(input.untilMs > nowMs && input.untilMs <= nowMs + snoozeLimitMs))
    return { is: 'invalid', says: 'Snooze for between a minute and 30 days.' };
  return context.database.transaction(async (tx) => {
    const seen = await lockSeen(tx, id, input.digest);
    if (seen.is !== 'seen') return seen;
    await storeSnooze(tx, id, Math.trunc(input.untilMs), nowMs);
    await publishEvent(tx, { kind: 'proposal', id, domain: seen.proposal.domain, state: 'waiting' });
    await appendAudit(
      tx,
      {
        actor: input.by,
        action: 'proposal.snoozed',
        subject: id,
        domain: seen.proposal.domain,
        facts: { until: new Date(input.untilMs).toISOString() },
      },
      nowMs,
    );
    return done(seen.proposal, 'waiting', 0, seen.proposal.approvalsNeeded, null);
  });
}

/** A person's own rows: a new proposal with its own digest takes the old one's place and waits for somebody else's approval. */
export async function editProposal(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string; readonly by: string; readonly rows: readonly { readonly key: Key; readonly row: Row | null }[] },
): Promise<Decision> {
  const { database, clock } = context;
  const before = await getProposal(database, id);
  if (before === null) return { is: 'not-found' };
  const collection = context.collections[before.collection];
  const domain = context.domains[before.domain];
  if (collection === undefined || domain === undefined)
    return { is: 'invalid', says: `The configuration has no collection ${before.collection} any more.` };
  const members = (await listCaseDivergences(database, before.caseId)).filter((member) => member.status === 'confirmed');
  const wantedKeys = new Set(before.effects.map((effect) => JSON.stringify(collection.key.map((column) => effect.key[column]))));
  const keys = members
    .map((member) => member.key)
    .filter((key) => wantedKeys.has(JSON.stringify(collection.key.map((column) => key[column]))));
  const connections = await context.replicas.connections(collection.name);
  const fresh = await compareKeys({ collection, connections, keys, clock, signal: AbortSignal.timeout(30_000) });
  const situation: Situation = {
    collection,
    domain,
    shape: fresh.shape,
    divergences: fresh.divergences.map((divergence) => ({ ...divergence, status: 'confirmed' })),
    writes: [],
    nowMs: clock.nowMs(),
  };
  const edited = buildEdited({ proposal: before, id: '', situation, wanted: input.rows, author: input.by, nowMs: clock.nowMs() });
  if (edited.is === 'refused') return { is: 'invalid', says: edited.because };
  return database.transaction(async (tx) => {
    const seen = await lockSeen(tx, id, input.digest);
    if (seen.is !== 'seen') return seen;
    const facts = await readGuardFacts(context, tx, { proposal: edited.proposal, isConfirmed: true, caseReturns: 0 });
    const verdict = decide(facts, context.policies);
    if (verdict.is === 'deny') {
      const rule = verdict.rules.find(({ effect }) => effect === 'denies');
      return { is: 'refused', rule: rule?.id ?? 'deny', says: rule?.reason ?? 'The guard denies it.' };
    }
    const nowMs = clock.nowMs();
    // The old one gives up its place before the new one takes it: a case has one live proposal.
    await moveProposal(tx, id, ['waiting'], 'superseded', `edited by ${input.by}`, nowMs);
    const need = verdict.is === 'review' ? verdict.approvals : Math.max(1, domain.repair.approvals);
    const newId = await insertProposal(tx, edited.proposal, verdict, 'waiting', need);
    if (newId === null) throw new Error(`the case of ${id} got another proposal meanwhile`);
    await moveProposal(tx, id, ['superseded'], 'superseded', null, nowMs, newId);
    await publishEvent(tx, { kind: 'proposal', id: newId, domain: before.domain, state: 'waiting' });
    await appendAudit(
      tx,
      {
        actor: input.by,
        action: 'proposal.edited',
        subject: newId,
        domain: before.domain,
        facts: { before: id, digestBefore: before.digest, digest: edited.proposal.digest, rows: edited.proposal.effects.length },
      },
      nowMs,
    );
    return { is: 'done', state: 'waiting', have: 0, need, repairId: null, proposalId: newId };
  });
}

/** Undo of a sealed repair, within its window: by compare-and-set on our own after-image, carried out by the workers. */
export async function requestUndo(
  context: RuntimeContext,
  repairId: string,
  input: { readonly by: string; readonly reason: string },
): Promise<Decision> {
  return context.database.transaction(async (tx) => {
    const repair = await lockRepair(tx, repairId);
    if (repair === null) return { is: 'not-found' };
    const proposal = await getProposal(tx, repair.proposalId);
    if (proposal === null) return { is: 'not-found' };
    const nowMs = context.clock.nowMs();
    const plan = planUndo(proposal, repair, nowMs);
    if (plan.is === 'refused') return { is: 'conflict', says: plan.because };
    const state = await getDomainState(tx, repair.domain);
    if (state.frozen)
      return {
        is: 'refused',
        rule: 'frozen',
        says: `${repair.domain} is frozen (${state.frozenReason ?? 'by a person'}): unfreeze it first.`,
      };
    const batches = planBatches(proposal.effects);
    const canaries = batches.filter((batch) => batch.isCanary).length;
    const advanced = advance(
      { state: repair.state, batch: repair.batch, batches: batches.length, canaries },
      { is: 'undo-requested', by: input.by },
    );
    if (advanced.is === 'ignored') return { is: 'conflict', says: advanced.because };
    await beginUndo(tx, repairId, advanced.progress.batch, input.by, input.reason, nowMs);
    await appendOutbox(tx, 'repair', repairId, nowMs);
    await publishEvent(tx, { kind: 'repair', id: repairId, domain: repair.domain, state: 'undoing' });
    await appendAudit(
      tx,
      {
        actor: input.by,
        action: 'repair.undo-requested',
        subject: repairId,
        domain: repair.domain,
        facts: { reason: input.reason, digest: plan.digest, of: repair.digest },
      },
      nowMs,
    );
    return { is: 'done', state: 'undoing', have: 0, need: 0, repairId, proposalId: proposal.id };
  });
}

export async function setDomainFrozen(
  context: RuntimeContext,
  domain: string,
  input: { readonly frozen: boolean; readonly by: string; readonly reason: string },
): Promise<Decision> {
  if (context.domains[domain] === undefined) return { is: 'not-found' };
  return context.database.transaction(async (tx) => {
    const nowMs = context.clock.nowMs();
    await setFrozen(tx, domain, input.frozen, input.by, input.reason, nowMs);
    await publishEvent(tx, { kind: 'domain', id: domain, domain, state: input.frozen ? 'frozen' : 'unfrozen' });
    if (!input.frozen) await wakeDomain(tx, domain, nowMs);
    await appendAudit(
      tx,
      {
        actor: input.by,
        action: input.frozen ? 'domain.frozen' : 'domain.unfrozen',
        subject: domain,
        domain,
        facts: { reason: input.reason },
      },
      nowMs,
    );
    return ok();
  });
}

export async function closeBreaker(
  context: RuntimeContext,
  domain: string,
  input: { readonly by: string; readonly reason: string },
): Promise<Decision> {
  if (context.domains[domain] === undefined) return { is: 'not-found' };
  return context.database.transaction(async (tx) => {
    await wakeDomain(tx, domain, context.clock.nowMs());
    const isClosed = await tellBreaker(tx, domain, { is: 'closed-by', person: input.by }, input.by, context.clock.nowMs());
    return isClosed ? ok() : { is: 'conflict', says: `The breaker of ${domain} is closed already.` };
  });
}

/** What waited because the domain stood still goes on now, not at its next try. */
async function wakeDomain(tx: Queryable, domain: string, nowMs: number): Promise<void> {
  for (const id of await makeRepairsDue(tx, domain)) await appendOutbox(tx, 'repair', id, nowMs);
  for (const id of await makeCasesDue(tx, domain)) await appendOutbox(tx, 'propose', id, nowMs);
}

/** A comparison as soon as a worker is free. */
export async function requestScan(context: RuntimeContext, collection: string, input: { readonly by: string }): Promise<Decision> {
  if (context.collections[collection] === undefined) return { is: 'not-found' };
  await askForScan(context.database, collection, context.clock.nowMs());
  context.log('info', `${input.by} asked for a comparison of ${collection}`, { collection });
  return ok();
}

/** The proposal that the person looked at, locked; or why it is not that any more. */
async function lockSeen(
  tx: Queryable,
  id: string,
  digestText: string,
): Promise<Exclude<Decision, { is: 'done' }> | { readonly is: 'seen'; readonly proposal: StoredProposal; readonly digest: EffectDigest }> {
  let digest: EffectDigest;
  try {
    digest = parseEffectDigest(digestText);
  } catch (error) {
    return { is: 'invalid', says: error instanceof Error ? error.message : String(error) };
  }
  const proposal = await lockProposal(tx, id);
  if (proposal === null) return { is: 'not-found' };
  if (proposal.digest !== digest)
    return { is: 'conflict', says: 'The proposal is not the one that you saw: look at it again.', digest: proposal.digest };
  if (proposal.state !== 'waiting')
    return { is: 'conflict', says: `The proposal is not waiting any more: it is ${proposal.state}.`, digest: proposal.digest };
  return { is: 'seen', proposal, digest };
}

function done(proposal: StoredProposal, state: ProposalState, have: number, need: number, repairId: string | null): Decision {
  return { is: 'done', state, have, need, repairId, proposalId: proposal.id };
}

function ok(): Decision {
  return { is: 'done', state: 'ok', have: 0, need: 0, repairId: null, proposalId: '' };
}
