/**
 * `ExportTraceServiceRequest` (OTLP 1.11) from protobuf bytes into columns, in AssemblyScript: `npm run wasm` compiles this into
 * `src/ingest/compiled-span-decoder.ts`, and `src/ingest/span-core.ts` is the side of it that JavaScript sees. WebAssembly because most of
 * a request is compared with itself, sixteen bytes at a time here: in less than half of the time that it takes in JavaScript.
 *
 * It reads whatever is well-formed as `src/ingest/plain-span-decoder.ts` does and traps on everything else: on malformed bytes, on what
 * hardly comes (groups) and on what has no room here. The request is then decoded there, which also says what is wrong with it. Nothing here
 * grows, and what a trap leaves behind is sound: the next request begins anew, only the texts that are remembered stay.
 *
 * Loops over fields are written out: AssemblyScript keeps values of functions in memory of its own, which `memory.ts` leaves it none of.
 */
import { attributesOfRow, closeRow, hasRoomFor, nameRow, openRow, otherAttributes, startAttributes } from './attributes';
import { alike, copySpanId, copyTraceId } from './bytes';
import {
  attributeStart,
  batch,
  body,
  counts,
  endUs,
  eventAttributeEnd,
  eventCode,
  eventKind,
  eventNames,
  eventStart,
  eventUs,
  eventValue,
  eventValueKind,
  ids,
  kind,
  linkIds,
  linkStart,
  mostEventAttributes,
  mostEvents,
  mostLinks,
  mostResourceAttributes,
  mostResources,
  mostRows,
  name,
  resource,
  resourceAttributeEnd,
  resourceCode,
  resourceValue,
  resourceValueKind,
  startUs,
  status,
  statusMessage,
} from './memory';
import { intern, startTexts } from './texts';
import { lengthPrefix, microseconds, skip, varint, wire } from './wire';

export {
  attributeStart,
  baseUs,
  body,
  code,
  compactAt,
  counts,
  endUs,
  eventAttributeEnd,
  eventCode,
  eventKind,
  eventNames,
  eventStart,
  eventUs,
  eventValue,
  eventValueKind,
  hasCode,
  ids,
  keyBytes,
  kind,
  linkIds,
  linkStart,
  listedTexts,
  mostArenaBytes,
  mostBodyBytes,
  mostNewTexts,
  mostTexts,
  name,
  newTexts,
  pages,
  resource,
  resourceAttributeEnd,
  resourceCode,
  resourceValue,
  resourceValueKind,
  roles,
  startUs,
  status,
  statusMessage,
  value,
  valueKind,
} from './memory';
export { compact } from './compact';
export { newTextCount, openTexts, renewTexts, wantKey } from './texts';

/** Decodes the request of so many bytes that lies at `body`. */
export function decode(length: u32): void {
  startTexts();
  startAttributes();
  batch.rows = 0;
  batch.attributes = 0;
  batch.events = 0;
  batch.eventAttributes = 0;
  batch.links = 0;
  batch.resources = 0;
  batch.resourceAttributes = 0;
  batch.badTraceIds = 0;
  batch.badSpanIds = 0;
  store<u32>(attributeStart, 0);
  store<u32>(eventStart, 0);
  store<u32>(linkStart, 0);
  const end = body + length;
  // A number that crosses the end goes no further.
  v128.store(end, i8x16.splat(0));
  let at = body;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x0a) {
      const stop = lengthPrefix(at, end);
      resourceSpans(wire.at, stop);
      at = stop;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
  store<u32>(counts, batch.rows);
  store<u32>(counts, batch.attributes, 4);
  store<u32>(counts, batch.events, 8);
  store<u32>(counts, batch.links, 12);
  store<u32>(counts, batch.resources, 16);
  store<u32>(counts, batch.badTraceIds, 20);
  store<u32>(counts, batch.badSpanIds, 24);
}

function resourceSpans(start: u32, end: u32): void {
  // The resource may come after its spans: its fields first, then the spans.
  if (batch.resources == mostResources) unreachable();
  batch.resources += 1;
  let at = start;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x0a) {
      const stop = lengthPrefix(at, end);
      resourceFields(wire.at, stop);
      at = stop;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
  store<u32>(resourceAttributeEnd + (batch.resources - 1) * 4, batch.resourceAttributes);
  at = start;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x12) {
      const stop = lengthPrefix(at, end);
      scopeSpans(wire.at, stop);
      at = stop;
    } else at = skip(tag, at, end);
  }
}

function resourceFields(start: u32, end: u32): void {
  batch.resourceAttributes = otherAttributes(
    start,
    end,
    0x0a,
    resourceCode,
    resourceValueKind,
    resourceValue,
    batch.resourceAttributes,
    mostResourceAttributes,
  );
}

function scopeSpans(start: u32, end: u32): void {
  let at = start;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x12) {
      const stop = lengthPrefix(at, end);
      span(wire.at, stop);
      at = stop;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
}

