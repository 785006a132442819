import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { systemClock } from './base/clock.ts';
import { Failure } from './base/failure.ts';
import type { Config } from './config.ts';
import { startApi } from './edge/api/server.ts';
import { parsePolicies, type Policies } from './guard/cedar.ts';
import type { Journal } from './io/journal/journal.ts';
import { openLmdbJournal } from './io/journal/lmdb.ts';
import { openMemoryJournal } from './io/journal/memory.ts';
import { openLlm } from './io/llm/openai.ts';
import { readChooseRepairPrompt } from './io/llm/prompt-file.ts';
import { readTls } from './io/otlp/tls-files.ts';
import { openPostgresQueue, openRedisQueue } from './io/queue/bullmq.ts';
import type { Queue } from './io/queue/queue.ts';
import { openRemoteReplica } from './io/replicas/remote/remote.ts';
import { openReplica } from './io/replicas/registry.ts';
import { openDatabase } from './io/store/database.ts';
import { openEmbeddedPostgres } from './io/store/embedded.ts';
import { migrate } from './io/store/migrate.ts';
import type { Log } from './io/telemetry/log.ts';
import { openTarget } from './io/targets/registry.ts';
import type { Target } from './io/targets/target.ts';
import { createMetrics } from './io/telemetry/metrics.ts';
import { type Pipeline, startPipeline } from './pipeline.ts';
import { openAgentMailbox } from './runtime/agent-mailbox.ts';
import type { RuntimeContext } from './runtime/context.ts';
import { metricHelp } from './runtime/metric-names.ts';
import { createReplicaPool } from './runtime/replica-pool.ts';
import { renderMetrics } from './runtime/render-metrics.ts';

export type Role = 'all' | 'ingest' | 'worker' | 'api';
export const roles: readonly Role[] = ['all', 'ingest', 'worker', 'api'];

export interface ServiceOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Everything that is kept: our own database where it is embedded, the journal, tokens, keys. */
  readonly dataDir: string;
  readonly host: string;
  /** API here, OTLP/HTTP and OTLP/gRPC on the next two; 0: any free ports; undefined: 7077, 4318, 4317. */
  readonly portBase: number | undefined;
  readonly role: Role;
  readonly log: Log;
}

/** Where the service answers; undefined for what this role does not serve. */
export interface Service {
  readonly ui: string | undefined;
  readonly api: string | undefined;
  readonly otlpHttp: string | undefined;
  readonly otlpGrpc: string | undefined;
  close(): Promise<void>;
}

const apiPort = 7077;
const otlpHttpPort = 4318;
const otlpGrpcPort = 4317;

