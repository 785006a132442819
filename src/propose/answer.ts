import { z } from 'zod';
import { abstainChoice, type Prompt, type RootCause, rootCauses } from './prompt.ts';

export type ParsedAnswer =
  | { readonly is: 'chosen'; readonly candidateId: string; readonly rootCause: RootCause; readonly cited: readonly string[] }
  | { readonly is: 'abstain'; readonly because: string };

/** Longer than any answer that the schema allows; what is longer is not read. */
const maxAnswerCharacters = 8_000;

const answerShape = z.strictObject({
  choice: z.string(),
  rootCause: z.enum(rootCauses),
  cited: z.array(z.string()).max(64),
});

/**
 * A model's text as a choice among the candidates that it was shown; whatever is not exactly that is an abstention. The
 * schema that was sent with the question is not relied on: endpoints ignore it, and an answer can be anything.
 */
export function parseAnswer(text: string, prompt: Prompt): ParsedAnswer {
  const abstain = (because: string): ParsedAnswer => ({ is: 'abstain', because });
  if (text.length > maxAnswerCharacters) return abstain('the answer is too long');
  let json: unknown;
  try {
    json = JSON.parse(unfenced(text));
  } catch {
    return abstain('the answer is not JSON');
  }
  const answer = answerShape.safeParse(json);
  if (!answer.success) return abstain('the answer has another shape than was asked for');
  const { choice, rootCause, cited } = answer.data;
  if (choice === abstainChoice) return abstain('the model abstained');
  const candidateId = prompt.choices.get(choice);
  if (candidateId === undefined) return abstain('the answer names a candidate that does not exist');
  const known = new Set(prompt.evidence);
  if (cited.some((id) => !known.has(id) && id !== 'none')) return abstain('the answer cites evidence that does not exist');
  return { is: 'chosen', candidateId, rootCause, cited: [...new Set(cited.filter((id) => known.has(id)))] };
}

/** Small models put a fence around JSON whatever they are told. Only the fence is taken off, nothing is guessed. */
function unfenced(text: string): string {
  const fence = /^\s*```(?:json)?\s*\n([\s\S]*?)\n?```\s*$/.exec(text);
  return fence?.[1] ?? text;
}
