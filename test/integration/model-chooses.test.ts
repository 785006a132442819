import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { openOpenAi } from '../../src/io/llm/openai.ts';
import { listAudit } from '../../src/io/store/audit.ts';
import { getProposal, listProposals, type StoredProposal } from '../../src/io/store/proposals.ts';
import { type Behaviour, type OpenAiServer, startOpenAi } from '../servers/openai.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** A row that replicas disagree on, again and again, while the endpoint behaves in one way after another. */
describe('a service with a language model', () => {
  let endpoint: OpenAiServer;
  let estate: Estate;
  let loops: { stop(): Promise<void> };
  let nextId = 0;

  beforeAll(async () => {
    endpoint = await startOpenAi((_request, choices) => choices[0] ?? 'abstain');
    estate = await startEstate({
      domain: domainOf('profiles', { repair: { mode: 'review' }, llm: { enabled: true, rawValues: false, tokensPerDay: 1_000_000 } }),
      llm: openOpenAi({ baseUrl: endpoint.url, model: 'test', timeoutMs: 1_500, clock: systemClock }),
    });
    loops = await estate.run();
  });
  afterAll(async () => {
    await loops.stop();
    await estate.close();
    await endpoint.close();
  });

  /** Makes one row differ and waits for what is proposed about it. */
  async function proposed(): Promise<StoredProposal> {
    nextId += 1;
    const id = nextId;
    for (const [region, name, at] of [
      ['eu', 'old', '2026-01-01'],
      ['us', 'new', '2026-01-02'],
      ['ap', 'old', '2026-01-01'],
    ] as const) {
      await estate.sql(region, 'insert into profiles values ($1, $2, $3, $4)', [id, name, 'secret@example.org', at]);
    }
    const found = await until(async () => {
      for (const summary of (await listProposals(estate.database, { state: 'waiting' }, {})).items) {
        const proposal = await getProposal(estate.database, summary.id);
        if (proposal?.effects.some((effect) => effect.key['id'] === String(id))) return proposal;
      }
      return undefined;
    }, `row ${id} has a proposal`);
    // Out of the way, so that the next row has a case of its own.
    for (const region of ['eu', 'us', 'ap']) await estate.sql(region, 'delete from profiles');
    await until(
      async () => (await listProposals(estate.database, { state: 'waiting' }, {})).items.length === 0,
      'a proposal about rows that are gone does not wait',
    );
    return found;
  }

  it('lets it choose among simulated candidates, with the prompt’s hash on record, and shows it no values', async () => {
    const proposal = await proposed();
    expect(proposal.choice).toMatchObject({ by: 'llm', promptHash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(proposal.verdict.is).toBe('review');
    expect(JSON.stringify(endpoint.requests)).not.toContain('secret@example.org');
    const made = (await listAudit(estate.database, { action: 'proposal.made', subject: proposal.id }, {})).items;
    expect(JSON.stringify(made)).toContain(proposal.choice.by === 'llm' ? proposal.choice.promptHash : 'no hash');
  });

  it('proposes the heuristic’s choice where the model lies, is slow, fails or is not there, and nothing else changes', async () => {
    endpoint.behave('failing');
    const alone = await proposed();
    expect(alone.choice).toEqual({ by: 'heuristic' });
    for (const behaviour of ['lying', 'malformed', 'slow', 'hanging-up'] as const satisfies readonly Behaviour[]) {
      endpoint.behave(behaviour);
      const proposal = await proposed();
      expect([
        proposal.choice,
        proposal.strategy,
        proposal.effects.map((effect) => [effect.kind, effect.replica, effect.after?.['name']]),
      ]).toEqual([alone.choice, alone.strategy, alone.effects.map((effect) => [effect.kind, effect.replica, effect.after?.['name']])]);
    }
  });
});
