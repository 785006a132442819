/**
 * The columns of a request as a compact batch (`CompactForm` in `src/ingest/compact-batch.ts`), and which texts and attributes it has: what
 * `src/ingest/batch-packer.ts` does, byte for byte, where the columns still lie in the caches. It leaves to that one whatever is not
 * compact: batches of few or too many rows, of times far apart, of large numbers, of rows with many attributes.
 */
import { classCounts, lookAtClasses, writeClassBytes, writeClassNumbers } from './compact-classes';
import { idCounts, lookAtIds, writeIds } from './compact-ids';
import {
  attributeStart,
  baseUs,
  batch,
  changed,
  classOf,
  code,
  compactAt,
  counts,
  endUs,
  eventAttributeEnd,
  eventCode,
  eventKind,
  eventStart,
  eventUs,
  eventValue,
  eventValueKind,
  hasCode,
  linkIds,
  linkStart,
  listedTexts,
  masks,
  mostCompactBytes,
  name,
  packedKinds,
  packedValues,
  parentOf,
  resource,
  resourceAttributeEnd,
  resourceCode,
  resourceValue,
  resourceValueKind,
  seenIn,
  startUs,
  statusMessage,
  traceOf,
  value,
  valueKind,
  wides,
} from './memory';

const fewestRows: u32 = 32;
const mostCompactRows: u32 = 0xfffe;
const mostOfRow: u32 = 255;
const largestNumber: u32 = 0xffff;
const longestTimeUs: f64 = 0xffff_ffff;
const largestTimeUs: f64 = 9_007_199_254_740_991;
const isWide: u32 = 0x80;

/** Number of the request: what was noted of others is forgotten with it. */
let request: u32 = 0;
let listed: u32 = 0;
let wide: u32 = 0;

/** Bytes of the compact batch at `compactAt`; 0 where it is not compact. */
export function compact(): u32 {
  const rows = batch.rows;
  if (rows < fewestRows || rows > mostCompactRows) return 0;
  request += 1;
  listed = 0;
  wide = 0;
  memory.fill(hasCode, 0, 256);
  let longest: f64 = 0;
  let first = Infinity;
  let last = -Infinity;
  let messages: u32 = 0;
  let names: u32 = 0;
  let most: u32 = 0;
  for (let row: u32 = 0; row < rows; row += 1) {
    const start = load<f64>(startUs + row * 8);
    longest = max(longest, load<f64>(endUs + row * 8) - start);
    first = min(first, start);
    last = max(last, start);
    const number = load<u32>(name + row * 4);
    const message = load<u32>(statusMessage + row * 4);
    names |= number;
    messages |= message;
    most = max(most, load<u32>(attributeStart + row * 4, 4) - load<u32>(attributeStart + row * 4));
    note(number);
    note(message);
  }
  if (longest > longestTimeUs || last - first > longestTimeUs || last > largestTimeUs || most > mostOfRow) return 0;
  lookAt(code, valueKind, value, batch.attributes, 0);
  lookAt(resourceCode, resourceValueKind, resourceValue, batch.resourceAttributes, batch.attributes);
  lookAt(eventCode, eventValueKind, eventValue, batch.eventAttributes, batch.attributes + batch.resourceAttributes);
  if (wide > largestNumber || (names | messages) > largestNumber) return 0;
  lookAtIds(rows);
  lookAtClasses(rows);
  const bytes = bytesOf(rows, messages != 0);
  if (bytes > mostCompactBytes) return 0;
  const end = write(rows, first, messages != 0);
  if (end - compactAt != bytes) unreachable();
  store<f64>(baseUs, first);
  store<u32>(counts, wide, 28);
  store<u32>(counts, idCounts.traces, 32);
  store<u32>(counts, idCounts.parents, 36);
  store<u32>(counts, classCounts.classes, 40);
  store<u32>(counts, classCounts.changes, 44);
  store<u32>(counts, classCounts.maskBytes, 48);
  store<u32>(counts, classCounts.attributes, 52);
  store<u32>(counts, listed, 56);
  store<u32>(counts, messages != 0 ? 1 : 0, 60);
  return bytes;
}

/** Of each text its number once. */
function note(number: u32): void {
  if (load<u32>(seenIn + number * 4) == request) return;
  store<u32>(seenIn + number * 4, request);
  store<u32>(listedTexts + listed * 4, number);
  listed += 1;
}

