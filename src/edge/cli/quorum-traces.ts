import { open } from 'node:fs/promises';
import { Failure } from '../../base/failure.ts';
import {
  type CoordinatedOperation,
  createReplicaLegs,
  type LeftOut,
  replicasSeen,
  staleAsCounted,
  type TracedLegs,
  tracedLegs,
} from '../../forecast/replica-legs.ts';
import { createSpanDedupe } from '../../ingest/dedupe.ts';
import { readOtlpFile } from '../../io/otlp/read-file.ts';
import type { CliContext } from './program.ts';

/** What is told of the slowest of a hundred takes a hundred. */
const leastRows = 100;
/** More replicas than WARS is asked about in any time that people wait. */
const mostReplicas = 16;
/** Problems told in full; more are counted. */
const problemsTold = 10;
const headBytes = 64 * 1024;

export interface TracedQuorum {
  readonly names: readonly string[];
  readonly legs: TracedLegs;
  /** Nothing was there that could not be read. */
  readonly isWhole: boolean;
  /** Of the operations that went to all replicas. */
  readonly readShare: number;
  readonly counts: object;
  /** The same for people. */
  readonly lines: readonly string[];
}

/** Traces, by how the file begins: gzip or protobuf, or JSON that names one of OTLP's signals. What cannot be opened is none. */
export async function isOtlpFile(path: string): Promise<boolean> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0);
      const head = buffer.subarray(0, bytesRead);
      const isText = bytesRead > 0 && /^[\s\ufeff]*[[{]/.test(head.toString('utf8'));
      return isText
        ? /"resource(?:Spans|Logs|Metrics|Profiles)"/.test(head.toString('utf8'))
        : head.some((byte) => byte < 9 || byte > 0x7e);
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

/** Latencies of the replicas of one collection, as `file` shows them. Throws `Failure` in one sentence where they do not suffice. */
export async function quorumOfTraces(
  path: string,
  file: string,
  flags: { readonly collection?: string; readonly replicas?: string },
  context: CliContext,
): Promise<TracedQuorum> {
  const fold = createReplicaLegs({
    collectionOf: ({ facts, target }) => facts?.objectType || target,
    replicaOf: ({ facts, host }) => facts?.replicaId || host,
  });
  let problems = 0;
  const spans = readOtlpFile(path, {
    dedupe: createSpanDedupe({}),
    onProblem: (sentence) => {
      problems += 1;
      if (problems <= problemsTold) context.err(sentence.replace(path, file));
    },
  });
  for await (const operations of spans) {
    context.signal.throwIfAborted();
    fold.fold(operations);
  }
  if (problems > problemsTold) context.err(`... and ${problems - problemsTold} more that could not be read`);
  const drained = fold.drain();
  const bad = (says: string): Failure => new Failure('bad-quorum-file', `${file}: ${says}`, 'never');
  const collection = collectionIn(drained.operations, flags.collection, bad);
  const operations = drained.operations.filter((one) => one.collection === collection);
  const names = replicasIn(operations, flags.replicas, bad);
  const legs = tracedLegs(operations, names);
  const leftOut = drained.leftOut.get(collection) ?? { alone: 0, failed: 0, repeated: 0 };
  const others = operations.length - legs.writes - legs.reads;
  if (Math.min(legs.writes, legs.reads) < leastRows)
    throw bad(
      `${legs.writes} writes and ${legs.reads} reads of ${collection} went to all of ${names.join(', ')} at the same time, and it takes ${leastRows} of each; left out: ${leftWords(others, leftOut)}`,
    );
  const counted = staleAsCounted(operations, names);
  return {
    names,
    legs,
    isWhole: problems === 0,
    readShare: legs.reads / (legs.reads + legs.writes),
    counts: {
      collection,
      writes: legs.writes,
      reads: legs.reads,
      leftOut: { otherReplicas: others, ...leftOut },
      staleAsCounted: counted.reads === 0 ? null : { reads: counted.reads, byR: counted.stale.map((stale) => stale / counted.reads) },
    },
    lines: [
      `${collection}: ${legs.writes} writes and ${legs.reads} reads that went to all replicas; left out: ${leftWords(others, leftOut)}`,
      ...(counted.reads === 0
        ? []
        : [
            `Counted at the same replicas, reads at whatever time: of ${counted.reads} with versions, ${counted.stale.map((stale, i) => `${Number(((100 * stale) / counted.reads).toFixed(3))} % stale at R=${i + 1}`).join(', ')}`,
          ]),
    ],
  };
}

type Bad = (says: string) => Failure;

function collectionIn(operations: readonly CoordinatedOperation[], asked: string | undefined, bad: Bad): string {
  const seen = [...new Set(operations.map(({ collection }) => collection))].toSorted();
  if (seen.length === 0)
    throw bad(
      'no client span here was sent together with another of the same parent and object to another replica; --help says what is looked for',
    );
  if (asked !== undefined && !seen.includes(asked)) throw bad(`--collection ${asked} is not among ${seen.join(', ')}`);
  const [only = ''] = seen;
  if (asked === undefined && seen.length > 1) throw bad(`choose one of ${seen.join(', ')} with --collection`);
  return asked ?? only;
}

function replicasIn(operations: readonly CoordinatedOperation[], asked: string | undefined, bad: Bad): readonly string[] {
  const names = asked === undefined ? replicasSeen(operations) : [...new Set(asked.split(',').map((name) => name.trim()))].toSorted();
  const seen = new Set(operations.flatMap(({ trips }) => trips.map(({ replica }) => replica)));
  const unknown = names.find((name) => !seen.has(name));
  if (unknown !== undefined) throw bad(`--replicas: ${unknown} is not among ${[...seen].toSorted().join(', ')}`);
  if (names.length < 2 || names.length > mostReplicas) throw bad(`2 to ${mostReplicas} replicas can be asked about, not ${names.length}`);
  return names;
}

const leftWords = (others: number, { alone, failed, repeated }: LeftOut): string =>
  `${others} not to all of them, ${alone} to one alone, ${failed} that failed, ${repeated} with a replica asked twice at a time`;
