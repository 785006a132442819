import { expect, test } from 'vitest';
import { EarlierAttributes, everything, nothing } from '../../src/ingest/earlier-attributes.ts';

/** An attribute as bytes: a key and a text. */
const attribute = (key: string, value: string): Buffer =>
  Buffer.concat([
    Buffer.from([0x0a, key.length]),
    Buffer.from(key),
    Buffer.from([0x12, value.length + 2, 0x0a, value.length]),
    Buffer.from(value),
  ]);
const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

test('an attribute is told from one with the same key and from one with another key', () => {
  const earlier = new EarlierAttributes();
  const one = attribute('db.namespace', 'shop');
  const bytes = Buffer.concat([one, one, attribute('db.namespace', 'tills'), attribute('db.operation', 'shop')]);
  const view = viewOf(bytes);
  const slot = earlier.first(3);
  earlier.renew(bytes.length);
  expect(earlier.alike(slot, view, 0, one.length)).toBe(nothing);
  earlier.note(slot, 0, one.length, 15, 17, 1, 5);
  expect(earlier.alike(slot, view, one.length, 2 * one.length)).toBe(everything);
  expect(earlier.alike(slot, view, 2 * one.length, 3 * one.length + 1)).toBe(15);
  expect(earlier.alike(slot, view, 3 * one.length + 1, 4 * one.length + 1)).toBe(nothing);
});

test('what was noted of a message says nothing of the next, however many bytes have come', () => {
  const earlier = new EarlierAttributes();
  const one = attribute('db.namespace', 'shop');
  const bytes = Buffer.concat([one, one]);
  const slot = earlier.first(3);
  for (const size of [bytes.length, 0x3fff_0000, bytes.length, 0x2000_0000, 0x2000_0000, bytes.length]) {
    earlier.renew(size);
    expect(earlier.alike(slot, viewOf(bytes), one.length, 2 * one.length)).toBe(nothing);
    earlier.note(slot, 0, one.length, 15, 17, 1, 5);
    expect(earlier.alike(slot, viewOf(bytes), one.length, 2 * one.length)).toBe(everything);
  }
});

test('of an attribute that nobody wants the value may be any, as long as it is one to the end', () => {
  const earlier = new EarlierAttributes();
  const unwanted = [attribute('thread.name', 'worker-1'), attribute('thread.name', 'worker-20'), attribute('thread.name', 'x'.repeat(126))];
  const bytes = Buffer.concat(unwanted);
  const slot = earlier.first(3);
  earlier.renew(bytes.length);
  const [first = 0, second = 0] = unwanted.map((one) => one.length);
  earlier.note(slot, 0, first, 14, 0, 0, 0);
  expect(earlier.alike(slot, viewOf(bytes), first, first + second)).toBe(everything);
  // Something behind the value, and a value whose length takes two bytes.
  expect(earlier.alike(slot, viewOf(bytes), first, first + second + 1)).toBe(14);
  expect(earlier.alike(slot, viewOf(bytes), first + second, bytes.length)).toBe(14);
});
