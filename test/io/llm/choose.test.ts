import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { chooseWithModel } from '../../../src/io/llm/choose.ts';
import { openOpenAi, type ProbedLlm } from '../../../src/io/llm/openai.ts';
import { readChooseRepairPrompt } from '../../../src/io/llm/prompt-file.ts';
import { calibrate } from '../../../src/propose/calibrate.ts';
import { proposeCandidates } from '../../../src/propose/candidates.ts';
import { exampleSituation } from '../../../src/propose/example-situation.ts';
import { rankCandidates } from '../../../src/propose/rank.ts';
import type { Situation } from '../../../src/propose/strategy.ts';
import { openCassette, recordCassette } from '../../servers/cassette.ts';
import { type Behaviour, type OpenAiServer, startOpenAi } from '../../servers/openai.ts';

/** Three replicas, an authority and a clock that disagree: two candidates. */
const situation: Situation = (() => {
  const base = exampleSituation({
    authority: 'eu',
    classes: { updated_at: 'clock', email: 'pii' },
    types: { updated_at: 'int' },
    rows: {
      eu: { id: '1', email: 'secret-a@example.org', name: 'Ada', updated_at: '6' },
      us: { id: '1', email: 'secret-b@example.org', name: 'Eda', updated_at: '7' },
      ap: { id: '1', email: 'secret-a@example.org', name: 'Ada', updated_at: '6' },
    },
  });
  return { ...base, domain: { ...base.domain, llm: { enabled: true, rawValues: false, tokensPerDay: 10_000 } } };
})();
const ranked = rankCandidates(situation, proposeCandidates(situation).candidates, calibrate([]));
const template = readChooseRepairPrompt();
const common = {
  template,
  situation,
  ranked,
  hmacKey: new Uint8Array(32).fill(7),
  tokensLeft: 100_000,
  signal: new AbortController().signal,
};

let server: OpenAiServer;
let choice: (choices: readonly string[], text: string) => string = (choices) => choices[0] ?? 'abstain';
beforeAll(async () => {
  server = await startOpenAi((request, choices) => choice(choices, request.messages.map(({ content }) => content).join('\n')));
});
afterAll(() => server.close());

const open = (timeoutMs = 300): ProbedLlm =>
  openOpenAi({ baseUrl: server.url, model: 'tiny', apiKey: 'key-of-the-test', timeoutMs, clock: systemClock });
/** Labels are shuffled, so a model that wants a strategy has to read the prompt. */
const wants = (strategy: string) => (choices: readonly string[], text: string) =>
  choices.find((label) => new RegExp(`- ${label}: ${strategy}`).test(text)) ?? 'abstain';

