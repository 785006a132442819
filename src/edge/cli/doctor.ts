import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import type { Config } from '../../config.ts';
import { defaultConfig } from '../../config.ts';
import { agreeShape } from '../../domain/agree-shape.ts';
import { type Collection, isCompared, type Replica } from '../../domain/collection.ts';
import type { Shape } from '../../domain/row.ts';
import { parsePolicies } from '../../guard/cedar.ts';
import { changeFeedOf } from '../../io/replicas/changes/registry.ts';
import { openLlm } from '../../io/llm/openai.ts';
import { openReplica } from '../../io/replicas/registry.ts';
import { readTls } from '../../io/otlp/tls-files.ts';
import { openDatabase } from '../../io/store/database.ts';
import { openTarget } from '../../io/targets/registry.ts';
import type { Target } from '../../io/targets/target.ts';
import { paint } from './print.ts';
import type { CliContext } from './program.ts';

interface Check {
  readonly what: string;
  readonly is: 'fine' | 'warning' | 'problem';
  readonly says: string;
}

interface DoctorOptions {
  readonly config?: string;
  readonly data: string;
  readonly host: string;
  readonly json?: boolean;
}

/** A replica that takes longer to say what it is has a problem of its own. */
const replicaTimeoutMs = 10_000;
/** Clocks further apart than this make last-writer-wins and staleness budgets guess. */
const maxSkewMs = 500;
const minFreeBytes = 2 * 1024 ** 3;

export function registerDoctor(program: Command, context: CliContext): void {
  program
    .command('doctor')
    .option('--config <file>', 'config file (default: homeostat.yaml, where there is one)')
    .option('--data <dir>', 'data directory', '.homeostat')
    .option('--host <host>', 'address that the service would listen on', '127.0.0.1')
    .option('--json', 'one JSON object a check and line')
    .action(async (options: DoctorOptions) => {
      let problems = 0;
      let warnings = 0;
      const say = (check: Check): void => {
        if (check.is === 'problem') problems += 1;
        if (check.is === 'warning') warnings += 1;
        if (options.json === true) return context.out(JSON.stringify(check));
        const mark =
          check.is === 'fine'
            ? paint(context, 'green', 'ok  ')
            : check.is === 'warning'
              ? paint(context, 'amber', 'warn')
              : paint(context, 'red', 'BAD ');
        context.out(`${mark}  ${check.what}: ${check.says}`);
      };
      say({ what: 'node', is: 'fine', says: `${process.version} on ${process.platform}-${process.arch}` });
      const config = await checkConfig(options, context, say);
      checkData(resolve(context.cwd, options.data), options.data, say);
      if (config !== null) {
        checkIngest(config, say);
        checkPolicies(config, say);
        await checkLlm(config, context, say);
        await checkDatabase(config, say);
        for (const collection of Object.values(config.collections)) await checkCollection(collection, context.signal, say);
        for (const target of Object.values(config.targets)) await checkTarget(openTarget(target), context.signal, say);
      }
      if (!existsSync(join(resolve(context.cwd, options.data), 'runtime.json')))
        for (const port of [7077, 4318, 4317]) await checkPort(options.host, port, say);
      if (options.json !== true) {
        context.out('');
        context.out(
          problems === 0
            ? `Nothing stands in the way${warnings === 0 ? '' : `; ${warnings} to look at`}.`
            : `${problems} ${problems === 1 ? 'problem' : 'problems'} to put right first.`,
        );
      }
      context.exit(problems === 0 ? 0 : 1);
    });
}

type Say = (check: Check) => void;

async function checkConfig(options: DoctorOptions, context: CliContext, say: Say): Promise<Config | null> {
  const file = options.config ?? 'homeostat.yaml';
  if (options.config === undefined && !existsSync(resolve(context.cwd, file))) {
    say({
      what: 'config',
      is: 'warning',
      says: 'there is no homeostat.yaml here: traces are read, but no replicas are compared until one names them.',
    });
    return defaultConfig();
  }
  try {
    const config = await context.loadConfig(file);
    const [domains, collections] = [Object.keys(config.domains).length, Object.keys(config.collections).length];
    say({
      what: 'config',
      is: 'fine',
      says: `${file}: ${domains} ${domains === 1 ? 'domain' : 'domains'}, ${collections} ${collections === 1 ? 'collection' : 'collections'}`,
    });
    for (const warning of config.warnings) say({ what: 'config', is: 'warning', says: warning });
    return config;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    for (const line of error.message.split('\n')) say({ what: 'config', is: 'problem', says: line });
    return null;
  }
}

