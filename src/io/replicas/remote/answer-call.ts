/**
 * The agent's side: carries one call out on the connection it was started for. Values of columns leave only where `mayLeave` says so;
 * elsewhere each goes as a token of its contents, so that the service still sees which columns differ, and never what they hold.
 */
import { Failure } from '../../../base/failure.ts';
import type { Effect } from '../../../domain/effect.ts';
import { withheldValue } from '../../../domain/withheld.ts';
import type { BucketChoice, ReadRow, ReplicaConnection, SketchHash } from '../replica.ts';
import type { KeyRange } from '../../../domain/key-range.ts';
import type { Key, Row, Shape } from '../../../domain/row.ts';
import type { Position } from '../../../domain/divergence.ts';
import type { SliceRun, Slicing } from '../../../domain/slicing.ts';
import type { OpenScans } from './open-scans.ts';
import { pack, type RemoteCall, unpack } from './wire.ts';

export interface AnswerOptions {
  readonly connection: ReplicaConnection;
  /** Whether values of this domain may go to where the service is. */
  readonly mayLeave: boolean;
  /** Whether effects may be executed here. */
  readonly mayWrite: boolean;
  /** Scans that stay open between calls. */
  readonly scans: OpenScans;
  readonly signal: AbortSignal;
  /** Takes one part of the answer; waits while the service has not read the last ones. */
  give(part: unknown): Promise<void>;
}

export async function answerCall(call: RemoteCall, options: AnswerOptions): Promise<void> {
  const { connection, signal } = options;
  const give = (part: unknown): Promise<void> => options.give(part);
  const args = call.args.map(unpack);
  // What the service sends was made from the same types: a shape it does not have would be refused by the connector's own look-up.
  const shape = args[0] as Shape;
  const sketching = (): NonNullable<ReplicaConnection['sketching']> => {
    if (connection.sketching !== undefined) return connection.sketching;
    throw new Failure('no-sketches', `replica ${connection.replica.id} makes no sketches: compare it by digests.`, 'never');
  };
  const offered = <T>(method: T | undefined, what: string): T => {
    if (method !== undefined) return method;
    throw new Failure('not-offered', `replica ${connection.replica.id} gives no ${what}: compare it without.`, 'never');
  };
  switch (call.method) {
    case 'describe':
      return give(pack(await connection.describe(signal)));
    case 'position':
      return give(pack(await connection.position(signal)));
    case 'hasPassed':
      return give(await connection.hasPassed(args[0] as Position, args[1] as number, signal));
    case 'capabilities':
      return give(pack({ sketching: connection.sketching !== undefined }));
    case 'digest':
      return give(pack(await connection.digest(shape, args[1] as readonly KeyRange[], signal)));
    case 'digestBuckets':
      return give(pack(await connection.digestBuckets(shape, args[1] as KeyRange, args[2] as number, signal)));
    case 'entries':
      for await (const batch of connection.entries(shape, args[1] as KeyRange, args[2] as BucketChoice, signal)) await give(pack(batch));
      return;
    case 'entriesInOrder':
      if (connection.entriesInOrder === undefined)
        throw new Failure('no-order', `replica ${connection.replica.id} has no order of keys: compare it by buckets.`, 'never');
      for await (const batch of connection.entriesInOrder(shape, args[1] as KeyRange, signal)) await give(pack(batch));
      return;
    case 'readRows': {
      const rows = await connection.readRows(shape, args[1] as readonly Key[], signal);
      return give(pack(options.mayLeave ? rows : rows.map((row) => withoutValues(shape, row))));
    }
    case 'readMarks':
      return give(pack(await offered(connection.readMarks, 'marks')(shape, args[1] as readonly Key[], signal)));
    case 'boundary':
      return give(pack(await offered(connection.boundary, 'order of keys')(shape, args[1] as KeyRange, args[2] as number, signal)));
    case 'estimatedRows':
      return give(await offered(connection.estimatedRows, 'statistics')(signal));
    case 'pressure':
      return give(pack(await offered(connection.pressure, 'figures of its load')(signal)));
    case 'apply':
      if (!options.mayWrite)
        throw new Failure('read-only', `the agent of replica ${connection.replica.id} was started with --read-only.`, 'never');
      return give(pack(await connection.apply(shape, args[1] as readonly Effect[], signal)));
    case 'family':
      return give(await sketching().family(shape, signal));
    case 'slicesByKey':
      return give(await sketching().slicesByKey(shape, signal));
    case 'keySpan':
      return give(pack(await sketching().keySpan(shape, args[1] as KeyRange, signal)));
    case 'scan': {
      const [, range, hash, slicing] = args as [Shape, KeyRange, SketchHash, Slicing];
      const scan = await sketching().scan(shape, range, hash, slicing, signal);
      return give(pack({ number: await options.scans.add(scan), holder: options.scans.holder, summary: scan.summary }));
    }
    case 'refine': {
      const [number, buckets, parts] = args as [number, readonly number[], number];
      return give(pack(await options.scans.get(number).refine(buckets, parts)));
    }
    case 'table': {
      const [number, runs, cells] = args as [number, readonly SliceRun[], number];
      return give(pack(await options.scans.get(number).table(runs, cells)));
    }
    case 'closeScan':
      await options.scans.close(args[0] as number);
      return give(null);
    case 'locate': {
      const [, range, hash, words] = args as [Shape, KeyRange, SketchHash, readonly bigint[]];
      return give(pack(await sketching().locate(shape, range, hash, words, signal)));
    }
    case 'hashKeys': {
      const [, hash, keys] = args as [Shape, SketchHash, readonly Key[]];
      const makers = sketching();
      const hashes = await offered(makers.hashKeys?.bind(makers), 'hashes of rows')(shape, hash, keys, signal);
      // Bytes as text of one byte a character: base64 is a third shorter than JSON's escapes of them.
      return give(pack(hashes.map((one) => (one === null ? null : Buffer.from(one, 'latin1').toString('base64')))));
    }
    default: {
      const never: never = call.method;
      throw new Failure('unreadable-call', `the service asks for ${String(never)}, which this agent does not know: update it.`, 'never');
    }
  }
}

/** Keys stay: they are what a difference is named by. */
function withoutValues(shape: Shape, read: ReadRow): ReadRow {
  const withheld = (name: string, value: string | null): string | null =>
    value === null || shape.key.includes(name) ? value : withheldValue(name, value);
  const hidden: Row = Object.fromEntries(Object.entries(read.row).map(([name, value]) => [name, withheld(name, value)]));
  return { ...read, row: hidden };
}
