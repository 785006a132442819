import { InvariantError } from '../base/assert.ts';
import { canonicalJson, type Json } from '../base/hash.ts';
import type { Collection } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';
import type { Proposal } from '../domain/proposal.ts';
import { type Key, keyText } from '../domain/row.ts';
import { rowDigest } from '../domain/row-encoding.ts';
import type { Verdict } from '../domain/verdict.ts';
import { decide } from '../guard/verdict.ts';
import { chooseWithModel } from '../io/llm/choose.ts';
import { linkAnomaly } from '../io/store/anomalies.ts';
import { appendAudit } from '../io/store/audit.ts';
import { getCase, lockCase, moveCase, noteCase, reopenCase, setCaseCause, setCaseOrigin, type StoredCase } from '../io/store/cases.ts';
import { listCaseDivergences, resolveCaseKeys, type StoredDivergence } from '../io/store/divergences.ts';
import { publishEvent } from '../io/store/events.ts';
import { addTokensSpent, getTokensSpent } from '../io/store/llm-spend.ts';
import { appendOutbox } from '../io/store/outbox.ts';
import { getLiveProposalOfCase, getProposal, insertProposal, listDeniedDigests } from '../io/store/proposals.ts';
import { insertRepair } from '../io/store/repairs.ts';
import { proposeCandidates } from '../propose/candidates.ts';
import { buildProposal } from '../propose/proposal.ts';
import { rankCandidates } from '../propose/rank.ts';
import type { Situation } from '../propose/strategy.ts';
import { stopDomain, tellBreaker } from './breaker.ts';
import { closeEmptyCase, endProposal } from './close-case.ts';
import { compareKeys } from './compare.ts';
import type { RuntimeContext } from './context.ts';
import { explainCase } from './explain-case.ts';
import { readCalibration, readGuardFacts } from './guard-facts.ts';
import { recordFound } from './scan-loop.ts';
import { originOfCase, traceBack } from './trace-back.ts';

/** Keys of one proposal: what a person can look through and a transaction can hold; the rest of a case comes after it. */
const keysPerProposal = 2_000;
/** A case that nobody can propose for is looked at again after this, doubled each time, at most {@link retryLimitMs}. */
const retryMs = 5_000;
const retryLimitMs = 600_000;

/** One case, from its divergences to a proposal with its verdict. Running it twice gives one proposal. */
export async function proposeForCase(context: RuntimeContext, caseId: string, signal: AbortSignal): Promise<void> {
  const found = await getCase(context.database, caseId);
  if (found === null || found.state === 'closed' || found.state === 'repairing') return;
  try {
    await propose(context, found, signal);
  } catch (error) {
    if (!(error instanceof InvariantError)) throw error;
    await stopDomain(context, found.domain, error.message);
    await reopen(context, found, `Not proposed: ${error.message}.`);
  }
}

