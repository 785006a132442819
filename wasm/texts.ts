/**
 * Texts by their bytes, in an open table over copies of them: the same bytes give the same number. Those that are new are listed, for
 * JavaScript to make strings of. Bounded: once there are as many as were allowed, or their bytes are spent, new ones are numbered, but not
 * remembered, and the next request begins with none. And the keys that are wanted, which are known from the start.
 */
import { alike } from './bytes';
import { arena, keyBytes, keys, mostArenaBytes, mostKeys, mostNewTexts, mostTexts, newTexts, textSlots, texts } from './memory';

/** What a new text is: one of ASCII, one of UTF-8, the decimal text of an integer whose halves stand in its place, or a nested value's tag. */
export const latin: u32 = 0;
export const utf8: u32 = 1;
export const bigInteger: u32 = 5;
export const arrayTag: u32 = 0x2a;
export const mapTag: u32 = 0x32;
export const bytesTag: u32 = 0x3a;

/** Number of the next text. 0 is the empty one. */
let numbers: u32 = 1;
/** Place of the next that is remembered, and of its bytes. */
let remembered: u32 = 1;
let used: u32 = arena;
let textLimit: u32 = mostTexts;
let arenaEnd: u32 = arena + mostArenaBytes;
/** Longer texts (a large statement) are made anew each time: they would spend the arena. */
const longestRemembered: u32 = 4096;
/** Beyond this, somebody builds collisions on purpose; the text is then simply not remembered. */
const mostProbes: u32 = 32;
/** Texts that are new in this request. */
let added: u32 = 0;

/** Before the first request; `distinctTexts` is a power of two. */
export function openTexts(distinctTexts: u32, arenaBytes: u32): void {
  textLimit = distinctTexts;
  arenaEnd = arena + arenaBytes;
}

/** Of the key whose bytes stand in `keyBytes` from `offset` on. */
export function wantKey(offset: u32, length: u32, code: u32): void {
  const hash = hashOf(keyBytes + offset, length);
  let place = hash & (mostKeys - 1);
  while (load<u32>(keys + place * 16, 4) != 0) place = (place + 1) & (mostKeys - 1);
  const entry = keys + place * 16;
  store<u32>(entry, hash);
  store<u32>(entry, keyBytes + offset, 4);
  store<u32>(entry, length, 8);
  store<u32>(entry, code, 12);
}

/** Forgets all texts if there is no room for more; true where it did. */
export function renewTexts(): bool {
  if (numbers <= textLimit && used + longestRemembered <= arenaEnd) return false;
  memory.fill(textSlots, 0, textLimit * 8);
  numbers = 1;
  remembered = 1;
  used = arena;
  return true;
}

/** Before each request. */
export function startTexts(): void {
  added = 0;
}

export function newTextCount(): u32 {
  return added;
}

export function keyCode(start: u32, end: u32): u32 {
  const length = end - start;
  const hash = hashOf(start, length);
  let place = hash & (mostKeys - 1);
  while (true) {
    const entry = keys + place * 16;
    const where = load<u32>(entry, 4);
    if (where == 0) return 0;
    if (load<u32>(entry) == hash && load<u32>(entry, 8) == length && alike(start, where, length) >= length) return load<u32>(entry, 12);
    place = (place + 1) & (mostKeys - 1);
  }
}

export function newText(start: u32, end: u32, what: u32): u32 {
  if (added == mostNewTexts) unreachable();
  const entry = newTexts + added * 12;
  store<u32>(entry, start);
  store<u32>(entry, end, 4);
  store<u32>(entry, what, 8);
  added += 1;
  numbers += 1;
  return numbers - 1;
}

/** Number of a text. */
export function intern(start: u32, end: u32): u32 {
  const length = end - start;
  if (length == 0) return 0;
  if (length > longestRemembered) return newText(start, end, utf8);
  // What is new (an id) often comes again at once.
  const newest = texts + (remembered - 1) * 16;
  if (load<u32>(newest, 4) == length && alike(start, load<u32>(newest, 8), length) >= length) return load<u32>(newest, 12);
  const hash = hashOf(start, length);
  const mask = textLimit * 2 - 1;
  let place = hash & mask;
  for (let probe: u32 = 0; probe < mostProbes; probe += 1) {
    const found = load<u32>(textSlots + place * 4);
    if (found == 0) return remember(start, length, hash, place);
    const entry = texts + found * 16;
    if (load<u32>(entry) == hash && load<u32>(entry, 4) == length && alike(start, load<u32>(entry, 8), length) >= length)
      return load<u32>(entry, 12);
    place = (place + 1) & mask;
  }
  return newText(start, end, utf8);
}

function remember(start: u32, length: u32, hash: u32, place: u32): u32 {
  const number = newText(start, start + length, isAscii(start, length) ? latin : utf8);
  if (remembered > textLimit || used + length > arenaEnd) return number;
  memory.copy(used, start, length);
  const entry = texts + remembered * 16;
  store<u32>(entry, hash);
  store<u32>(entry, length, 4);
  store<u32>(entry, used, 8);
  store<u32>(entry, number, 12);
  store<u32>(textSlots + place * 4, remembered);
  used += length;
  remembered += 1;
  return number;
}

function isAscii(start: u32, length: u32): bool {
  let at = start;
  const end = start + length;
  while (at + 16 <= end) {
    if (i8x16.bitmask(v128.load(at)) != 0) return false;
    at += 16;
  }
  return at == end || (i8x16.bitmask(v128.load(at)) & ((1 << (end - at)) - 1)) == 0;
}

/** Up to 64 bytes are read in full; longer texts by length and 16 samples of four bytes, then compared in full. */
function hashOf(start: u32, length: u32): u32 {
  let hash: u32 = length ^ 0x5bd1e995;
  if (length >= 4) {
    const last = start + length - 4;
    const step = length <= 64 ? 4 : length >> 4;
    for (let at = start; at < last; at += step) {
      hash = (hash ^ load<u32>(at)) * 0x9e3779b1;
      hash ^= hash >> 15;
    }
    hash = (hash ^ load<u32>(last)) * 0x9e3779b1;
  } else {
    for (let at = start; at < start + length; at += 1) hash = (hash ^ load<u8>(at)) * 0x9e3779b1;
  }
  hash ^= hash >> 16;
  hash *= 0x85ebca6b;
  return hash ^ (hash >> 13);
}
