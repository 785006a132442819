/**
 * Which virtual bucket a key is in: Redis Cluster's own rule (CRC16/XMODEM of the key, or of its first non-empty `{tag}`, modulo
 * 16384), for every engine, so that a bucket is a contiguous range of hash slots and a suggestion about it can be carried out there.
 */
export const slots = 16_384;

const table = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  return crc;
});

const encoder = new TextEncoder();

export function slotOfKey(key: string): number {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  const hashed = close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of encoder.encode(hashed)) crc = ((crc << 8) ^ (table[((crc >> 8) ^ byte) & 0xff] ?? 0)) & 0xffff;
  return crc % slots;
}

/** `buckets` must divide 16384. */
export function bucketOfKey(key: string, buckets: number): number {
  return Math.floor(slotOfKey(key) / (slots / buckets));
}

/** First and last slot of a bucket, inclusive. */
export function slotsOfBucket(bucket: number, buckets: number): readonly [number, number] {
  const width = slots / buckets;
  return [bucket * width, (bucket + 1) * width - 1];
}
