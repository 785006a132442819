import { describe, expect, it } from 'vitest';
import { bucketOfKey, slotOfKey, slotsOfBucket } from '../../src/forecast/key-slot.ts';

describe('hash slots', () => {
  it("are Redis Cluster's own", () => {
    // From the Redis Cluster specification (CRC16 of "123456789" is 0x31C3) and CLUSTER KEYSLOT of a real server.
    expect(slotOfKey('123456789')).toBe(0x31c3);
    expect(slotOfKey('foo')).toBe(12182);
    expect(slotOfKey('{user1000}.following')).toBe(slotOfKey('user1000'));
    expect(slotOfKey('foo{}{bar}')).not.toBe(slotOfKey('bar'));
    expect(slotOfKey('foo{{bar}}zap')).toBe(slotOfKey('{bar'));
  });

  it('fall into contiguous buckets', () => {
    for (const key of ['a', 'b', 'order:17', 'ключ']) {
      const [first, last] = slotsOfBucket(bucketOfKey(key, 64), 64);
      expect(slotOfKey(key)).toBeGreaterThanOrEqual(first);
      expect(slotOfKey(key)).toBeLessThanOrEqual(last);
    }
  });
});
