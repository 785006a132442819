/**
 * `KeyValue` and `AnyValue` of OTLP into columns: wanted keys only.
 *
 * Those of spans are known by where they stood: spans of one name mostly have the same attributes in the same order, many with the same
 * values. So most are known by comparing their bytes with those of a span shortly before, which lie near and are compared once, where
 * reading them is two look-ups and several decisions. Only attributes of the usual form are noted: a key, then a value to the end. A slot
 * is a place of the spans of a name; names that share slots tell each other nothing, and nothing wrong.
 */
import { alike } from './bytes';
import { batch, code, mostAttributes, mostPaths, mostSlots, paths, roles, slotBytes, slots, slotsPerName, value, valueKind } from './memory';
import { arrayTag, bigInteger, bytesTag, intern, keyCode, mapTag, newText } from './texts';
import { lengthPrefix, skip, varint, wire } from './wire';

/** Number of the request: what was noted of others is not looked at. */
let request: u32 = 0;
/** Of the next attribute of the open row. */
let slot: u32 = 0;
let rowPaths: u32 = 0;
/** True within a span, outside of its events. */
let isOfRow: bool = false;

/** Before each request. */
export function startAttributes(): void {
  request += 1;
  isOfRow = false;
}

/** What follows is a span's. */
export function openRow(): void {
  isOfRow = true;
  rowPaths = 0;
  slot = 0;
}

/** The number of the open row's name: what its attributes are is guessed by it. */
export function nameRow(number: u32): void {
  slot = (number * slotsPerName) & (mostSlots - 1);
}

/** `from`: the first attribute of the row. */
export function closeRow(from: u32): void {
  isOfRow = false;
  if (rowPaths > 0) closePaths(from);
}

/** No attribute that is kept has fewer than eight bytes. */
export function hasRoomFor(start: u32, end: u32): void {
  if (batch.attributes + ((end - start) >> 3) > mostAttributes) unreachable();
}

/** The attributes of the open row that follow each other, which are most of its bytes, from the length of the first on; where they end. */
export function attributesOfRow(from: u32, end: u32): u32 {
  let place = slot;
  let at = from;
  while (true) {
    const byte = <u32>load<u8>(at);
    let start = at + 1;
    let stop = start + byte;
    if (byte > 127) {
      stop = lengthPrefix(at, end);
      start = wire.at;
    } else if (stop > end) unreachable();
    const entry = slots + place * slotBytes;
    const length = stop - start;
    if (load<u32>(entry, 20) != request) unlike(entry, start, stop, 0);
    else {
      const same = alike(start, load<u32>(entry), length);
      const wanted = load<u32>(entry, 12);
      if (same >= length && length == load<u32>(entry, 8)) {
        if (wanted != 0) add(wanted, load<u32>(entry, 16), load<f64>(entry, 24));
      } else {
        const before = load<u32>(entry, 4);
        if (same < before || before >= length) unlike(entry, start, stop, 0);
        // Of what nobody wants no value is looked at, only whether it is one to the end.
        else if (wanted != 0 || <i32>load<i8>(start + before) != <i32>(length - before - 1)) unlike(entry, start, stop, before);
      }
    }
    place = (place + 1) & (mostSlots - 1);
    if (stop >= end || load<u8>(stop) != 0x4a) {
      slot = place;
      return stop;
    }
    at = stop + 1;
  }
}

/** One of the open row that is not as the slot's is; `before`: bytes before the length of its value where its key is, else 0. */
function unlike(entry: u32, start: u32, end: u32, before: u32): void {
  const at = batch.attributes;
  const lengthAt = start + before;
  let wanted: i32;
  if (before == 0 || load<u8>(lengthAt) > 127 || lengthAt + 1 + load<u8>(lengthAt) != end) wanted = attribute(start, end);
  else {
    wanted = load<u32>(entry, 12);
    anyValue(lengthAt + 1, end, wanted);
  }
  // A value that says nothing, or a path, of which is noted elsewhere where it stands.
  if (wanted < 0 || (wanted > 0 && batch.attributes == at) || isPath(wanted)) {
    store<u32>(entry, 0, 20);
    return;
  }
  store<u32>(entry, start);
  store<u32>(entry, load<u8>(start, 1) + 3, 4);
  store<u32>(entry, end - start, 8);
  store<u32>(entry, wanted, 12);
  store<u32>(entry, load<u8>(valueKind + at), 16);
  store<u32>(entry, request, 20);
  store<f64>(entry, load<f64>(value + at * 8), 24);
}

/**
 * Attributes of an event or a resource into columns of theirs, behind `count` others of at most `most`; how many there are then. They are
 * read behind those of the rows first, which are of the same form.
 */
export function otherAttributes(start: u32, end: u32, wanted: u32, codes: u32, kinds: u32, values: u32, count: u32, most: u32): u32 {
  hasRoomFor(start, end);
  const from = batch.attributes;
  const wasOfRow = isOfRow;
  isOfRow = false;
  let at = start;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == wanted) {
      const stop = lengthPrefix(at, end);
      attribute(wire.at, stop);
      at = stop;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
  isOfRow = wasOfRow;
  const found = batch.attributes - from;
  batch.attributes = from;
  if (count + found > most) unreachable();
  memory.copy(codes + count, code + from, found);
  memory.copy(kinds + count, valueKind + from, found);
  memory.copy(values + count * 8, value + from * 8, found * 8);
  return count + found;
}

