/**
 * Key sampling: a key is looked at if its hash lies below a threshold, so the same keys are in the sample in every process and after
 * every restart, and lowering the share only removes keys. Sampling by key keeps full recall on the keys that remain, where evicting
 * state under pressure would lose an unknowable part of every key's history.
 */
export function keyHash(key: string): number {
  // FNV-1a, then a finaliser (murmur3): FNV alone is uneven in its high bits for short keys.
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i += 1) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The same for a key of which 32 well mixed bits are known. */
export function isHashSampled(hash: number, share: number): boolean {
  return share >= 1 || hash >>> 0 < share * 0x1_0000_0000;
}

/** Whether a key is in a sample of `share` in [0, 1] of all keys. */
export function isSampled(key: string, share: number): boolean {
  return share >= 1 || isHashSampled(keyHash(key), share);
}
