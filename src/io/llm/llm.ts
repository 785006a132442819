import type { Prompt } from '../../propose/prompt.ts';

/** What came of one question. A model that cannot be had is an expected outcome: the heuristic chooses. */
export type LlmAnswer =
  | { readonly is: 'answer'; readonly text: string; readonly model: string; readonly tokens: number }
  | { readonly is: 'absent'; readonly because: string; readonly tokens: number };

/**
 * A language model that is asked one closed question. It has no tools, no credentials of ours and no way to act: its answer is
 * text, which `propose/answer.ts` reads. Implementations: an OpenAI-compatible endpoint, and a cassette for tests.
 */
export interface Llm {
  /** Never throws for the endpoint's sake; only for an aborted signal. */
  ask(prompt: Prompt, signal: AbortSignal): Promise<LlmAnswer>;
  /** For the log and the doctor: endpoint, model and what it can do. Holds no key. */
  describe(): string;
}
