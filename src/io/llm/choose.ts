import { invariant } from '../../base/assert.ts';
import type { Choice } from '../../domain/proposal.ts';
import { parseAnswer } from '../../propose/answer.ts';
import { buildPrompt, estimateTokens, type PromptTemplate } from '../../propose/prompt.ts';
import type { RankedCandidate } from '../../propose/rank.ts';
import type { Situation } from '../../propose/strategy.ts';
import type { Llm } from './llm.ts';

export interface Chosen {
  readonly chosen: RankedCandidate;
  readonly choice: Choice;
  /** What the question cost, for the domain's budget. */
  readonly tokens: number;
  /** Why the heuristic chose, where a model was configured; null: the model chose, or none is configured. */
  readonly note: string | null;
  /** SHA-256 of the prompt, where one was sent. */
  readonly promptHash: string | null;
}

/**
 * One question a case. Whatever the endpoint does (lies, hangs, is gone) a candidate that the heuristic had ranked is chosen;
 * only who chose is different. Throws only when `signal` is aborted.
 */
export async function chooseWithModel(input: {
  readonly llm: Llm | undefined;
  readonly template: PromptTemplate;
  readonly situation: Situation;
  readonly ranked: readonly RankedCandidate[];
  /** Makes pseudonyms of keys; one secret for the life of the installation. */
  readonly hmacKey: Uint8Array;
  /** What is left of the domain's budget today. */
  readonly tokensLeft: number;
  /** Region of the endpoint; raw values go nowhere else. Absent: unknown, so no values of a domain with residency. */
  readonly endpointRegion?: string;
  readonly signal: AbortSignal;
}): Promise<Chosen> {
  const { llm, situation, ranked } = input;
  const [best] = ranked;
  invariant(best !== undefined, 'a choice is made among at least one candidate');
  const heuristic = (note: string | null, tokens = 0, promptHash: string | null = null): Chosen => ({
    chosen: best,
    choice: { by: 'heuristic' },
    tokens,
    note,
    promptHash,
  });
  if (llm === undefined) return heuristic(null);
  if (!situation.domain.llm.enabled) return heuristic('the domain does not let a model choose');

  const { residency } = situation.domain;
  const isInRegion = residency.length === 0 || (input.endpointRegion !== undefined && residency.includes(input.endpointRegion));
  const prompt = buildPrompt({
    template: input.template,
    situation,
    ranked,
    hmacKey: input.hmacKey,
    allowsRawValues: situation.domain.llm.rawValues && isInRegion,
    order: 0,
  });
  const estimate = estimateTokens(prompt);
  if (estimate > input.tokensLeft)
    return heuristic(`the question may cost ${estimate} tokens, ${Math.max(0, input.tokensLeft)} are left today`);

  const answer = await llm.ask(prompt, input.signal);
  if (answer.is === 'absent') return heuristic(answer.because, answer.tokens, prompt.hash);
  // An endpoint that does not count is charged the estimate: a budget that can be dodged by saying nothing is none.
  const tokens = answer.tokens > 0 ? answer.tokens : estimate;
  const parsed = parseAnswer(answer.text, prompt);
  if (parsed.is === 'abstain') return heuristic(parsed.because, tokens, prompt.hash);
  const chosen = ranked.find(({ id }) => id === parsed.candidateId);
  invariant(chosen !== undefined, 'an answer names a candidate that was ranked', { candidate: parsed.candidateId });
  return {
    chosen,
    choice: {
      by: 'llm',
      model: answer.model.slice(0, 200),
      promptHash: prompt.hash,
      agrees: chosen.id === best.id,
      rootCause: parsed.rootCause,
      cited: parsed.cited,
    },
    tokens,
    note: null,
    promptHash: prompt.hash,
  };
}
