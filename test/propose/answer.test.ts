import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAnswer } from '../../src/propose/answer.ts';
import { calibrate } from '../../src/propose/calibrate.ts';
import { proposeCandidates } from '../../src/propose/candidates.ts';
import { buildPrompt, estimateTokens, parsePromptTemplate } from '../../src/propose/prompt.ts';
import { rankCandidates } from '../../src/propose/rank.ts';
import { situations } from './generated-situation.ts';

const template = parsePromptTemplate(readFileSync(new URL('../../prompts/choose-repair/v1.md', import.meta.url), 'utf8'));
const asked = situations
  .map((situation) => ({ situation, ranked: rankCandidates(situation, proposeCandidates(situation).candidates, calibrate([])) }))
  .filter(({ ranked }) => ranked.length > 0);
const promptOf = ({ situation, ranked }: Parameters<Parameters<typeof asked.map>[0]>[0], order = 0) =>
  buildPrompt({ template, situation, ranked, hmacKey: new Uint8Array(32), allowsRawValues: false, order });

describe('I11: an answer is one of the candidates, or an abstention', () => {
  test('whatever the text is', () => {
    fc.assert(
      fc.property(
        asked,
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.json().map((json) => `\`\`\`json\n${json}\n\`\`\``),
        ),
        (given, text) => {
          expect(parseAnswer(text, promptOf(given)).is).toBe('abstain');
        },
      ),
    );
  });

  test('every choice that the prompt offers is read as the candidate that it stands for', () => {
    fc.assert(
      fc.property(asked, fc.nat(10), (given, order) => {
        const prompt = promptOf(given, order);
        expect([...prompt.choices.values()].toSorted()).toEqual(given.ranked.map(({ id }) => id).toSorted());
        for (const [label, candidateId] of prompt.choices) {
          const text = JSON.stringify({ choice: label, rootCause: 'unknown', cited: prompt.evidence });
          expect(parseAnswer(text, prompt)).toEqual({
            is: 'chosen',
            candidateId,
            rootCause: 'unknown',
            cited: [...new Set(prompt.evidence)],
          });
        }
      }),
    );
  });

  test.each([
    ['an unknown candidate', { choice: 'candidate-9', rootCause: 'unknown', cited: [] }],
    ['a candidate id of ours', { choice: 'c1', rootCause: 'unknown', cited: [] }],
    ['an unknown cause', { choice: 'candidate-1', rootCause: 'gremlins', cited: [] }],
    ['evidence that does not exist', { choice: 'candidate-1', rootCause: 'unknown', cited: ['span-1'] }],
    ['a field more', { choice: 'candidate-1', rootCause: 'unknown', cited: [], effects: [] }],
    ['a field less', { choice: 'candidate-1', rootCause: 'unknown' }],
    ['two answers', [{ choice: 'candidate-1', rootCause: 'unknown', cited: [] }]],
    ['a prototype', { choice: 'constructor', rootCause: 'unknown', cited: [] }],
  ])('%s is an abstention', (_, answer) => {
    const [given] = fc.sample(asked, { numRuns: 1, seed: 5 });
    if (given === undefined) expect.fail();
    expect(parseAnswer(JSON.stringify(answer), promptOf(given)).is).toBe('abstain');
  });
});

describe('prompts', () => {
  test('are the same for the same case, and keep to their cap', () => {
    fc.assert(
      fc.property(asked, (given) => {
        const prompt = promptOf(given);
        expect(promptOf(given).hash).toBe(prompt.hash);
        expect(estimateTokens(prompt)).toBeLessThan(template.promptTokens + template.answerTokens + 1_500);
      }),
    );
  });

  test('do not put the heuristic’s choice first', () => {
    const samples = fc.sample(asked, { numRuns: 400, seed: 3 }).filter(({ ranked }) => ranked.length > 1);
    const first = samples.filter((given) => [...promptOf(given).choices.values()][0] === 'c1').length;
    expect(samples.length).toBeGreaterThan(20);
    expect(first / samples.length).toBeLessThan(0.8);
    expect(first / samples.length).toBeGreaterThan(0.2);
  });

  test('a file that is not a prompt is refused', () => {
    expect(() => parsePromptTemplate('hello')).toThrow(/front matter/);
    expect(() =>
      parsePromptTemplate(
        '---\ntask: x\nversion: 1\ninputs: [domain]\noutput: {}\npromptTokens: 500\nanswerTokens: 100\n---\n## system\na\n## user\nb',
      ),
    ).toThrow(/uses each input/);
  });
});
