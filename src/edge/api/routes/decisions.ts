/** Deciding: each call is one transaction of the approval queue, and its outcome becomes a status. */
import { z } from 'zod';
import { parseEffectDigest } from '../../../domain/effect.ts';
import { getProposal } from '../../../io/store/proposals.ts';
import { getRepair } from '../../../io/store/repairs.ts';
import {
  approveProposal,
  closeBreaker,
  type Decision,
  editProposal,
  rejectProposal,
  requestScan,
  requestUndo,
  setDomainFrozen,
  snoozeProposal,
} from '../../../runtime/approval-queue.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import { ApiError, notFound, post, type Route } from '../route.ts';

const digest = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'the effect digest that you looked at: 64 hexadecimal digits')
  .transform(parseEffectDigest);
const words = z.string().trim().min(1, 'say why: it is kept with the decision').max(2000).optional();
/** Page and command line ask for a reason. Who stops a domain by hand at night is not sent back for want of a word. */
const reasons = { reason: words, comment: z.string().trim().max(2000).optional() };
const whyOf = (body: { readonly reason?: string | undefined; readonly comment?: string | undefined }): string =>
  body.reason ?? (body.comment || 'no reason given');
const usualSnoozeMinutes = 60;
const answer = z.looseObject({ is: z.literal('done') });
const row = z.record(z.string(), z.string().nullable());
const maxSnoozeMinutes = 7 * 24 * 60;

export function decisionRoutes(context: RuntimeContext): readonly Route[] {
  const proposalPost = <Body extends z.ZodType>(
    verb: string,
    says: string,
    body: Body,
    decide: (id: string, body: z.infer<Body>, by: string) => Promise<Decision>,
  ): Route =>
    post(`/api/v1/proposals/{id}/${verb}`, says, { need: 'approver', body, answer }, async (call) => {
      const id = call.params['id'] ?? '';
      const proposal = await getProposal(context.database, id);
      if (proposal === null) throw notFound('proposal', id);
      call.allow('approver', proposal.domain);
      return settle(await decide(id, call.body, call.caller.name), 'proposal', id);
    });
  const domainPost = (verb: string, says: string, act: (domain: string, by: string, reason: string) => Promise<Decision>): Route =>
    post(`/api/v1/domains/{name}/${verb}`, says, { need: 'operator', body: z.object(reasons), answer }, async (call) => {
      const domain = call.params['name'] ?? '';
      if (context.domains[domain] === undefined) throw notFound('domain', domain);
      call.allow('operator', domain);
      return settle(await act(domain, call.caller.name, whyOf(call.body)), 'domain', domain);
    });

  return [
    proposalPost('approve', 'Approves exactly the effects that the digest names.', z.object({ digest, ...reasons }), (id, body, by) => {
      const comment = body.comment ?? body.reason;
      return approveProposal(context, id, { digest: body.digest, by, ...(comment === undefined ? {} : { comment }) });
    }),
    proposalPost('reject', 'Rejects a proposal; the reason teaches calibration.', z.object({ digest, ...reasons }), (id, body, by) =>
      rejectProposal(context, id, { digest: body.digest, by, reason: whyOf(body) }),
    ),
    proposalPost(
      'edit',
      'Asks for other rows: a new proposal with a new digest, which others must approve.',
      z.object({
        digest,
        rows: z
          .array(z.object({ key: z.record(z.string(), z.string()), row: row.nullable() }))
          .min(1)
          .max(10_000),
      }),
      (id, body, by) => editProposal(context, id, { digest: body.digest, by, rows: body.rows }),
    ),
    proposalPost(
      'snooze',
      'Hides a proposal for a while; its expiry stays.',
      z.object({ digest, minutes: z.int().min(1).max(maxSnoozeMinutes).default(usualSnoozeMinutes) }),
      (id, body, by) => snoozeProposal(context, id, { digest: body.digest, by, untilMs: context.clock.nowMs() + body.minutes * 60_000 }),
    ),
    post(
      '/api/v1/repairs/{id}/undo',
      'Undoes a repair with its inverse, guarded like any repair.',
      { need: 'operator', body: z.object(reasons), answer },
      async (call) => {
        const id = call.params['id'] ?? '';
        const repair = await getRepair(context.database, id);
        if (repair === null) throw notFound('repair', id);
        call.allow('operator', repair.domain);
        return settle(await requestUndo(context, id, { by: call.caller.name, reason: whyOf(call.body) }), 'repair', id);
      },
    ),
    post('/api/v1/collections/{name}/scan', 'Compares the replicas of a collection now.', { need: 'operator', answer }, async (call) => {
      const name = call.params['name'] ?? '';
      const collection = context.collections[name];
      if (collection === undefined) throw notFound('collection', name);
      call.allow('operator', collection.domain);
      return settle(await requestScan(context, name, { by: call.caller.name }), 'collection', name);
    }),
    domainPost('freeze', 'Stops every repair of a domain, at once.', (domain, by, why) =>
      setDomainFrozen(context, domain, { frozen: true, by, reason: why }),
    ),
    domainPost('unfreeze', 'Lets repairs of a domain go on.', (domain, by, why) =>
      setDomainFrozen(context, domain, { frozen: false, by, reason: why }),
    ),
    domainPost('close-breaker', 'Says that the cause of a failed repair is fixed.', (domain, by, why) =>
      closeBreaker(context, domain, { by, reason: why }),
    ),
  ];
}

/** 409: nothing happened, read again; 403: a rule says no; 422: the words are right, their meaning is not. */
function settle(decision: Decision, what: string, id: string): object {
  switch (decision.is) {
    case 'done':
      return decision;
    case 'not-found':
      throw notFound(what, id);
    case 'conflict':
      throw new ApiError(409, 'conflict', decision.says);
    case 'refused':
      throw new ApiError(403, 'not-allowed', decision.says, decision.rule);
    case 'invalid':
      throw new ApiError(422, 'invalid', decision.says);
  }
}
