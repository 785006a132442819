/** A replica that this process cannot reach, served by an agent beside it: each call goes to the agent and comes back as its answer. */
import { Failure } from '../../../base/failure.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { RangeDigest } from '../../../domain/digest.ts';
import type { Position } from '../../../domain/divergence.ts';
import type { KeyRange } from '../../../domain/key-range.ts';
import type { Key, Shape } from '../../../domain/row.ts';
import type { SketchTable, Summary } from '../../../domain/sketch.ts';
import { canonicalPlace } from '../key-word.ts';
import { placeOfKeyWord } from '../postgres/sketch.ts';
import type {
  ApplyResult,
  Entry,
  Pressure,
  ReadRow,
  ReplicaConnection,
  ReplicaCounters,
  RowMark,
  SketchHash,
  Sketching,
} from '../replica.ts';
import { pack, type RemoteCall, type RemoteMethod, unpack } from './wire.ts';

const CLOSE_TIMEOUT_MS = 10_000;

/** Carries a call to the agent of a replica and its answer back, part by part. Throws the agent's failure as its own. */
export interface CallChannel {
  call(collection: string, replica: string, call: RemoteCall, signal: AbortSignal): AsyncIterable<unknown>;
}

export function openRemoteReplica(
  collection: Collection,
  replica: Replica,
  purpose: RemoteCall['purpose'],
  channel: CallChannel,
): ReplicaConnection {
  const counters: ReplicaCounters = { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 };

  async function* parts(method: RemoteMethod, args: readonly unknown[], signal: AbortSignal, holder?: string): AsyncGenerator<unknown> {
    for await (const part of channel.call(collection.name, replica.id, { method, args: args.map(pack), purpose, holder }, signal)) {
      counters.bytesMoved += JSON.stringify(part).length;
      yield unpack(part);
    }
  }
  // The agent runs the same code on the same types: what comes back is what its connector returned.
  async function one<T>(method: RemoteMethod, args: readonly unknown[], signal: AbortSignal, holder?: string): Promise<T> {
    signal.throwIfAborted();
    for await (const part of parts(method, args, signal, holder)) return part as T;
    throw new Failure('agent-failed', `the agent of replica ${replica.id} of ${collection.name} gave no answer.`, 'later');
  }
  // What the connectors of these engines can do beyond the rest; a replica says it before it is asked.
  const isSql = replica.engine === 'postgres' || replica.engine === 'mysql';
  const sketching: Sketching = {
    family: async (shape, signal) => {
      const able = await one<{ readonly sketching: boolean }>('capabilities', [], signal);
      return able.sketching ? one<string>('family', [shape], signal) : 'none';
    },
    slicesByKey: (shape, signal) => one<boolean>('slicesByKey', [shape], signal),
    keySpan: async (shape, range, signal) =>
      (await one<{ readonly low: bigint; readonly high: bigint } | null>('keySpan', [shape, range], signal)) ?? undefined,
    scan: async (shape, range, hash, slicing, signal) => {
      const opened = await one<{ readonly number: number; readonly holder: string; readonly summary: Summary }>(
        'scan',
        [shape, range, hash, slicing],
        signal,
      );
      counters.rowsScanned += opened.summary.count;
      const { number, holder } = opened;
      return {
        summary: opened.summary,
        refine: (buckets, parts) => one<Uint16Array>('refine', [number, buckets, parts], signal, holder),
        table: (runs, cells) => one<SketchTable>('table', [number, runs, cells], signal, holder),
        // An agent that does not hear of it ends the scan by itself.
        close: () =>
          one<null>('closeScan', [number], AbortSignal.timeout(CLOSE_TIMEOUT_MS), holder).then(
            () => undefined,
            () => undefined,
          ),
      };
    },
    placeOf: replica.engine === 'postgres' ? placeOfKeyWord : canonicalPlace,
    locate: (shape, range, hash, words, signal) => one<readonly Key[]>('locate', [shape, range, hash, words], signal),
    ...(isSql
      ? {
          hashKeys: async (shape: Shape, hash: SketchHash, keys: readonly Key[], signal: AbortSignal) =>
            (await one<readonly (string | null)[]>('hashKeys', [shape, hash, keys], signal)).map((text) =>
              text === null ? null : Buffer.from(text, 'base64').toString('latin1'),
            ),
        }
      : {}),
  };
  const scanned = (digests: readonly RangeDigest[]): readonly RangeDigest[] => {
    for (const { count } of digests) counters.rowsScanned += count;
    return digests;
  };
  return {
    replica,
    counters,
    sketching,
    describe: (signal) => one<Shape>('describe', [], signal),
    position: (signal) => one<Position>('position', [], signal),
    hasPassed: (position, stalenessMs, signal) => one<boolean>('hasPassed', [position, stalenessMs], signal),
    digest: async (shape, ranges, signal) => scanned(await one<readonly RangeDigest[]>('digest', [shape, ranges], signal)),
    digestBuckets: async (shape, range, buckets, signal) =>
      scanned(await one<readonly RangeDigest[]>('digestBuckets', [shape, range, buckets], signal)),
    async *entries(shape, range, choice, signal) {
      for await (const batch of parts('entries', [shape, range, choice], signal)) {
        const entries = batch as readonly Entry[];
        counters.rowsScanned += entries.length;
        yield entries;
      }
    },
    ...(isSql
      ? {
          readMarks: (shape: Shape, keys: readonly Key[], signal: AbortSignal) =>
            one<readonly RowMark[]>('readMarks', [shape, keys], signal),
          boundary: async (shape: Shape, range: KeyRange, rows: number, signal: AbortSignal) =>
            (await one<Key | null>('boundary', [shape, range, rows], signal)) ?? undefined,
          estimatedRows: (signal: AbortSignal) => one<number>('estimatedRows', [], signal),
          pressure: async (signal: AbortSignal): Promise<Pressure> => {
            const { statements, lagMs } = await one<{ readonly statements: number; readonly lagMs?: number }>('pressure', [], signal);
            return { statements, lagMs };
          },
          async *entriesInOrder(shape: Shape, range: KeyRange, signal: AbortSignal) {
            for await (const batch of parts('entriesInOrder', [shape, range], signal)) {
              const entries = batch as readonly Entry[];
              counters.rowsScanned += entries.length;
              yield entries;
            }
          },
        }
      : {}),
    readRows: async (shape, keys, signal) => {
      const rows = await one<readonly ReadRow[]>('readRows', [shape, keys], signal);
      counters.rowsFetched += rows.length;
      return rows;
    },
    apply: (shape, effects, signal) => one<ApplyResult>('apply', [shape, effects], signal),
    close: () => Promise.resolve(),
  };
}
