/**
 * Calls of a replica connection as JSON, for connections that are served by an agent in another region. JSON has neither big integers nor
 * byte arrays, which sketches are made of: each travels as an object with one marked member. Values that have such a member themselves
 * (none of ours do) are refused rather than read as something else.
 */
import { Failure } from '../../../base/failure.ts';

/** Agent and service speak the same protocol, or the service refuses: a sketch of another encoding would make every row differ. */
export const PROTOCOL = 2;

/** Methods of `ReplicaConnection` and of its `sketching`, by the name under which they travel. */
export const remoteMethods = [
  'describe',
  'position',
  'hasPassed',
  'digest',
  'digestBuckets',
  'entries',
  'entriesInOrder',
  'readRows',
  'readMarks',
  'boundary',
  'estimatedRows',
  'pressure',
  'apply',
  'capabilities',
  'family',
  'slicesByKey',
  'keySpan',
  'scan',
  'refine',
  'table',
  'closeScan',
  'locate',
  'hashKeys',
] as const;
export type RemoteMethod = (typeof remoteMethods)[number];

/** One call: what an agent is asked to do on the replica that it serves. */
export interface RemoteCall {
  readonly method: RemoteMethod;
  /** Arguments without the AbortSignal, in order. */
  readonly args: readonly unknown[];
  /** Verification reads through a connection of its own. */
  readonly purpose: 'repair' | 'verify';
  /** The agent that has the scan that it goes on with; undefined: any. */
  readonly holder?: string | undefined;
}

type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

export function pack(value: unknown): Json {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return { $int: value.toString() };
  if (value instanceof Uint8Array) return { $u8: base64(value) };
  if (value instanceof Uint16Array) return { $u16: base64(value) };
  if (value instanceof BigUint64Array) return { $u64: base64(value) };
  if (Array.isArray(value)) return value.map(pack);
  if (typeof value === 'object') {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    if (entries.length === 1 && entries[0]?.[0].startsWith('$') === true)
      throw new Failure('unreadable-call', `a column named ${entries[0][0]} alone cannot travel through an agent: map its name.`, 'never');
    return Object.fromEntries(entries.map(([name, member]) => [name, pack(member)]));
  }
  if (typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return value;
  throw new TypeError(`a ${typeof value} does not travel`);
}

export function unpack(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unpack);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value);
  const [name = '', text] = entries.length === 1 ? (entries[0] ?? []) : [];
  if (name.startsWith('$') && typeof text === 'string') {
    switch (name) {
      case '$int':
        return BigInt(text);
      case '$u8':
        return bytes(text, 1);
      case '$u16':
        return new Uint16Array(bytes(text, 2).buffer);
      case '$u64':
        return new BigUint64Array(bytes(text, 8).buffer);
      default:
        throw new Failure(
          'unreadable-call',
          `the other side sent a value of the unknown kind ${name}: run the same version on both.`,
          'never',
        );
    }
  }
  return Object.fromEntries(entries.map(([member, inner]) => [member, unpack(inner)]));
}

function base64(array: Uint8Array | Uint16Array | BigUint64Array): string {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');
}

/** A copy at the start of a buffer of its own, so that wider arrays are aligned. All machines that Node runs on are little-endian. */
function bytes(text: string, width: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(Buffer.from(text, 'base64'));
  if (copy.byteLength % width !== 0) throw new Failure('unreadable-call', 'the other side sent a sketch that is cut off.', 'later');
  return copy;
}