async function propose(context: RuntimeContext, found: StoredCase, signal: AbortSignal): Promise<void> {
  const { database, clock } = context;
  const collection = context.collections[found.collection];
  const domain = context.domains[found.domain];
  if (collection === undefined || domain === undefined) {
    await reopen(context, found, `The configuration has no collection ${found.collection} any more.`);
    return;
  }
  const members = (await listCaseDivergences(database, found.id, keysPerProposal)).filter((member) => member.status === 'confirmed');
  if (members.length === 0) {
    await database.transaction((tx) => closeEmptyCase(tx, found.id, 'gone', clock.nowMs()));
    return;
  }
  const connections = await context.replicas.connections(collection.name);
  const fresh = await compareKeys({ collection, connections, keys: members.map((member) => member.key), clock, signal });
  const current = await keepConfirmed(context, collection, found, members, fresh);
  const live = await getLiveProposalOfCase(database, found.id);
  if (live?.state === 'planned') return;
  if (live?.state === 'waiting') {
    const proposal = await getProposal(database, live.id);
    if (proposal !== null && isStillTrue(proposal, current, fresh.shape)) return;
    await database.transaction((tx) => endProposal(tx, live, 'stale', 'homeostat', 'a row changed since it was read', clock.nowMs()));
  }
  if (current.length === 0) {
    await database.transaction((tx) => closeEmptyCase(tx, found.id, 'gone', clock.nowMs()));
    return;
  }
  const explained = await explainCase(database, collection, current, clock.nowMs());
  const { writes, cause } = explained;
  const origin = originOfCase(traceBack(current, explained));
  if (origin !== null) await setCaseOrigin(database, found.id, origin);
  if (cause !== undefined) {
    await setCaseCause(database, found.id, cause.fingerprint);
    await linkAnomaly(database, cause.fingerprint, found.id);
  }
  const situation: Situation = {
    collection,
    domain,
    shape: fresh.shape,
    divergences: current,
    writes,
    nowMs: clock.nowMs(),
    ...(cause === undefined ? {} : { cause }),
  };
  const { candidates, notMine } = proposeCandidates(situation);
  const ranked = rankCandidates(situation, candidates, await readCalibration(database, found.domain));
  if (ranked.length === 0) {
    const reasons = notMine.map(({ strategy, because }) => `${strategy}: ${because}`).join('; ');
    await reopen(context, found, `No strategy is sure. ${reasons}.`);
    return;
  }
  const day = new Date(clock.nowMs()).toISOString().slice(0, 10);
  const llm = domain.llm.enabled ? context.llm : undefined;
  const tokensLeft = llm === undefined ? 0 : domain.llm.tokensPerDay - (await getTokensSpent(database, domain.name, day));
  const { chosen, choice, tokens, note } = await chooseWithModel({
    llm,
    template: context.promptTemplate,
    situation,
    ranked,
    hmacKey: context.hmacKey,
    tokensLeft,
    signal,
  });
  if (tokens > 0) await addTokensSpent(database, domain.name, day, tokens);
  // The store gives the id; nothing that is hashed or approved depends on it.
  const proposal = buildProposal({
    id: '',
    caseId: found.id,
    situation,
    ranked,
    chosen,
    choice,
    author: 'homeostat',
    nowMs: clock.nowMs(),
  });
  await planProposal(context, found, proposal, note);
}

/**
 * Keys whose rows are still those that were confirmed. Keys that are equal now are closed; keys that changed are recorded as
 * suspected again, so that lag is not repaired, and come back once another look has confirmed them.
 */
async function keepConfirmed(
  context: RuntimeContext,
  collection: Collection,
  found: StoredCase,
  members: readonly StoredDivergence[],
  fresh: { readonly divergences: readonly Divergence[]; readonly equalKeys: readonly Key[] },
): Promise<readonly Divergence[]> {
  const text = (key: Key): string => keyText(collection.key, key);
  const confirmed = new Map(members.map((member) => [text(member.key), member]));
  const current: Divergence[] = [];
  const changed: Divergence[] = [];
  for (const divergence of fresh.divergences) {
    const before = confirmed.get(text(divergence.key));
    if (before === undefined) continue;
    const isSame = canonicalJson(before.replicas as Json) === canonicalJson(divergence.replicas as Json);
    if (isSame) current.push({ ...divergence, status: 'confirmed', firstSeenMs: before.firstSeenMs });
    else changed.push({ ...divergence, status: 'suspected' });
  }
  if (fresh.equalKeys.length > 0 || changed.length > 0) {
    await context.database.transaction(async (tx) => {
      const nowMs = context.clock.nowMs();
      await resolveCaseKeys(tx, found.id, fresh.equalKeys.map(text), 'gone', nowMs);
      await recordFound(tx, collection, changed, 0, nowMs);
    });
    context.lookAgain?.(
      collection.name,
      changed.map(({ key }) => key),
    );
  }
  return current;
}

/** Whether every row that the proposal expects is still as it was read. */
function isStillTrue(proposal: Proposal, current: readonly Divergence[], shape: Situation['shape']): boolean {
  const rows = new Map(current.map((divergence) => [keyText(shape.key, divergence.key), divergence.replicas]));
  return proposal.effects.every((effect) => {
    const replicas = rows.get(keyText(shape.key, effect.key));
    if (replicas === undefined) return false;
    const row = replicas[effect.replica] ?? null;
    return (row === null ? null : rowDigest(shape, row)) === effect.expects;
  });
}

