/**
 * What the rows of a batch are, once a class, and which of their own values changed from one row of a class to the next: as
 * `src/ingest/compact-classes.ts` does it.
 */
import {
  attributeStart,
  changed,
  classOf,
  code,
  firstRows,
  kind,
  lastStarts,
  masks,
  name,
  nextClasses,
  packedKinds,
  packedValues,
  resource,
  roles,
  rowSlots,
  status,
} from './memory';
import { emptySlots, mixed } from './compact-ids';

const text: u32 = 1;
const own: u32 = 4;

export namespace classCounts {
  export let classes: u32 = 0;
  /** Values of rows that are not said by their class or the row of it before. */
  export let changes: u32 = 0;
  export let maskBytes: u32 = 0;
  /** Attributes of all classes. */
  export let attributes: u32 = 0;
}

export function lookAtClasses(rows: u32): void {
  const mask = emptySlots(rows);
  classCounts.classes = 0;
  classCounts.changes = 0;
  classCounts.maskBytes = 0;
  classCounts.attributes = 0;
  let number: u32 = 0;
  for (let row: u32 = 0; row < rows; row += 1) {
    const before = number;
    // Mostly it is the one that came after the former's last time.
    number = load<u32>(nextClasses + before * 4);
    if (row == 0 || !takes(number, row)) {
      number = numberOf(row, mask);
      store<u32>(nextClasses + before * 4, number);
    }
    store<u32>(lastStarts + number * 4, load<u32>(attributeStart + row * 4));
    store<u16>(classOf + row * 2, number);
  }
}

/** Whether the row is of the class; if it is, notes which of its own values are not those of the class's last row. */
function takes(number: u32, row: u32): bool {
  const first = load<u32>(firstRows + number * 4);
  const start = load<u32>(attributeStart + row * 4);
  const size = load<u32>(attributeStart + row * 4, 4) - start;
  if (
    load<u32>(attributeStart + first * 4, 4) - load<u32>(attributeStart + first * 4) != size ||
    load<u32>(name + first * 4) != load<u32>(name + row * 4) ||
    load<u8>(kind + first) != load<u8>(kind + row) ||
    load<u8>(status + first) != load<u8>(status + row) ||
    load<u32>(resource + first * 4) != load<u32>(resource + row * 4)
  )
    return false;
  const last = load<u32>(lastStarts + number * 4);
  let changes = classCounts.changes;
  let maskBytes = classCounts.maskBytes;
  let bits: u32 = 0;
  let bit: u32 = 1;
  for (let i: u32 = 0; i < size; i += 1) {
    const wanted = load<u8>(code + start + i);
    const what = <u32>load<u8>(packedKinds + start + i);
    if (wanted != load<u8>(code + last + i) || what != load<u8>(packedKinds + last + i)) return false;
    const now = load<u16>(packedValues + (start + i) * 2);
    const before = load<u16>(packedValues + (last + i) * 2);
    if ((load<u8>(roles + wanted) & own) == 0) {
      if (now != before) return false;
      continue;
    }
    if (now != before) {
      // Of its own values a class says only whether they are empty.
      if (what == text && (now == 0 || before == 0)) return false;
      bits |= bit;
      store<u16>(changed + changes * 2, now);
      changes += 1;
    }
    bit <<= 1;
    if (bit < 256) continue;
    store<u8>(masks + maskBytes, bits);
    maskBytes += 1;
    bits = 0;
    bit = 1;
  }
  if (bit > 1) {
    store<u8>(masks + maskBytes, bits);
    maskBytes += 1;
  }
  classCounts.changes = changes;
  classCounts.maskBytes = maskBytes;
  return true;
}

/** The number of a row's class, which has taken it. */
function numberOf(row: u32, mask: u32): u32 {
  const start = load<u32>(attributeStart + row * 4);
  const end = load<u32>(attributeStart + row * 4, 4);
  let hash = mixed(load<u32>(name + row * 4), (load<u32>(resource + row * 4) << 8) | load<u8>(kind + row));
  for (let at = start; at < end; at += 1) {
    const wanted = <u32>load<u8>(code + at);
    const fixed = (load<u8>(roles + wanted) & own) == 0 ? <u32>load<u16>(packedValues + at * 2) << 16 : 0;
    hash = mixed(hash, wanted | (<u32>load<u8>(packedKinds + at) << 8) | fixed);
  }
  let slot = hash & mask;
  let found = load<u32>(rowSlots + slot * 4);
  while (found != 0 && !takes(found - 1, row)) {
    slot = (slot + 1) & mask;
    found = load<u32>(rowSlots + slot * 4);
  }
  if (found != 0) return found - 1;
  const number = classCounts.classes;
  store<u32>(rowSlots + slot * 4, number + 1);
  begin(number, row, start, end);
  return number;
}

/** A class of which the row is the first: all its own values are said. */
function begin(number: u32, row: u32, start: u32, end: u32): void {
  classCounts.classes += 1;
  classCounts.attributes += end - start;
  store<u32>(firstRows + number * 4, row);
  store<u32>(nextClasses + number * 4, number);
  let bits: u32 = 0;
  for (let at = start; at < end; at += 1) {
    if ((load<u8>(roles + load<u8>(code + at)) & own) == 0) continue;
    store<u16>(changed + classCounts.changes * 2, load<u16>(packedValues + at * 2));
    classCounts.changes += 1;
    bits += 1;
  }
  while (bits > 0) {
    const all: u32 = bits < 8 ? (<u32>1 << bits) - 1 : 255;
    store<u8>(masks + classCounts.maskBytes, all);
    classCounts.maskBytes += 1;
    bits = bits < 8 ? 0 : bits - 8;
  }
}

/** Names and values of the classes to `to`; where they end. */
export function writeClassNumbers(to: u32): u32 {
  let at = to;
  for (let number: u32 = 0; number < classCounts.classes; number += 1) {
    const row = load<u32>(firstRows + number * 4);
    const start = load<u32>(attributeStart + row * 4);
    const size = load<u32>(attributeStart + row * 4, 4) - start;
    store<u16>(at, load<u32>(name + row * 4));
    memory.copy(at + 2, packedValues + start * 2, size * 2);
    at += 2 + size * 2;
  }
  return at;
}

/** Kinds, states, sizes, codes and kinds of attributes of the classes to `to`. */
export function writeClassBytes(to: u32): u32 {
  let at = to;
  for (let number: u32 = 0; number < classCounts.classes; number += 1) {
    const row = load<u32>(firstRows + number * 4);
    const start = load<u32>(attributeStart + row * 4);
    const size = load<u32>(attributeStart + row * 4, 4) - start;
    store<u8>(at, load<u8>(kind + row));
    store<u8>(at, load<u8>(status + row), 1);
    store<u8>(at, size, 2);
    memory.copy(at + 3, code + start, size);
    memory.copy(at + 3 + size, packedKinds + start, size);
    at += 3 + size * 2;
  }
  return at;
}