/** Reads a `KeyValue`: the code of the attribute, 0 where it is not wanted; -1 where it is in another form than usual. */
function attribute(start: u32, end: u32): i32 {
  // The usual form: a short key, then a value to the end. Anything else goes the general way.
  if (end - start >= 4 && load<u8>(start) == 0x0a) {
    const keyLength = <u32>load<u8>(start, 1);
    const keyEnd = start + 2 + keyLength;
    if (keyLength < 128 && keyEnd + 2 <= end && load<u8>(keyEnd) == 0x12) {
      if (lengthPrefix(keyEnd + 1, end) == end) {
        const from = wire.at;
        const wanted = keyCode(start + 2, keyEnd);
        if (wanted != 0) anyValue(from, end, wanted);
        return wanted;
      }
    }
  }
  let at = start;
  let wanted = 0;
  let valueStart: u32 = 0;
  let valueEnd: u32 = 0;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x0a) {
      const stop = lengthPrefix(at, end);
      wanted = keyCode(wire.at, stop);
      at = stop;
    } else if (tag == 0x12) {
      // A value that comes twice is merged by protobuf; for a oneof that is: the last one wins.
      const stop = lengthPrefix(at, end);
      valueStart = wire.at;
      valueEnd = stop;
      at = stop;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
  if (wanted != 0 && valueStart != 0) anyValue(valueStart, valueEnd, wanted);
  return -1;
}

function anyValue(start: u32, end: u32, wanted: u32): void {
  if (end - start >= 2 && load<u8>(start) == 0x0a) {
    const length = <u32>load<u8>(start, 1);
    if (length < 128 && start + 2 + length == end) {
      add(wanted, 1, text(start + 2, end, wanted));
      return;
    }
  }
  let what: u32 = 0;
  let number: f64 = 0;
  let at = start;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    switch (tag) {
      case 0x0a: {
        const stop = lengthPrefix(at, end);
        what = 1;
        number = text(wire.at, stop, wanted);
        at = stop;
        break;
      }
      case 0x10:
        number = (varint(at) | wire.high) != 0 ? 1 : 0;
        what = 4;
        at = wire.at;
        break;
      case 0x18: {
        const low = varint(at);
        const whole = <i64>((<u64>wire.high << 32) | low);
        what = 2;
        number = <f64>whole;
        if (whole > 9_007_199_254_740_991 || whole < -9_007_199_254_740_991) {
          what = 5;
          number = newText(low, wire.high, bigInteger);
        }
        at = wire.at;
        break;
      }
      case 0x21:
        number = load<f64>(at);
        what = 3;
        at += 8;
        break;
      case arrayTag:
      case mapTag:
      case bytesTag: {
        const stop = lengthPrefix(at, end);
        what = 6;
        number = newText(wire.at, stop, tag);
        at = stop;
        break;
      }
      default:
        at = skip(tag, at, end);
    }
  }
  if (at != end) unreachable();
  if (what == 0) return;
  if (what != 1 && isOfRow && isPath(wanted)) notePath(0, 0);
  add(wanted, what, number);
}

function add(wanted: u32, what: u32, number: f64): void {
  const at = batch.attributes;
  store<u8>(code + at, wanted);
  store<u8>(valueKind + at, what);
  store<f64>(value + at * 8, number);
  batch.attributes = at + 1;
}

/** The number of the text that is about to be added; of a span's path, one that {@link closePaths} puts right. */
function text(start: u32, end: u32, wanted: u32): f64 {
  if (!isOfRow || !isPath(wanted)) return intern(start, end);
  notePath(start, end);
  return 0;
}

// Paths, as in `src/ingest/routed-paths.ts`.

function isPath(wanted: u32): bool {
  return (load<u8>(roles + wanted) & 1) != 0;
}

function notePath(start: u32, end: u32): void {
  if (rowPaths == mostPaths) unreachable();
  const entry = paths + rowPaths * 12;
  store<u32>(entry, batch.attributes);
  store<u32>(entry, start, 4);
  store<u32>(entry, end, 8);
  rowPaths += 1;
}

/** Drops the paths of a span that has a route, and makes texts of the others. */
function closePaths(from: u32): void {
  if (isRouted(from)) {
    let to = from;
    for (let at = from; at < batch.attributes; at += 1) {
      const wanted = load<u8>(code + at);
      if (isPath(wanted)) continue;
      store<u8>(code + to, wanted);
      store<u8>(valueKind + to, load<u8>(valueKind + at));
      store<f64>(value + to * 8, load<f64>(value + at * 8));
      to += 1;
    }
    batch.attributes = to;
    return;
  }
  // In order, so that of a value that came twice the last text stands.
  for (let i: u32 = 0; i < rowPaths; i += 1) {
    const entry = paths + i * 12;
    const at = load<u32>(entry);
    if (load<u8>(valueKind + at) == 1) store<f64>(value + at * 8, intern(load<u32>(entry, 4), load<u32>(entry, 8)));
  }
}

/** Of a key that comes twice the last counts. */
function isRouted(from: u32): bool {
  let first: u32 = 0;
  let any = false;
  for (let at = batch.attributes; at > from; at -= 1) {
    const wanted = <u32>load<u8>(code + at - 1);
    if ((load<u8>(roles + wanted) & 2) == 0 || wanted == first) continue;
    // There are two such keys: beside the one that was met last there is only the other.
    if (load<u8>(valueKind + at - 1) == 1 && load<f64>(value + (at - 1) * 8) != 0) any = true;
    if (first != 0) break;
    first = wanted;
  }
  return any;
}
