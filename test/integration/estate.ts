import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import type { Collection } from '../../src/domain/collection.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import type { Llm } from '../../src/io/llm/llm.ts';
import { readChooseRepairPrompt } from '../../src/io/llm/prompt-file.ts';
import { openPostgresQueue } from '../../src/io/queue/bullmq.ts';
import type { Queue } from '../../src/io/queue/queue.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { openRemoteReplica } from '../../src/io/replicas/remote/remote.ts';
import { openAgentMailbox } from '../../src/runtime/agent-mailbox.ts';
import { type Database, openDatabase } from '../../src/io/store/database.ts';
import { migrate } from '../../src/io/store/migrate.ts';
import { createMetrics } from '../../src/io/telemetry/metrics.ts';
import type { RuntimeContext } from '../../src/runtime/context.ts';
import { metricHelp } from '../../src/runtime/metric-names.ts';
import { createReplicaPool, type ReplicaPool } from '../../src/runtime/replica-pool.ts';
import { startLoops } from '../../src/runtime/start-loops.ts';
import { startPostgres } from '../servers/postgres.ts';

/** A domain as the configuration would give it, with what a test changes. */
export function domainOf(
  name: string,
  changes: Partial<Omit<ConsistencyDomain, 'repair'>> & { readonly repair?: Partial<ConsistencyDomain['repair']> } = {},
): ConsistencyDomain {
  return {
    name,
    consistency: 'eventual',
    stalenessMs: 200,
    residency: [],
    risk: 'low',
    llm: { enabled: false, rawValues: false, tokensPerDay: 0 },
    ...changes,
    repair: { mode: 'auto', approvals: 1, rowsPerHour: 10_000, undoHours: 24, approvalExpiryMinutes: 60, ...changes.repair },
  };
}

export interface Estate {
  readonly context: RuntimeContext;
  readonly database: Database;
  readonly storeUrl: string;
  readonly collections: Readonly<Record<string, Collection>>;
  /** Runs SQL on a region's database. */
  sql(region: string, text: string, values?: readonly unknown[]): Promise<pg.QueryResult>;
  /** Starts scans, workers, relay and sweeper. */
  run(queue?: Queue): Promise<{ stop(): Promise<void> }>;
  /** Opens the connections to replicas anew, after the configuration of one changed. */
  reopenReplicas(): Promise<void>;
  close(): Promise<void>;
}

export interface EstateOptions {
  /** Regions whose database the service reaches only through an agent. */
  readonly throughAgents?: readonly string[];
  readonly regions?: readonly string[];
  readonly domain?: ConsistencyDomain;
  /** Statements run on every region's database before anything else. */
  readonly schema?: readonly string[];
  readonly collection?: Partial<Collection>;
  readonly clock?: Clock;
  readonly llm?: Llm;
}

/** Real PostgreSQL: the service's own database and one database a region, each with a `profiles` table. */
export async function startEstate(options: EstateOptions = {}): Promise<Estate> {
  const regions = options.regions ?? ['eu', 'us', 'ap'];
  const domain = options.domain ?? domainOf('profiles');
  const server = await startPostgres();
  const storeUrl = await server.createDatabase('store');
  const urls = new Map<string, string>();
  const pools = new Map<string, pg.Pool>();
  for (const region of regions) {
    const url = await server.createDatabase(region);
    urls.set(region, url);
    const pool = new pg.Pool({ connectionString: url, max: 4 });
    pool.on('error', () => undefined);
    pools.set(region, pool);
    for (const statement of options.schema ?? [
      'create table profiles (id bigint primary key, name text, email text, updated_at timestamptz not null default now())',
    ]) {
      await pool.query(statement);
    }
  }
  const collection: Collection = {
    name: 'profiles',
    domain: domain.name,
    key: ['id'],
    columnClasses: { updated_at: 'clock' },
    excludedColumns: [],
    invariants: [],
    scanEveryMs: 200,
    replicas: regions.map((region) => ({
      id: region,
      engine: 'postgres',
      url: urls.get(region) ?? '',
      region,
      role: 'peer',
      table: 'profiles',
      columnNames: {},
      ...(options.throughAgents?.includes(region) === true ? { via: 'agent' as const } : {}),
    })),
    ...options.collection,
  };
  const collections = { [collection.name]: collection };
  const database = openDatabase(storeUrl);
  await migrate(database);
  const agents = openAgentMailbox(database, options.clock ?? systemClock);
  const openPool = (): ReplicaPool =>
    createReplicaPool(collections, async (of, replica, purpose) =>
      replica.via === 'agent' ? openRemoteReplica(of, replica, purpose, agents) : openReplica(of, replica),
    );
  let pool = openPool();
  const replicas: ReplicaPool = {
    connections: (name) => pool.connections(name),
    verifiers: (name) => pool.verifiers(name),
    close: () => pool.close(),
  };
  const context: RuntimeContext = {
    database,
    domains: { [domain.name]: domain },
    collections,
    clock: options.clock ?? systemClock,
    log: (level, says, facts) => {
      if (process.env['TEST_LOG'] !== undefined) console.error(level, says, facts);
    },
    metrics: createMetrics(metricHelp),
    replicas,
    agents,
    policies: undefined,
    llm: options.llm,
    promptTemplate: readChooseRepairPrompt(),
    hmacKey: new Uint8Array(32),
  };
  return {
    context,
    database,
    storeUrl,
    collections,
    sql: async (region, text, values) => {
      const pool = pools.get(region);
      if (pool === undefined) throw new Error(`no region ${region}`);
      return pool.query(text, values as unknown[] | undefined);
    },
    run: async (queue) => {
      const loops = await startLoops(context, queue ?? (await openPostgresQueue(storeUrl, () => undefined)), {
        isOnlyProcess: true,
        sweeper: { everyMs: 300, quietMs: 500 },
      });
      return { stop: () => loops.close(5_000) };
    },
    reopenReplicas: async () => {
      pool = openPool();
    },
    close: async () => {
      await replicas.close();
      await agents.close();
      await Promise.all([...pools.values()].map((pool) => pool.end()));
      await database.close();
      await server.close();
    },
  };
}

/** Waits until `holds` answers something other than undefined or false. */
export async function until<T>(holds: () => Promise<T | undefined | false>, what: string, timeoutMs = 60_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await holds();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`did not come true in ${timeoutMs} ms: ${what}`);
    await delay(50);
  }
}