/** The verdict, and what follows from it, in one transaction: a repair and its bell, a wait for people, or a denial on record. */
async function planProposal(context: RuntimeContext, found: StoredCase, proposal: Proposal, note: string | null): Promise<void> {
  const { database, clock, metrics } = context;
  const verdict = await database.transaction(async (tx): Promise<Verdict | null> => {
    const held = await lockCase(tx, found.id);
    if (held === null || held.state === 'closed' || held.state === 'repairing') return null;
    const facts = await readGuardFacts(context, tx, { proposal, isConfirmed: true, caseReturns: held.returns });
    const said = decide(facts, context.policies);
    const nowMs = clock.nowMs();
    if (said.is === 'deny') {
      const denial = said.rules.find((rule) => rule.effect === 'denies');
      // The same denial is not written again each time the case is looked at.
      if (!(await listDeniedDigests(tx, found.id)).includes(proposal.digest)) {
        const id = await insertProposal(tx, proposal, said, 'denied', 0);
        await publishEvent(tx, { kind: 'proposal', id: id ?? '', domain: found.domain, state: 'denied' });
        await reopenCase(tx, found.id, `Denied: ${denial?.reason ?? 'the guard denies it'}`, nowMs + retryOf(held.attempts), nowMs);
        await auditProposal(tx, { ...proposal, id: id ?? '' }, said, note, nowMs);
      } else {
        await reopenCase(tx, found.id, `Denied: ${denial?.reason ?? 'the guard denies it'}`, nowMs + retryOf(held.attempts), nowMs);
      }
      return said;
    }
    const isAuto = said.is === 'auto';
    const id = await insertProposal(tx, proposal, said, isAuto ? 'planned' : 'waiting', said.is === 'review' ? said.approvals : 0);
    if (id === null) return null;
    await moveCase(tx, found.id, ['open', 'proposed', 'waiting'], isAuto ? 'repairing' : 'waiting', nowMs);
    await noteCase(tx, found.id, null);
    if (isAuto) await planRepair(context, tx, { ...proposal, id }, [], true, nowMs);
    await publishEvent(tx, { kind: 'proposal', id, domain: found.domain, state: isAuto ? 'planned' : 'waiting' });
    await auditProposal(tx, { ...proposal, id }, said, note, nowMs);
    if (held.returns >= 2)
      await tellBreaker(
        tx,
        found.domain,
        { is: 'case-returned', caseId: found.id, times: held.returns, cause: held.cause },
        'homeostat',
        nowMs,
      );
    return said;
  });
  if (verdict !== null) metrics.count('homeostat_proposals_total', { domain: found.domain, verdict: verdict.is });
}

/** A repair of a proposal that may run, with the bell for the workers, in the caller's transaction. */
export async function planRepair(
  context: RuntimeContext,
  tx: Parameters<typeof insertRepair>[0],
  proposal: Proposal,
  approvedBy: readonly string[],
  automatic: boolean,
  nowMs: number,
): Promise<string> {
  const undoHours = context.domains[proposal.domain]?.repair.undoHours ?? 0;
  const id = await insertRepair(
    tx,
    {
      proposalId: proposal.id,
      caseId: proposal.caseId,
      domain: proposal.domain,
      collection: proposal.collection,
      digest: proposal.digest,
      rows: proposal.effects.length,
      automatic,
      approvedBy,
      undoUntilMs: nowMs + undoHours * 3_600_000,
    },
    nowMs,
  );
  await appendOutbox(tx, 'repair', id, nowMs);
  await publishEvent(tx, { kind: 'repair', id, domain: proposal.domain, state: 'planned' });
  return id;
}

async function auditProposal(
  tx: Parameters<typeof insertRepair>[0],
  proposal: Proposal,
  verdict: Verdict,
  note: string | null,
  nowMs: number,
): Promise<void> {
  await appendAudit(
    tx,
    {
      actor: proposal.author,
      action: verdict.is === 'deny' ? 'proposal.denied' : 'proposal.made',
      subject: proposal.id,
      domain: proposal.domain,
      facts: {
        case: proposal.caseId,
        digest: proposal.digest,
        strategy: proposal.strategy,
        rows: proposal.effects.length,
        confidence: proposal.confidence,
        verdict: verdict.is,
        rules: verdict.rules.map((rule) => rule.id),
        choice: proposal.choice as unknown as Json,
        ...(note === null ? {} : { note }),
      },
    },
    nowMs,
  );
}

function retryOf(attempts: number): number {
  return Math.min(retryLimitMs, retryMs * 2 ** Math.min(attempts, 16));
}

async function reopen(context: RuntimeContext, found: StoredCase, note: string): Promise<void> {
  const nowMs = context.clock.nowMs();
  await context.database.transaction(async (tx) => {
    await reopenCase(tx, found.id, note, nowMs + retryOf(found.attempts), nowMs);
    await publishEvent(tx, { kind: 'case', id: found.id, domain: found.domain, state: 'open' });
  });
}
