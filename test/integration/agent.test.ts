import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { PROTOCOL } from '../../src/io/replicas/remote/wire.ts';
import { Failure } from '../../src/base/failure.ts';
import { defaultConfig, type Person } from '../../src/config.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import { type Api, startApi } from '../../src/edge/api/server.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { listProposals } from '../../src/io/store/proposals.ts';
import { compareReplicas } from '../../src/runtime/compare.ts';
import { type AgentTarget, serveReplica } from '../../src/runtime/serve-replica.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const people = {
  agent: { name: 'agent', role: 'agent', domains: undefined, token: 'token-of-agent-0005' },
  other: { name: 'other', role: 'agent', domains: ['other'], token: 'token-of-other-0006' },
  vera: { name: 'vera', role: 'viewer', domains: undefined, token: 'token-of-vera-00003' },
} as const satisfies Record<string, Person>;

interface World {
  readonly estate: Estate;
  readonly post: (
    who: keyof typeof people,
    body: unknown,
    signal?: AbortSignal,
  ) => Promise<{ readonly status: number; readonly body: unknown }>;
  startAgent(over?: Partial<AgentTarget>): { stop(): Promise<void> };
  close(): Promise<void>;
}

/** eu is connected to, us only through an agent; the service's own API between them. */
async function startWorld(domain: ConsistencyDomain): Promise<World> {
  const estate = await startEstate({ regions: ['eu', 'us'], throughAgents: ['us'], domain, collection: { authority: 'eu' } });
  for (const region of ['eu', 'us']) {
    await estate.sql(
      region,
      `insert into profiles select i, 'name ' || i, 'secret' || i || '@example.org', '2026-01-01' from generate_series(1, 500) i`,
    );
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'homeostat-agent-'));
  const api: Api = await startApi({
    context: estate.context,
    metrics: async () => '',
    host: '127.0.0.1',
    port: 0,
    dataDir,
    config: { ...defaultConfig(), people: Object.values(people) },
  });
  const post: World['post'] = async (who, body, signal) => {
    const response = await fetch(`${api.url}/api/v1/checksums`, {
      method: 'POST',
      headers: { authorization: `Bearer ${people[who].token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: signal ?? null,
    });
    return { status: response.status, body: await response.json() };
  };
  return {
    estate,
    post,
    startAgent: (over = {}) => {
      const collection = estate.collections['profiles'];
      const replica = collection?.replicas.find(({ id }) => id === 'us');
      if (collection === undefined || replica === undefined) throw new Error('no us');
      const stopping = new AbortController();
      const target: AgentTarget = {
        collection,
        replica,
        agent: randomUUID(),
        clock: systemClock,
        mayLeave: true,
        mayWrite: true,
        open: () => openReplica(collection, replica),
        post: async (body, signal) => {
          const answer = await post('agent', body, signal);
          if (answer.status !== 200) throw new Failure('refused', JSON.stringify(answer.body), 'never');
          return answer.body;
        },
        say: () => undefined,
        warn: (text) => console.error(`agent: ${text}`),
        ...over,
      };
      const running = serveReplica(target, { once: false, signal: stopping.signal });
      return {
        stop: async () => {
          stopping.abort();
          await running;
        },
      };
    },
    close: async () => {
      await api.close();
      await estate.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function compared(world: World): Promise<readonly string[]> {
  const { context } = world.estate;
  const collection = world.estate.collections['profiles'];
  if (collection === undefined) throw new Error('no collection');
  const connections = await context.replicas.connections('profiles');
  const found: string[] = [];
  const signal = AbortSignal.timeout(60_000);
  for await (const one of compareReplicas({ collection, connections, stalenessMs: 0, clock: systemClock, signal, confirm: 'none' }))
    found.push(`${one.key['id']} ${one.is}`);
  return found.toSorted();
}

describe('a replica that only an agent reaches', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld(domainOf('profiles'));
    await world.estate.sql('us', `update profiles set name = 'stale' where id = 7`);
    await world.estate.sql('us', 'delete from profiles where id = 11');
  });
  afterAll(() => world.close());

  it('cannot be compared while none calls, and the sentence says what to start', async () => {
    const failure: unknown = await compared(world).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Failure);
    expect(failure).toMatchObject({ code: 'replica-down', retry: 'later' });
    expect((failure as Failure).message).toContain('homeostat agent --collection profiles --replica us');
  });

  it('is compared through sketches that the agent made', async () => {
    const agent = world.startAgent();
    try {
      await until(async () => (await world.estate.database.query('select 1 from agents')).rows.length > 0, 'the agent was heard of');
      expect(await compared(world)).toEqual(['11 missing', '7 different']);
      const { rows } = await world.estate.database.query('select 1 from agent_calls');
      expect(rows).toEqual([]);
    } finally {
      await agent.stop();
    }
  });

  it('is compared through two agents at once, each of which has scans of its own', async () => {
    const agents = [world.startAgent(), world.startAgent()];
    try {
      await until(
        async () =>
          (await world.estate.database.query(`select 1 from agent_runs where seen_at > now() - interval '5 seconds'`)).rows.length > 1,
        'both were heard of',
      );
      // Who takes which call is a matter of chance.
      for (let round = 0; round < 5; round += 1) expect(await compared(world)).toEqual(['11 missing', '7 different']);
    } finally {
      await Promise.all(agents.map((agent) => agent.stop()));
    }
  });

  it('does not wait for an agent that died with a scan: that comparison fails, and the next one goes through another', async () => {
    const doomed = world.startAgent();
    const { database } = world.estate;
    let isTaken = false;
    const failing = (async () => {
      const [connection] = (await world.estate.context.replicas.connections('profiles')).filter(({ replica }) => replica.id === 'us');
      const signal = AbortSignal.timeout(60_000);
      if (connection?.sketching === undefined) throw new Error('no sketches');
      await until(async () => (await database.query('select 1 from agent_runs')).rows.length > 0, 'the agent was heard of');
      const shape = await connection.describe(signal);
      const scan = await connection.sketching.scan(shape, { after: null, upTo: null }, 'canonical', { by: 'place' }, signal);
      isTaken = true;
      await until(async () => !isTaken, 'the agent is gone');
      return scan.refine([0], 1);
    })();
    failing.catch(() => undefined);
    await until(async () => isTaken, 'the scan is open');
    await doomed.stop();
    await database.query(`update agent_runs set seen_at = now() - interval '1 minute'`);
    const next = world.startAgent();
    try {
      await until(
        async () => (await database.query(`select 1 from agent_runs where seen_at > now() - interval '9 seconds'`)).rows.length > 0,
        'the next one',
      );
      isTaken = false;
      await expect(failing).rejects.toMatchObject({ code: 'scan-ended', retry: 'later' });
      expect(await compared(world)).toEqual(['11 missing', '7 different']);
    } finally {
      await next.stop();
    }
  });

  it('gives the calls of an agent that died to the next one', async () => {
    const silent = randomUUID();
    const hello = { protocol: PROTOCOL, version: 'x', collection: 'profiles', replica: 'us', agent: silent };
    await world.post('agent', hello);
    const comparing = compared(world);
    // Takes the first call and is never heard of again.
    const taken = await world.post('agent', { ...hello, take: 1, waitMs: 10_000 });
    expect(taken.body).toMatchObject({ calls: [{ method: 'describe' }] });
    // Its lease is over.
    await world.estate.database.query(`update agent_calls set lease_until = now() - interval '1 second'`);
    const agent = world.startAgent();
    try {
      expect(await comparing).toEqual(['11 missing', '7 different']);
      const late = await world.post('agent', {
        ...hello,
        answers: [
          { call: (taken.body as { readonly calls: readonly { readonly id: number }[] }).calls[0]?.id, seq: 0, part: {}, end: 'done' },
        ],
      });
      expect(late.body).toMatchObject({ gone: [expect.any(Number)] });
    } finally {
      await agent.stop();
    }
  });

  it('is for agents of the domain, of this version, and of a replica that there is', async () => {
    const hello = { protocol: PROTOCOL, version: 'x', collection: 'profiles', replica: 'us', agent: randomUUID() };
    expect((await world.post('vera', hello)).status).toBe(403);
    expect((await world.post('other', hello)).status).toBe(403);
    expect(await world.post('agent', { ...hello, protocol: PROTOCOL + 1 })).toMatchObject({
      status: 409,
      body: { error: { code: 'wrong-version' } },
    });
    expect(await world.post('agent', { ...hello, replica: 'mars' })).toMatchObject({
      status: 404,
      body: { error: { code: 'no-replica' } },
    });
    expect((await world.post('agent', { ...hello, checksum: { count: 1, sum: 'x' } })).status).toBe(400);
  });

  it('I2: is repaired there by compare-and-set, and verified through another connection of the agent', async () => {
    const loops = await world.estate.run();
    const agent = world.startAgent();
    try {
      await until(async () => {
        const { rows } = await world.estate.sql('us', `select id from profiles where (id = 7 and name = 'name 7') or id = 11`);
        return rows.length === 2;
      }, 'us has both rows again');
      await until(
        async () => (await listDivergences(world.estate.database, { status: 'confirmed' }, {})).items.length === 0,
        'no divergence is open',
      );
    } finally {
      await agent.stop();
      await loops.stop();
    }
  });
});

describe('I6: a replica whose values may not leave', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld(domainOf('profiles', { residency: ['eu', 'us'] }));
    await world.estate.sql('us', `update profiles set email = 'hidden@example.org' where id = 7`);
    await world.estate.sql('us', 'delete from profiles where id = 11');
  });
  afterAll(() => world.close());

  it('shows which columns differ and not what they hold; nobody replaces what they cannot see; what is missing is brought', async () => {
    const loops = await world.estate.run();
    const agent = world.startAgent({ mayLeave: false });
    const { database } = world.estate;
    try {
      await until(
        async () => (await world.estate.sql('us', 'select 1 from profiles where id = 11')).rows.length === 1,
        'row 11 is there again',
      );
      const open = await until(async () => {
        const { items } = await listDivergences(database, { status: 'confirmed' }, {});
        return items.length === 1 && items;
      }, 'one divergence stays open');
      expect(open[0]?.columns).toEqual(['email']);
      expect(open[0]?.replicas['us']).toMatchObject({ id: '7', name: 'name 7', email: expect.stringMatching(/^!withheld:[0-9a-f]{24}$/) });
      await until(
        async () =>
          (await listProposals(database, {}, {})).items.some((one) => one.verdict.rules.some((rule) => rule.id === 'withheld-values')),
        'the guard denied the proposal',
      );
      const { rows } = await world.estate.sql('us', 'select email from profiles where id = 7');
      expect(rows).toEqual([{ email: 'hidden@example.org' }]);
      for (const table of ['divergences', 'proposals', 'events', 'agent_parts', 'audit']) {
        const found = await database
          .query(`select 1 from ${table} t where t::text like '%hidden@example.org%'`)
          .catch(() => ({ rows: [] }));
        expect(found.rows, table).toEqual([]);
      }
    } finally {
      await agent.stop();
      await loops.stop();
    }
  });
});