function span(start: u32, end: u32): void {
  const row = batch.rows;
  hasRoomFor(start, end);
  if (row == mostRows) unreachable();
  const rowIds = ids + row * 32;
  v128.store(rowIds, i8x16.splat(0));
  v128.store(rowIds, i8x16.splat(0), 16);
  store<f64>(startUs + row * 8, 0);
  store<f64>(endUs + row * 8, 0);
  store<u32>(name + row * 4, 0);
  store<u32>(statusMessage + row * 4, 0);
  store<u32>(resource + row * 4, batch.resources - 1);
  store<u8>(kind + row, 0);
  store<u8>(status + row, 0);
  const attributesFrom = batch.attributes;
  const eventsFrom = batch.events;
  const eventAttributesFrom = batch.eventAttributes;
  const linksFrom = batch.links;
  openRow();
  let hasTraceId = false;
  let hasSpanId = false;
  let at = start;
  // As SDKs write it: first the ids of trace and span, then mostly the parent's. Anything else is found below.
  if (end - at >= 38 && load<u16>(at) == 0x100a && load<u16>(at, 18) == 0x0812) {
    hasTraceId = copyTraceId(at + 2, rowIds);
    hasSpanId = copySpanId(at + 20, rowIds + 16);
    at += 28;
    if (load<u16>(at) == 0x0822) {
      copySpanId(at + 2, rowIds + 24);
      at += 10;
    }
  }
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    switch (tag) {
      case 0x4a:
        at = attributesOfRow(at, end);
        break;
      case 0x0a: {
        // trace_id
        const stop = lengthPrefix(at, end);
        hasTraceId = stop - wire.at == 16 && copyTraceId(wire.at, rowIds);
        at = stop;
        break;
      }
      case 0x12: {
        // span_id
        const stop = lengthPrefix(at, end);
        hasSpanId = stop - wire.at == 8 && copySpanId(wire.at, rowIds + 16);
        at = stop;
        break;
      }
      case 0x22: {
        // parent_span_id: empty or zero for a root; another length cannot name a span, so it is a root too.
        const stop = lengthPrefix(at, end);
        if (stop - wire.at == 8) copySpanId(wire.at, rowIds + 24);
        else store<u64>(rowIds, 0, 24);
        at = stop;
        break;
      }
      case 0x2a: {
        // name
        const stop = lengthPrefix(at, end);
        const number = intern(wire.at, stop);
        store<u32>(name + row * 4, number);
        nameRow(number);
        at = stop;
        break;
      }
      case 0x30: // kind
        store<u8>(kind + row, min<u32>(varint(at), 255));
        at = wire.at;
        break;
      case 0x39: // start_time_unix_nano
        store<f64>(startUs + row * 8, microseconds(at));
        at += 8;
        break;
      case 0x41: // end_time_unix_nano
        store<f64>(endUs + row * 8, microseconds(at));
        at += 8;
        break;
      case 0x5a: {
        // events
        const stop = lengthPrefix(at, end);
        event(wire.at, stop);
        at = stop;
        break;
      }
      case 0x6a: {
        // links
        const stop = lengthPrefix(at, end);
        link(wire.at, stop);
        at = stop;
        break;
      }
      case 0x7a: {
        // status
        const stop = lengthPrefix(at, end);
        statusOf(wire.at, stop, row);
        at = stop;
        break;
      }
      default:
        at = skip(tag, at, end);
    }
  }
  if (at != end) unreachable();
  closeRow(attributesFrom);
  if (hasTraceId && hasSpanId) {
    batch.rows = row + 1;
    store<u32>(attributeStart + batch.rows * 4, batch.attributes);
    store<u32>(eventStart + batch.rows * 4, batch.events);
    store<u32>(linkStart + batch.rows * 4, batch.links);
    return;
  }
  if (hasTraceId) batch.badSpanIds += 1;
  else batch.badTraceIds += 1;
  batch.attributes = attributesFrom;
  batch.events = eventsFrom;
  batch.eventAttributes = eventAttributesFrom;
  batch.links = linksFrom;
}

function event(start: u32, end: u32): void {
  let us: f64 = 0;
  let what: u32 = 0;
  let at = start;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x09) {
      us = microseconds(at);
      at += 8;
    } else if (tag == 0x12) {
      const stop = lengthPrefix(at, end);
      const length = stop - wire.at;
      what = 0;
      if (length == 9 && alike(wire.at, eventNames, 9) >= 9) what = 1;
      else if (length == 21 && alike(wire.at, eventNames + 32, 21) >= 21) what = 2;
      at = stop;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
  if (what == 0) return;
  if (batch.events == mostEvents) unreachable();
  batch.eventAttributes = otherAttributes(
    start,
    end,
    0x1a,
    eventCode,
    eventValueKind,
    eventValue,
    batch.eventAttributes,
    mostEventAttributes,
  );
  store<u8>(eventKind + batch.events, what);
  store<f64>(eventUs + batch.events * 8, us);
  store<u32>(eventAttributeEnd + batch.events * 4, batch.eventAttributes);
  batch.events += 1;
}

function link(start: u32, end: u32): void {
  if (batch.links == mostLinks) unreachable();
  const linkId = linkIds + batch.links * 24;
  let at = start;
  let hasTraceId = false;
  let hasSpanId = false;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x0a) {
      const stop = lengthPrefix(at, end);
      hasTraceId = stop - wire.at == 16 && copyTraceId(wire.at, linkId);
      at = stop;
    } else if (tag == 0x12) {
      const stop = lengthPrefix(at, end);
      hasSpanId = stop - wire.at == 8 && copySpanId(wire.at, linkId + 16);
      at = stop;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
  // A link that names no span says nothing.
  if (hasTraceId && hasSpanId) batch.links += 1;
}

function statusOf(start: u32, end: u32, row: u32): void {
  let at = start;
  while (at < end) {
    const tag = varint(at);
    at = wire.at;
    if (tag == 0x12) {
      const stop = lengthPrefix(at, end);
      store<u32>(statusMessage + row * 4, intern(wire.at, stop));
      at = stop;
    } else if (tag == 0x18) {
      store<u8>(status + row, min<u32>(varint(at), 255));
      at = wire.at;
    } else at = skip(tag, at, end);
  }
  if (at != end) unreachable();
}
