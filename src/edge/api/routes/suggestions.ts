/** Deciding on suggestions: people approve by digest, an operator has it carried out or taken back. */
import { z } from 'zod';
import { getSuggestion } from '../../../io/store/suggestions.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import {
  applySuggestion,
  approveSuggestion,
  rejectSuggestion,
  type SuggestionDecision,
  undoSuggestion,
} from '../../../runtime/suggestion-queue.ts';
import type { Need } from '../access.ts';
import { ApiError, notFound, post, type Route } from '../route.ts';

const digest = z.string().regex(/^[0-9a-f]{64}$/, 'the digest of the suggestion that you looked at: 64 hexadecimal digits');
const comment = z.string().trim().max(2000).optional();
const reason = z.string().trim().min(1, 'say why: it is kept with the decision').max(2000).optional();
const whyOf = (body: { readonly reason?: string | undefined; readonly comment?: string | undefined }): string =>
  body.reason ?? (body.comment || 'no reason given');
const answer = z.looseObject({ is: z.literal('done') });

export function suggestionRoutes(context: RuntimeContext): readonly Route[] {
  const suggestionPost = <Body extends z.ZodType>(
    verb: string,
    says: string,
    need: Need,
    body: Body,
    decide: (id: string, body: z.infer<Body>, by: string) => Promise<SuggestionDecision>,
  ): Route =>
    post(`/api/v1/suggestions/{id}/${verb}`, says, { need, body, answer }, async (call) => {
      const id = call.params['id'] ?? '';
      const suggestion = await getSuggestion(context.database, id);
      if (suggestion === null) throw notFound('suggestion', id);
      call.allow(need, suggestion.domain);
      return settle(await decide(id, call.body, call.caller.name), id);
    });
  return [
    suggestionPost(
      'approve',
      'Approves exactly the change that the digest names.',
      'approver',
      z.object({ digest, comment, reason: comment }),
      (id, body, by) => approveSuggestion(context, id, { digest: body.digest, by, comment: body.comment ?? body.reason ?? '' }),
    ),
    suggestionPost(
      'reject',
      'Rejects a suggestion; it is not made again for a day.',
      'approver',
      z.object({ digest: digest.optional(), comment, reason }),
      (id, body, by) => rejectSuggestion(context, id, { digest: body.digest, by, reason: whyOf(body) }),
    ),
    suggestionPost(
      'apply',
      'Carries out an approved suggestion on its target; 422 with the commands where no target here can.',
      'operator',
      z.object({ digest: digest.optional() }).prefault({}),
      (id, body, by) => applySuggestion(context, id, { digest: body.digest, by }),
    ),
    suggestionPost(
      'undo',
      'Takes back what was carried out, or stops it half-way and takes that back.',
      'operator',
      z.object({ comment, reason }),
      (id, body, by) => undoSuggestion(context, id, { by, reason: whyOf(body) }),
    ),
  ];
}

/** 409: nothing happened, read again; 403: a rule says no; 422: nothing here can do it. */
function settle(decision: SuggestionDecision, id: string): object {
  switch (decision.is) {
    case 'done':
      return decision;
    case 'not-found':
      throw notFound('suggestion', id);
    case 'conflict':
      throw new ApiError(409, 'conflict', decision.says);
    case 'refused':
      throw new ApiError(403, 'not-allowed', decision.says, decision.rule);
    case 'no-target':
      throw new ApiError(422, 'no-target', [decision.says, ...decision.commands].join(' '));
  }
}