function lookAt(codes: u32, kinds: u32, values: u32, count: u32, offset: u32): void {
  for (let at: u32 = 0; at < count; at += 1) {
    const one = load<f64>(values + at * 8);
    const what = <u32>load<u8>(kinds + at);
    store<u8>(hasCode + load<u8>(codes + at), 1);
    let number = <u32>0;
    let isNarrow = false;
    // -0 is no whole number.
    if (one >= 0 && one <= 65535) {
      number = <u32>one;
      isNarrow = reinterpret<u64>(<f64>number) == reinterpret<u64>(one);
    }
    if (what == 1 || what == 5 || what == 6) note(<u32>one);
    const to = offset + at;
    if (isNarrow) {
      store<u16>(packedValues + to * 2, number);
      store<u8>(packedKinds + to, what);
    } else {
      store<u16>(packedValues + to * 2, wide);
      store<u8>(packedKinds + to, what | isWide);
      store<f64>(wides + wide * 8, one);
      wide += 1;
    }
  }
}

/** As `compactBytes`. */
function bytesOf(rows: u32, hasMessages: bool): u32 {
  const others = batch.resourceAttributes + batch.eventAttributes;
  const eights = wide + batch.events;
  const fours =
    2 * rows +
    (batch.events == 0 ? 0 : rows + 1 + batch.events + 1) +
    (batch.links == 0 ? 0 : rows + 1) +
    batch.resources +
    (batch.resources + 1) +
    (idCounts.traces * 4 + rows * 2 + idCounts.parents * 2);
  const twos = rows * (hasMessages ? 4 : 3) + classCounts.changes + others + classCounts.classes + classCounts.attributes;
  const ones = others * 2 + batch.events + batch.links * 24 + classCounts.maskBytes + classCounts.classes * 3 + classCounts.attributes * 2;
  return eights * 8 + fours * 4 + twos * 2 + ones;
}

function write(rows: u32, first: f64, hasMessages: bool): u32 {
  let at = copied(compactAt, wides, wide * 8);
  at = copied(at, eventUs, batch.events * 8);
  const durations = at + rows * 4;
  for (let row: u32 = 0; row < rows; row += 1) {
    const start = load<f64>(startUs + row * 8);
    store<u32>(at + row * 4, <u32>(start - first));
    store<u32>(durations + row * 4, <u32>max(load<f64>(endUs + row * 8) - start, 0));
  }
  at = durations + rows * 4;
  if (batch.events > 0) at = copied(at, eventStart, (rows + 1) * 4);
  if (batch.links > 0) at = copied(at, linkStart, (rows + 1) * 4);
  memory.fill(at, 0, batch.resources * 4);
  for (let row: u32 = 0; row < rows; row += 1) {
    const rowsOf = at + load<u32>(resource + row * 4) * 4;
    store<u32>(rowsOf, load<u32>(rowsOf) + 1);
  }
  at += batch.resources * 4;
  store<u32>(at, 0);
  at = copied(at + 4, resourceAttributeEnd, batch.resources * 4);
  if (batch.events > 0) {
    store<u32>(at, 0);
    at = copied(at + 4, eventAttributeEnd, batch.events * 4);
  }
  at = writeIds(at, rows);
  if (hasMessages) {
    for (let row: u32 = 0; row < rows; row += 1) store<u16>(at + row * 2, load<u32>(statusMessage + row * 4));
    at += rows * 2;
  }
  at = copied(at, traceOf, rows * 2);
  at = copied(at, classOf, rows * 2);
  at = copied(at, parentOf, rows * 2);
  at = copied(at, changed, classCounts.changes * 2);
  const others = batch.resourceAttributes + batch.eventAttributes;
  at = copied(at, packedValues + batch.attributes * 2, others * 2);
  at = writeClassNumbers(at);
  at = copied(at, resourceCode, batch.resourceAttributes);
  at = copied(at, eventCode, batch.eventAttributes);
  at = copied(at, packedKinds + batch.attributes, others);
  at = copied(at, eventKind, batch.events);
  at = copied(at, linkIds, batch.links * 24);
  at = copied(at, masks, classCounts.maskBytes);
  return writeClassBytes(at);
}

function copied(to: u32, from: u32, bytes: u32): u32 {
  memory.copy(to, from, bytes);
  return to + bytes;
}
