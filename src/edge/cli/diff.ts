import { resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { type Command, InvalidArgumentError } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import type { Collection, Replica } from '../../domain/collection.ts';
import type { Divergence } from '../../domain/divergence.ts';
import { openReplica } from '../../io/replicas/registry.ts';
import type { ReplicaConnection } from '../../io/replicas/replica.ts';
import { compareReplicas, type CompareProgress, type CompareSummary } from '../../runtime/compare.ts';
import { checkpointFile } from './diff-checkpoint.ts';
import { DiffTally, divergenceText, progressText, summaryText } from './diff-text.ts';
import type { CliContext } from './program.ts';

interface DiffOptions {
  readonly config?: string;
  readonly replicas?: string;
  readonly json?: boolean;
  readonly wait?: boolean;
  readonly resume?: boolean;
  readonly data: string;
  readonly chunkRows?: number;
}

/** `homeostat diff COLLECTION`: compares once. Exit 0 equal, 1 differ, 2 could not compare. */
export function registerDiff(program: Command, context: CliContext): void {
  program
    .command('diff')
    .argument('<collection>', 'name of a collection in the configuration')
    .option('--config <file>', 'configuration file')
    .option('--replicas <a,b>', 'compare only these replicas')
    .option('--wait', "wait until each replica has passed the position, or the domain's staleness budget, before a difference counts")
    .option('--resume', 'go on where a comparison that was cut short had come to')
    .option('--chunk-rows <n>', 'compare tables larger than this in chunks of about 10 s', parseRows)
    .option('--data <dir>', 'where a long comparison keeps how far it has come', '.homeostat')
    .option('--json', 'print one JSON line a differing key and a last line with the summary')
    .action(async (name: string, options: DiffOptions) => {
      const config = await context.loadConfig(options.config);
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

function parseRows(text: string): number {
  if (!/^[1-9]\d{0,11}$/.test(text)) throw new InvalidArgumentError('a number of rows is a whole number above zero.');
  return Number(text);
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

/** Differences that are held back so that the verdict can stand before them. */
const HELD_BACK = 1_000;
const PROGRESS_MS = 2_000;

async function run(
  collection: Collection,
  connections: readonly ReplicaConnection[],
  stalenessMs: number,
  options: DiffOptions,
  context: CliContext,
): Promise<boolean> {
  boundHeap();
  const file = checkpointFile(resolve(context.cwd, options.data), collection);
  const resumed = options.resume === true ? file.read() : undefined;
  const isJson = options.json === true;
  const tally = new DiffTally();
  tally.differing = resumed?.differing ?? 0;
  let progress: CompareProgress | undefined;
  const startedMs = systemClock.monotonicMs();
  const found = compareReplicas({
    collection,
    connections,
    stalenessMs,
    clock: systemClock,
    signal: context.signal,
    confirm: options.wait === true ? 'wait' : 'once',
    ...(resumed === undefined ? {} : { range: { after: resumed.after, upTo: null } }),
    ...(options.chunkRows === undefined ? {} : { singleChunkRows: options.chunkRows }),
    onProgress: (latest) => (progress = latest),
    onCheckpoint: ({ after, rowsDone }) => {
      release();
      file.write({ after, rowsDone: (resumed?.rowsDone ?? 0) + rowsDone, differing: tally.differing });
    },
  });
  const timer =
    context.isTty && !isJson
      ? setInterval(() => {
          if (progress !== undefined)
            context.err(progressText(progress, (systemClock.monotonicMs() - startedMs) / 1000, resumed?.rowsDone ?? 0));
        }, PROGRESS_MS)
      : undefined;
  let held: string[] | undefined = [];
  const release = (): void => {
    if (held === undefined || held.length === 0) return;
    context.out(`${collection.name}: keys differ; this comparison is a long one, so each is told as it is found.`);
    for (const text of held) context.out(text);
    held = undefined;
  };
  // With --wait the first sight is not yet a result: what is printed then is what confirmation has made of it.
  const seen = new Set<string>();
  try {
    for (;;) {
      const next = await found.next();
      if (next.done === true) {
        file.remove();
        context.out(isJson ? JSON.stringify({ summary: summaryOf(next.value, tally.differing) }) : summaryText(next.value, tally));
        for (const text of held ?? []) context.out(text);
        return tally.differing > 0;
      }
      const key = JSON.stringify(next.value.key);
      if (options.wait === true && !seen.has(key)) {
        seen.add(key);
        continue;
      }
      seen.delete(key);
      tally.add(next.value);
      if (isJson) context.out(JSON.stringify(lineOf(next.value)));
      else if (held === undefined) context.out(divergenceText(next.value));
      else if (held.push(divergenceText(next.value)) >= HELD_BACK) release();
    }
  } finally {
    clearInterval(timer);
  }
}

/**
 * The engine lets garbage pile up while there is memory: of masses of rows, twice as much as all else here. With a young generation that
 * stays as small as it starts, and an old one that is collected when it has grown by two fifths, 100,000 differing rows take 154 MB
 * instead of 341, for 6.4 s of processor time instead of 4.6 (`--optimize-for-size`: 134 MB, 9.8 s). Small comparisons do not notice.
 */
function boundHeap(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--heap-growing-percent=40');
}

function lineOf(divergence: Divergence): object {
  const { key, is, replicas, columns, status } = divergence;
  return { key, is, replicas, columns, status };
}

function summaryOf(summary: CompareSummary, differing: number): object {
  const { shape, ...counters } = summary;
  return { ...counters, differing, columns: shape.columns.map((column) => column.name) };
}
