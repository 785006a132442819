import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { Failure } from '../../src/base/failure.ts';
import type { Llm, LlmAnswer } from '../../src/io/llm/llm.ts';

const cassetteShape = z.object({
  about: z.string(),
  answers: z.record(z.string(), z.object({ template: z.string(), text: z.string(), model: z.string(), tokens: z.number() })),
});
type Cassette = z.output<typeof cassetteShape>;

/** Plays answers back by prompt hash: a prompt that has changed by a character has no answer here, and the model is absent. */
export function openCassette(path: string): Llm {
  const cassette = readCassette(path);
  return {
    ask: async (prompt): Promise<LlmAnswer> => {
      const kept = cassette.answers[prompt.hash];
      if (kept === undefined) return { is: 'absent', because: 'the cassette has no answer to this prompt', tokens: 0 };
      return { is: 'answer', text: kept.text, model: kept.model, tokens: kept.tokens };
    },
    describe: () => `cassette ${path}`,
  };
}

/** Asks `llm` and writes what it answers to the cassette, one file write an answer. */
export function recordCassette(llm: Llm, path: string, about: string): Llm {
  const answers: Cassette['answers'] = {};
  return {
    ask: async (prompt, signal) => {
      const answer = await llm.ask(prompt, signal);
      if (answer.is === 'answer') {
        answers[prompt.hash] = { template: prompt.template, text: answer.text, model: answer.model, tokens: answer.tokens };
        writeFileSync(path, `${JSON.stringify({ about, answers }, null, 2)}\n`);
      }
      return answer;
    },
    describe: () => `${llm.describe()}, recorded to ${path}`,
  };
}

function readCassette(path: string): Cassette {
  try {
    return cassetteShape.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    throw new Failure('cassette', `${path} is not a cassette of model answers`, 'never', error);
  }
}
