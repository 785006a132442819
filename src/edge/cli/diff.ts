import type { Command } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import type { Collection, Replica } from '../../domain/collection.ts';
import type { Divergence } from '../../domain/divergence.ts';
import { openReplica } from '../../io/replicas/registry.ts';
import type { ReplicaConnection } from '../../io/replicas/replica.ts';
import { compareReplicas, type CompareProgress, type CompareSummary } from '../../runtime/compare.ts';
import type { CliContext } from './program.ts';

interface DiffOptions {
  readonly config?: string;
  readonly replicas?: string;
  readonly json?: boolean;
  readonly wait?: boolean;
}

/** `homeostat diff COLLECTION`: compares once. Exit 0 equal, 1 differ, 2 could not compare. */
export function registerDiff(program: Command, context: CliContext): void {
  program
    .command('diff')
    .description('Compare the replicas of a collection once: the keys that differ, how, and in which columns.')
    .argument('<collection>', 'name of a collection in the configuration')
    .option('--config <file>', 'configuration file')
    .option('--replicas <a,b>', 'compare only these replicas')
    .option('--wait', "wait until each replica has passed the position, or the domain's staleness budget, before a difference counts")
    .option('--json', 'print one JSON line a differing key and a last line with the summary')
    .action(async (name: string, options: DiffOptions) => {
      const config = context.loadConfig(options.config);
      const declared = config.collections[name];
      if (declared === undefined) {
        const known = Object.keys(config.collections);
        throw new Failure(
          'no-collection',
          `There is no collection ${name}: the configuration has ${known.length === 0 ? 'none' : known.join(', ')}.`,
          'never',
        );
      }
      const replicas = chosenReplicas(declared, options.replicas);
      const collection = { ...declared, replicas };
      const stalenessMs = config.domains[declared.domain]?.stalenessMs ?? 0;
      const connections: ReplicaConnection[] = [];
      try {
        for (const replica of replicas) connections.push(await openReplica(collection, replica));
        const isDifferent = await run(collection, connections, stalenessMs, options, context);
        context.exit(isDifferent ? 1 : 0);
      } finally {
        await Promise.allSettled(connections.map((connection) => connection.close()));
      }
    });
}

function chosenReplicas(collection: Collection, choice: string | undefined): readonly Replica[] {
  if (choice !== undefined) {
    const ids = [...new Set(choice.split(',').map((id) => id.trim()))].filter((id) => id !== '');
    const chosen = ids.map((id) => {
      const replica = collection.replicas.find((one) => one.id === id);
      if (replica === undefined) {
        const known = collection.replicas.map((one) => one.id).join(', ');
        throw new Failure('no-replica', `Collection ${collection.name} has no replica ${id}: it has ${known}.`, 'never');
      }
      return replica;
    });
    if (chosen.length < 2)
      throw new Failure('one-replica', 'Comparing takes two replicas: name two or more, as in --replicas eu,us.', 'never');
    return chosen;
  }
  if (collection.replicas.length < 2) {
    throw new Failure('one-replica', `Collection ${collection.name} has fewer than two replicas: add one to the configuration.`, 'never');
  }
  return collection.replicas;
}

async function run(
  collection: Collection,
  connections: readonly ReplicaConnection[],
  stalenessMs: number,
  options: DiffOptions,
  context: CliContext,
): Promise<boolean> {
  const found = compareReplicas({
    collection,
    connections,
    stalenessMs,
    clock: systemClock,
    signal: context.signal,
    confirm: options.wait === true ? 'wait' : 'once',
    ...(context.isTty && options.json !== true ? { onProgress: progressLine(context) } : {}),
  });
  // With --wait the first sight is not yet a result: what is printed then is what confirmation has made of it.
  let differing = 0;
  const seen = new Set<string>();
  for (;;) {
    const next = await found.next();
    if (next.done === true) {
      context.out(
        options.json === true ? JSON.stringify({ summary: summaryOf(next.value, differing) }) : summaryText(next.value, differing),
      );
      return differing > 0;
    }
    const key = JSON.stringify(next.value.key);
    if (options.wait === true && !seen.has(key)) {
      seen.add(key);
      continue;
    }
    seen.delete(key);
    differing += 1;
    context.out(options.json === true ? JSON.stringify(lineOf(next.value)) : textOf(next.value));
  }
}

function lineOf(divergence: Divergence): object {
  const { key, is, replicas, columns, status } = divergence;
  return { key, is, replicas, columns, status };
}

function summaryOf(summary: CompareSummary, differing: number): object {
  const { shape, ...counters } = summary;
  return { ...counters, differing, columns: shape.columns.map((column) => column.name) };
}

function textOf(divergence: Divergence): string {
  const key = Object.entries(divergence.key)
    .map(([column, value]) => `${column} ${quoted(value)}`)
    .join(', ');
  const lines = [`${key}: ${divergence.is}${divergence.columns.length === 0 ? '' : ` in ${divergence.columns.join(', ')}`}`];
  const width = Math.max(...Object.keys(divergence.replicas).map((id) => id.length));
  for (const [id, row] of Object.entries(divergence.replicas)) {
    const shown = divergence.columns.length > 0 ? divergence.columns : Object.keys(row ?? {});
    const says = row === null ? 'no row' : shown.map((column) => `${column}=${quoted(row[column] ?? null)}`).join(' ');
    lines.push(`  ${id.padEnd(width)}  ${says}`);
  }
  return lines.join('\n');
}

/** NULL apart from text; control characters escaped, so that a value cannot write to the terminal. */
function quoted(value: string | null): string {
  if (value === null) return 'NULL';
  const text = JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}…` : value);
  // eslint-disable-next-line no-control-regex
  return text.replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function summaryText(summary: CompareSummary, differing: number): string {
  const verdict =
    differing === 0
      ? `${summary.collection}: ${summary.replicas.join(', ')} are equal.`
      : `${summary.collection}: ${differing} ${differing === 1 ? 'key differs' : 'keys differ'} among ${summary.replicas.join(', ')}.`;
  const n = (value: number): string => value.toLocaleString('en-US');
  return `${verdict} ${n(summary.rowsScanned)} rows scanned, ${n(summary.bytesMoved)} bytes moved, ${n(summary.rowsFetched)} rows fetched, ${summary.rounds} rounds, ${summary.seconds.toFixed(1)} s.`;
}

function progressLine(context: CliContext): (progress: CompareProgress) => void {
  let shownAtMs = systemClock.monotonicMs();
  return (progress) => {
    const now = systemClock.monotonicMs();
    if (now - shownAtMs < 1_000) return;
    shownAtMs = now;
    context.err(
      `${progress.phase} ${progress.of === 0 ? '' : `${Math.floor((100 * progress.done) / progress.of)} %`} · ${progress.differing} differing so far`,
    );
  };
}