function checkData(dataDir: string, shown: string, say: Say): void {
  try {
    mkdirSync(dataDir, { recursive: true });
    accessSync(dataDir, constants.R_OK | constants.W_OK);
  } catch {
    return say({ what: 'data', is: 'problem', says: `${shown} cannot be written: give it to this user, or name another with --data.` });
  }
  const { bavail, bsize } = statfsSync(dataDir);
  const freeGb = ((bavail * bsize) / 1024 ** 3).toFixed(1);
  if (bavail * bsize < minFreeBytes)
    return say({ what: 'data', is: 'warning', says: `${shown} has ${freeGb} GB free: the journal alone may grow to several; free some.` });
  say({ what: 'data', is: 'fine', says: `${shown}, ${freeGb} GB free` });
}

const soonMs = 14 * 86_400_000;

function checkIngest(config: Config, say: Say): void {
  const { tls, token } = config.ingest;
  const asks = token === undefined ? 'no token is asked for' : 'a bearer token is asked for';
  if (tls === undefined) return say({ what: 'ingest', is: 'fine', says: `exporters come without TLS; ${asks}` });
  try {
    const { validUntilMs, names } = readTls(tls);
    const leftMs = validUntilMs - Date.now();
    const until = new Date(validUntilMs).toISOString().slice(0, 10);
    if (leftMs < 0) return say({ what: 'ingest', is: 'problem', says: `the certificate ${tls.cert} ended on ${until}: renew it.` });
    if (leftMs < soonMs)
      return say({ what: 'ingest', is: 'warning', says: `the certificate ${tls.cert} ends on ${until}: renew it soon.` });
    say({ what: 'ingest', is: 'fine', says: `TLS for ${names}, valid until ${until}; ${asks}` });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say({ what: 'ingest', is: 'problem', says: `${error.message}.` });
  }
}

function checkPolicies(config: Config, say: Say): void {
  if (config.policies === null) return;
  let files: readonly { readonly name: string; readonly text: string }[];
  try {
    files = readdirSync(config.policies)
      .filter((name) => name.endsWith('.cedar'))
      .map((name) => ({ name, text: readFileSync(join(config.policies ?? '', name), 'utf8') }));
  } catch {
    return say({
      what: 'policies',
      is: 'problem',
      says: `${config.policies} cannot be read: create the folder, or take \`policies\` out of the config.`,
    });
  }
  const parsed = parsePolicies(files);
  if (parsed.is === 'error') for (const problem of parsed.problems) say({ what: 'policies', is: 'problem', says: problem });
  else say({ what: 'policies', is: 'fine', says: `${files.length} ${files.length === 1 ? 'file' : 'files'} in ${config.policies}` });
}

async function checkLlm(config: Config, context: CliContext, say: Say): Promise<void> {
  if (config.llm === undefined) return say({ what: 'llm', is: 'fine', says: 'none: heuristics choose alone' });
  const isLocal = /^https?:\/\/(localhost|127\.|\[::1\])/.test(config.llm.baseUrl);
  if (context.env[config.llm.apiKeyEnv] === undefined && !isLocal)
    return say({
      what: 'llm',
      is: 'warning',
      says: `${config.llm.apiKeyEnv} is not set: ${config.llm.baseUrl} will probably refuse; set it, or name another with llm.apiKeyEnv.`,
    });
  const { is, says } = await openLlm(config.llm, context.env, systemClock).probe(context.signal);
  say({ what: 'llm', is: is === 'ready' ? 'fine' : 'warning', says });
}

async function checkDatabase(config: Config, say: Say): Promise<void> {
  if (config.database === 'embedded') return say({ what: 'database', is: 'fine', says: 'embedded' });
  const database = openDatabase(config.database, { poolSize: 1 });
  try {
    const { rows } = await database.query<{ version: string; can: boolean }>(
      `select current_setting('server_version') as version, has_database_privilege(current_database(), 'create') as can`,
    );
    const version = rows[0]?.version ?? '?';
    if (rows[0]?.can !== true)
      return say({
        what: 'database',
        is: 'problem',
        says: `PostgreSQL ${version} answers, but this user may not create a schema: grant create on database to it.`,
      });
    say({ what: 'database', is: 'fine', says: `PostgreSQL ${version}` });
  } catch (error) {
    say({ what: 'database', is: 'problem', says: error instanceof Error ? error.message : String(error) });
  } finally {
    await database.close();
  }
}