describe('a model as chooser', () => {
  test('there are two candidates to choose from', () => {
    expect(ranked.map(({ strategy }) => strategy)).toEqual(['authority', 'last-writer-wins']);
  });

  test('its choice is recorded with the prompt’s hash, whether it agrees or not', async () => {
    server.behave('honest');
    choice = wants('authority');
    const agreed = await chooseWithModel({ ...common, llm: open() });
    expect(agreed.choice).toMatchObject({ by: 'llm', model: 'tiny-served', agrees: true, rootCause: 'lost-change-event' });
    expect(agreed.promptHash).toMatch(/^[0-9a-f]{64}$/);
    expect(agreed).toMatchObject({ tokens: 430, note: null });

    choice = wants('last-writer-wins');
    const other = await chooseWithModel({ ...common, llm: open() });
    expect(other.choice).toMatchObject({ by: 'llm', agrees: false });
    expect(other.chosen.strategy).toBe('last-writer-wins');
    expect(server.requests.at(-1)).toMatchObject({
      model: 'tiny',
      authorization: 'Bearer key-of-the-test',
      response_format: { type: 'json_schema' },
    });
  });

  test.each([
    ['lying', /names a candidate|another shape/],
    ['inventing', /another shape/],
    ['malformed', /not JSON/],
    ['empty', /without text/],
    ['slow', /did not answer within/],
    ['trickling', /did not answer within|could not be reached/],
    ['failing', /answered 500/],
    ['hanging-up', /could not be reached/],
  ] as const)('I11: %s changes nothing but who chose', async (behaviour: Behaviour, why) => {
    server.behave(behaviour);
    const chosen = await chooseWithModel({ ...common, llm: open() });
    expect(chosen.chosen).toBe(ranked[0]);
    expect(chosen.choice).toEqual({ by: 'heuristic' });
    expect(chosen.note).toMatch(why);
  });

  test('I11: an endpoint that is not there changes nothing but who chose', async () => {
    const llm = openOpenAi({ baseUrl: 'http://127.0.0.1:1/v1', model: 'tiny', timeoutMs: 300, clock: systemClock });
    expect(await chooseWithModel({ ...common, llm })).toMatchObject({
      choice: { by: 'heuristic' },
      note: expect.stringContaining('could not be reached'),
    });
    expect(await chooseWithModel({ ...common, llm: undefined })).toMatchObject({ choice: { by: 'heuristic' }, note: null });
  });

  test('an abstention leaves the choice to the heuristic', async () => {
    server.behave('honest');
    choice = () => 'abstain';
    expect(await chooseWithModel({ ...common, llm: open() })).toMatchObject({
      choice: { by: 'heuristic' },
      note: 'the model abstained',
      tokens: 430,
    });
  });

  test('an endpoint without JSON schemas is asked without, and remembered', async () => {
    server.behave('without-schema');
    choice = wants('authority');
    const llm = open();
    const before = server.requests.length;
    expect((await chooseWithModel({ ...common, llm })).choice).toMatchObject({ by: 'llm', agrees: true });
    await chooseWithModel({ ...common, llm });
    expect(server.requests.slice(before).map((request) => request.response_format?.type)).toEqual([
      'json_schema',
      'json_object',
      'json_object',
    ]);
    expect(llm.describe()).toContain('json_object');
  });

  test('a probe finds out what the endpoint can be held to, before the first case, and says when it is absent', async () => {
    const { signal } = new AbortController();
    server.behave('without-schema');
    choice = () => 'ready';
    const llm = open();
    expect(await llm.probe(signal)).toEqual({ is: 'ready', says: expect.stringContaining('(json_object)') as string });
    const before = server.requests.length;
    choice = wants('authority');
    expect((await chooseWithModel({ ...common, llm })).choice).toMatchObject({ by: 'llm' });
    expect(server.requests.slice(before).map((request) => request.response_format?.type)).toEqual(['json_object']);

    server.behave('failing');
    expect(await open().probe(signal)).toEqual({
      is: 'absent',
      says: expect.stringMatching(/answered 500.*heuristics choose alone/) as string,
    });
  });

  test('an endpoint that keeps failing is left alone for a while', async () => {
    server.behave('failing');
    let now = 0;
    const llm = openOpenAi({ baseUrl: server.url, model: 'tiny', timeoutMs: 300, clock: { nowMs: () => now, monotonicMs: () => now } });
    const before = server.requests.length;
    for (let round = 0; round < 5; round += 1) await chooseWithModel({ ...common, llm });
    expect(server.requests.length - before).toBe(3);
    now += 60_000;
    server.behave('honest');
    expect((await chooseWithModel({ ...common, llm })).choice.by).toBe('llm');
  });

  test('over budget, or in a domain without a model, nothing is sent', async () => {
    server.behave('honest');
    const before = server.requests.length;
    expect(await chooseWithModel({ ...common, llm: open(), tokensLeft: 100 })).toMatchObject({
      choice: { by: 'heuristic' },
      note: expect.stringContaining('100 are left'),
    });
    const closed = { ...situation, domain: { ...situation.domain, llm: { ...situation.domain.llm, enabled: false } } };
    expect(await chooseWithModel({ ...common, situation: closed, llm: open() })).toMatchObject({ choice: { by: 'heuristic' } });
    expect(server.requests.length).toBe(before);
  });

  test('an abort is thrown, at once', async () => {
    server.behave('slow');
    const abort = new AbortController();
    const asked = chooseWithModel({ ...common, llm: open(10_000), signal: abort.signal });
    abort.abort(new Error('shutting down'));
    await expect(asked).rejects.toThrow('shutting down');
  });

  test('a cassette plays back what was recorded, by prompt hash', async () => {
    server.behave('honest');
    choice = wants('last-writer-wins');
    const folder = mkdtempSync(join(tmpdir(), 'cassette-'));
    try {
      const path = join(folder, 'choose.json');
      const live = await chooseWithModel({ ...common, llm: recordCassette(open(), path, 'the in-test endpoint') });
      expect(await chooseWithModel({ ...common, llm: openCassette(path) })).toEqual(live);
      const changed = { ...situation, collection: { ...situation.collection, name: 'others' } };
      expect(await chooseWithModel({ ...common, situation: changed, llm: openCassette(path) })).toMatchObject({
        choice: { by: 'heuristic' },
        note: expect.stringContaining('no answer'),
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('I6: what a prompt holds', () => {
  const sent = async (over: Partial<Situation['domain']>, endpointRegion?: string): Promise<string> => {
    server.behave('honest');
    choice = (choices) => choices[0] ?? 'abstain';
    const asked = { ...situation, domain: { ...situation.domain, ...over } };
    await chooseWithModel({ ...common, situation: asked, llm: open(), ...(endpointRegion === undefined ? {} : { endpointRegion }) });
    return JSON.stringify(server.requests.at(-1)?.messages);
  };
  const raw = { llm: { enabled: true, rawValues: true, tokensPerDay: 10_000 } };

  test('by default no values and no keys: patterns and pseudonyms', async () => {
    const text = await sent({});
    for (const secret of ['Ada', 'Eda', 'secret-a', 'example.org']) expect(text).not.toContain(secret);
    expect(text).toContain('ap=A eu=A us=B');
    expect(text).toContain('newest on us');
    expect(text).toMatch(/key-[0-9a-f]{12}/);
  });

  test('values where the policy says so, pii never', async () => {
    const text = await sent(raw);
    expect(text).toContain('Eda');
    expect(text).not.toContain('secret-a');
  });

  test('never outside the domain’s regions', async () => {
    expect(await sent({ ...raw, residency: ['eu'] })).not.toContain('Eda');
    expect(await sent({ ...raw, residency: ['eu'] }, 'us')).not.toContain('Eda');
    expect(await sent({ ...raw, residency: ['eu'] }, 'eu')).toContain('Eda');
  });
});
