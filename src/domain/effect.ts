import { canonicalJson, type Json, sha256Hex } from '../base/hash.ts';
import type { RowDigest } from './digest.ts';
import type { Key, Row } from './row.ts';

/** One typed change to one key on one replica, with the digest it expects to find and the row it leaves. */
export interface Effect {
  readonly replica: string;
  readonly collection: string;
  readonly key: Key;
  readonly kind: 'insert' | 'update' | 'delete';
  /** Digest of the row that must be found; null: the row must be absent. */
  readonly expects: RowDigest | null;
  readonly before: Row | null;
  readonly after: Row | null;
  /** Digest of the row afterwards; null: absent. */
  readonly leaves: RowDigest | null;
}

/** SHA-256 of the canonical JSON of a list of effects, 64 hexadecimal digits: what an approval names and the executor checks. */
export type EffectDigest = string & { readonly is: 'effect-digest' };

export function effectDigest(effects: readonly Effect[]): EffectDigest {
  return sha256Hex(canonicalJson(effects as unknown as Json)) as EffectDigest;
}

export function parseEffectDigest(text: string): EffectDigest {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new RangeError('an effect digest is 64 hexadecimal digits');
  return text as EffectDigest;
}

/** The effects that undo `effects`, in reverse order: each expects what its original leaves. */
export function invertEffects(effects: readonly Effect[]): readonly Effect[] {
  return effects.toReversed().map((effect) => ({
    replica: effect.replica,
    collection: effect.collection,
    key: effect.key,
    kind: effect.kind === 'insert' ? 'delete' : effect.kind === 'delete' ? 'insert' : 'update',
    expects: effect.leaves,
    before: effect.after,
    after: effect.before,
    leaves: effect.expects,
  }));
}