async function checkCollection(collection: Collection, signal: AbortSignal, say: Say): Promise<void> {
  if (!isCompared(collection))
    return say({ what: collection.name, is: 'fine', says: 'no replicas: nothing is compared, its traces are looked at' });
  const answers = await Promise.all(collection.replicas.map((replica) => checkReplica(collection, replica, signal)));
  for (const answer of answers) say(answer.check);
  await checkChanges(collection, answers, signal, say);
  const shapes = answers.flatMap((answer) => (answer.shape === null ? [] : [{ replica: answer.replica, shape: answer.shape }]));
  if (shapes.length < 2) return;
  const agreed = agreeShape(collection.name, shapes);
  say(
    agreed.is === 'agreed'
      ? {
          what: collection.name,
          is: 'fine',
          says: `${agreed.shape.columns.length} columns are compared, key ${agreed.shape.key.join(', ')}`,
        }
      : { what: collection.name, is: 'problem', says: agreed.says },
  );
}

async function checkTarget(target: Target, signal: AbortSignal, say: Say): Promise<void> {
  const what = `target ${target.name}`;
  try {
    say({ what, is: 'fine', says: await target.describe(AbortSignal.any([signal, AbortSignal.timeout(replicaTimeoutMs)])) });
  } catch (error) {
    say({ what, is: 'problem', says: error instanceof Error ? error.message : String(error) });
  } finally {
    await target.close();
  }
}

async function checkReplica(
  collection: Collection,
  replica: Replica,
  signal: AbortSignal,
): Promise<{ readonly replica: string; readonly shape: Shape | null; readonly check: Check }> {
  const what = `${collection.name}.${replica.id}`;
  const connection = await openReplica(collection, replica);
  const limited = AbortSignal.any([signal, AbortSignal.timeout(replicaTimeoutMs)]);
  try {
    const shape = await connection.describe(limited);
    const askedMs = Date.now();
    const position = await connection.position(limited);
    const answeredMs = Date.now();
    // The reading was made somewhere between asking and answering: only what lies outside is skew.
    const skewMs = Math.max(0, askedMs - position.atMs, position.atMs - answeredMs);
    if (skewMs > maxSkewMs)
      return {
        replica: replica.id,
        shape,
        check: {
          what,
          is: 'warning',
          says: `its clock is ${skewMs} ms away from ours: run a time service on both, or last-writer-wins may choose wrongly.`,
        },
      };
    return {
      replica: replica.id,
      shape,
      check: { what, is: 'fine', says: `${replica.engine} in ${replica.region}, ${position.is} ${position.text}` },
    };
  } catch (error) {
    const says =
      limited.aborted && !signal.aborted
        ? `no answer within ${replicaTimeoutMs / 1000} s: check the address and the firewall.`
        : error instanceof Error
          ? error.message
          : String(error);
    return { replica: replica.id, shape: null, check: { what, is: 'problem', says } };
  } finally {
    await connection.close();
  }
}

/** Whether the stores tell their writes; where they do not, scans and traces find them, later. */
async function checkChanges(
  collection: Collection,
  described: readonly { readonly replica: string; readonly shape: Shape | null }[],
  signal: AbortSignal,
  say: Say,
): Promise<void> {
  if (collection.changes === undefined) return;
  for (const replica of collection.replicas) {
    const feed = changeFeedOf(replica.engine);
    const shape = described.find((one) => one.replica === replica.id)?.shape;
    // A replica that could not be described has said so.
    if (feed === undefined || shape === undefined || shape === null || replica.via === 'agent') continue;
    const what = `${collection.name}.${replica.id} changes`;
    try {
      const because = await feed.whyNot({ collection, replica, shape }, AbortSignal.any([signal, AbortSignal.timeout(replicaTimeoutMs)]));
      if (because === undefined) say({ what, is: 'fine', says: `told by ${feed.id}` });
      else say({ what, is: 'warning', says: because });
    } catch (error) {
      say({ what, is: 'warning', says: error instanceof Error ? error.message : String(error) });
    }
  }
}

function checkPort(host: string, port: number, say: Say): Promise<void> {
  return new Promise((done) => {
    const probe = createServer();
    probe.once('error', () => {
      say({ what: `port ${port}`, is: 'warning', says: `in use on ${host}: stop what listens there, or start with --port-base.` });
      done();
    });
    probe.listen(port, host, () =>
      probe.close(() => {
        say({ what: `port ${port}`, is: 'fine', says: 'free' });
        done();
      }),
    );
  });
}
