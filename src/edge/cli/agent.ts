/**
 * `homeostat agent`: the connectors, run in the region of a replica that the service cannot or must not reach. It only dials out: it
 * pushes sketches, asks what it should compute next, and executes effects that were decided there, each by compare-and-set. Values of
 * rows leave only where the domain's residency has the service's region.
 */
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import { openReplica } from '../../io/replicas/registry.ts';
import { type AgentTarget, serveReplica } from '../../runtime/serve-replica.ts';
import { openClient } from './client.ts';
import type { CliContext } from './program.ts';

interface AgentOptions {
  readonly collection: string;
  readonly replica: string;
  readonly server: string;
  readonly config?: string;
  readonly data: string;
  readonly token?: string;
  readonly serverRegion?: string;
  readonly readOnly?: boolean;
  readonly once?: boolean;
  readonly json?: boolean;
}

export function registerAgent(program: Command, context: CliContext): void {
  program
    .command('agent')
    .requiredOption('--collection <name>', 'collection in the configuration')
    .requiredOption('--replica <name>', 'its replica that this agent serves')
    .requiredOption('--server <url>', 'address of the service')
    .option('--config <file>', 'configuration file; here the url of the replica is the one that is connected to')
    .option('--token <token>', 'bearer token of a person with the role agent (default: HOMEOSTAT_TOKEN, or the token file of --data)')
    .option('--data <dir>', 'data directory of the service, where it runs on this machine', '.homeostat')
    .option('--server-region <region>', 'region of the service; row values leave only if the domain may be there')
    .option('--read-only', 'execute no effects here')
    .option('--once', 'push one checksum, answer what waits, and end')
    .option('--json', 'print one JSON line for each thing done')
    .addHelpText(
      'after',
      '\nDeclare the replica in the configuration of the service with `via: agent`; comparisons and repairs then go through this agent.\nStop it with SIGTERM: what it is doing is finished first. Start it again at any time; calls that waited are carried out then.',
    )
    .action((options: AgentOptions) => run(options, context));
}

async function run(options: AgentOptions, context: CliContext): Promise<void> {
  const config = await context.loadConfig(options.config);
  const collection = config.collections[options.collection];
  if (collection === undefined) {
    const known = Object.keys(config.collections);
    throw new Failure(
      'no-collection',
      `There is no collection ${options.collection}: the configuration has ${known.length === 0 ? 'none' : known.join(', ')}.`,
      'never',
    );
  }
  const replica = collection.replicas.find((one) => one.id === options.replica);
  if (replica === undefined) {
    const known = collection.replicas.map((one) => one.id).join(', ');
    throw new Failure('no-replica', `Collection ${collection.name} has no replica ${options.replica}: it has ${known}.`, 'never');
  }
  const residency = config.domains[collection.domain]?.residency ?? [];
  const mayLeave = residency.length === 0 || (options.serverRegion !== undefined && residency.includes(options.serverRegion));
  const client = openClient(
    { data: options.data, url: options.server, ...(options.token === undefined ? {} : { token: options.token }) },
    context,
  );
  const isJson = options.json === true;
  const say = (says: string, facts: Readonly<Record<string, unknown>>): void => {
    if (isJson) context.out(JSON.stringify({ ...facts, says }));
    else context.out(says);
  };
  const target: AgentTarget = {
    collection,
    replica,
    agent: randomUUID(),
    clock: systemClock,
    mayLeave,
    mayWrite: options.readOnly !== true,
    open: () => openReplica(collection, replica),
    post: (body, signal) => client.post('/api/v1/checksums', body, signal),
    say,
    warn: (text) => context.err(text),
  };
  if (!mayLeave) {
    say(
      `Row values of ${collection.name} stay here: the domain ${collection.domain} may be in ${residency.join(', ')}${options.serverRegion === undefined ? ', and --server-region was not given' : `, not in ${options.serverRegion}`}. Keys and digests leave.`,
      { event: 'values-stay', collection: collection.name, replica: replica.id },
    );
  }
  await serveReplica(target, { once: options.once === true, signal: context.signal });
}