/** Builds the real adapters and hands them to the loops. What was opened before something failed is closed again. */
export async function startService(options: ServiceOptions): Promise<Service> {
  const opened: { readonly what: string; close(): Promise<void> }[] = [];
  const close = async (): Promise<void> => {
    for (const one of opened.splice(0).toReversed()) {
      try {
        await one.close();
      } catch (error) {
        options.log('warn', `${one.what} did not close: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  };
  try {
    return { ...(await open(options, (what, end) => opened.push({ what, close: end }))), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function open(options: ServiceOptions, keep: (what: string, close: () => Promise<void>) => void): Promise<Omit<Service, 'close'>> {
  const { config, host, role, log } = options;
  const dataDir = resolve(options.dataDir);
  makeDataDir(dataDir);
  const [wantedApi, wantedHttp, wantedGrpc] = portsFrom(options.portBase);

  let url = config.database;
  if (config.database === 'embedded') {
    const embedded = await openEmbeddedPostgres({ dataDir });
    keep('the embedded PostgreSQL', () => embedded.close());
    url = embedded.url;
  }
  const database = openDatabase(url);
  keep('the database', () => database.close());
  const { ran } = await migrate(database);
  if (ran.length > 0) log('info', `our database is set up: ${ran.join(', ')}`);
  const queue = await openQueue(config, url, log);

  const agents = openAgentMailbox(database, systemClock);
  keep('calls to agents', () => agents.close());
  const replicas = createReplicaPool(config.collections, async (collection, replica, purpose) =>
    replica.via === 'agent' ? openRemoteReplica(collection, replica, purpose, agents) : openReplica(collection, replica),
  );
  keep('replica connections', () => replicas.close());
  const targets: Readonly<Record<string, Target>> = Object.fromEntries(
    Object.values(config.targets).map((target) => [target.name, openTarget(target)]),
  );
  for (const target of Object.values(targets)) keep(`the target ${target.name}`, () => target.close());
  const llm = config.llm === undefined ? undefined : openLlm(config.llm, options.env, systemClock);
  const context: RuntimeContext = {
    database,
    domains: config.domains,
    collections: config.collections,
    clock: systemClock,
    log,
    metrics: createMetrics(metricHelp),
    replicas,
    agents,
    targets,
    policies: readPolicies(config.policies),
    llm,
    promptTemplate: readChooseRepairPrompt(),
    hmacKey: readSecret(join(dataDir, 'hmac.key')),
  };

  const takesOperations = role === 'all' || role === 'ingest';
  const journal = takesOperations ? await openJournal(config, dataDir) : undefined;
  if (journal !== undefined) keep('the journal', () => journal.close());
  const tls = takesOperations && config.ingest.tls !== undefined ? readTls(config.ingest.tls) : undefined;
  const pipeline: Pipeline = await startPipeline(context, {
    config,
    queue,
    ...(journal === undefined
      ? {}
      : { ingest: { host, httpPort: wantedHttp, grpcPort: wantedGrpc, journal, ...(tls === undefined ? {} : { tls }) } }),
    isWorker: role === 'all' || role === 'worker',
    isOnlyProcess: role === 'all' && config.database === 'embedded',
    dataDir,
  });
  keep('the pipeline', () => pipeline.close());
  if (llm !== undefined && (role === 'all' || role === 'worker')) {
    const probing = new AbortController();
    keep('the probe of the model', () => Promise.resolve(probing.abort()));
    // Nothing waits for it: the service works without a model.
    void llm.probe(probing.signal).then(
      ({ is, says }) => log(is === 'ready' ? 'info' : 'warn', `llm: ${says}`),
      () => undefined,
    );
  }
  const { ingest } = pipeline;

  const shownHost = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  const addressOf = (port: number | null | undefined): string | undefined =>
    port === null || port === undefined ? undefined : `${tls === undefined ? 'http' : 'https'}://${shownHost}:${port}`;
  const api =
    role === 'all' || role === 'api'
      ? await startApi({ context, metrics: () => renderMetrics(context, ingest), host, port: wantedApi, dataDir, config })
      : undefined;
  if (api !== undefined) keep('the API', () => api.close());
  return { ui: api?.loginUrl, api: api?.url, otlpHttp: addressOf(ingest?.httpPort), otlpGrpc: addressOf(ingest?.grpcPort) };
}

function portsFrom(base: number | undefined): readonly [number, number, number] {
  if (base === undefined) return [apiPort, otlpHttpPort, otlpGrpcPort];
  return base === 0 ? [0, 0, 0] : [base, base + 1, base + 2];
}

function makeDataDir(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true });
  } catch (cause) {
    const because =
      cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC' ? 'there is no disk space left' : 'it is not allowed';
    throw new Failure('data-dir', `the data directory ${dataDir} cannot be made, ${because}: choose another with --data`, 'never', cause);
  }
}

function openQueue(config: Config, databaseUrl: string, log: Log): Promise<Queue> {
  // BullMQ reports a lost connection with every retry; the relay says once that the queue is away.
  let said = '';
  const onError = (error: Error): void => {
    if (error.message === said) return;
    said = error.message;
    log('warn', `queue: ${error.message}`);
  };
  return config.queue === 'database' ? openPostgresQueue(databaseUrl, onError) : openRedisQueue(config.queue, onError);
}

async function openJournal(config: Config, dataDir: string): Promise<Journal> {
  const maxBytes = config.ingest.journalMb * 1024 * 1024;
  return config.ingest.journal === 'memory'
    ? openMemoryJournal({ maxBytes })
    : openLmdbJournal({ directory: join(dataDir, 'journal'), maxBytes });
}

function readPolicies(folder: string | null): Policies | undefined {
  if (folder === null) return undefined;
  if (!existsSync(folder))
    throw new Failure('policies', `the policy folder ${folder} is not there: make it, or correct \`policies\``, 'never');
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.cedar'))
    .toSorted()
    .map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }));
  const parsed = parsePolicies(files);
  if (parsed.is === 'error') throw new Failure('policies', `the policies in ${folder} do not hold: ${parsed.problems.join('; ')}`, 'never');
  return parsed.policies;
}

/** A secret of this installation, made once. */
function readSecret(path: string): Uint8Array {
  if (!existsSync(path)) {
    const draft = `${path}.${process.pid}`;
    writeFileSync(draft, randomBytes(32), { mode: 0o600 });
    renameSync(draft, path);
  }
  return readFileSync(path);
}
