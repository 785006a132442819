import { Malformed, type ProtobufWire } from './protobuf-wire.ts';

/** Array, map or bytes of an `AnyValue` of OTLP as JSON text. `tag`: its field and wire type. Rare, so it may make objects. */
export const jsonOfValue = (wire: ProtobufWire, tag: number, start: number, end: number): string =>
  JSON.stringify(structured(wire, tag, start, end, 0));

function structured(wire: ProtobufWire, tag: number, start: number, end: number, depth: number): unknown {
  if (depth > deepestValue) throw new Malformed(`an attribute value is nested deeper than ${deepestValue} levels`);
  if (tag === 0x3a) return wire.bytes.toString('base64', start, end);
  const items: unknown[] = [];
  const members: [string, unknown][] = [];
  let at = start;
  while (at < end) {
    const field = wire.varint(at);
    at = wire.at;
    if (field === 0x0a) {
      const stop = wire.lengthPrefix(at, end);
      if (tag === 0x2a) items.push(plainValue(wire, wire.at, stop, depth + 1));
      else members.push(plainMember(wire, wire.at, stop, depth + 1));
      at = stop;
    } else at = wire.skip(field, at, end, 0);
  }
  if (at !== end) throw new Malformed('an attribute value ends inside a field');
  return tag === 0x2a ? items : Object.fromEntries(members);
}

function plainMember(wire: ProtobufWire, start: number, end: number, depth: number): [string, unknown] {
  let key = '';
  let value: unknown = null;
  let at = start;
  while (at < end) {
    const field = wire.varint(at);
    at = wire.at;
    if (field === 0x0a || field === 0x12) {
      const stop = wire.lengthPrefix(at, end);
      if (field === 0x0a) key = wire.bytes.toString('utf8', wire.at, stop);
      else value = plainValue(wire, wire.at, stop, depth);
      at = stop;
    } else at = wire.skip(field, at, end, 0);
  }
  if (at !== end) throw new Malformed('an attribute ends inside a field');
  return [key, value];
}

function plainValue(wire: ProtobufWire, start: number, end: number, depth: number): unknown {
  let value: unknown = null;
  let at = start;
  while (at < end) {
    const field = wire.varint(at);
    at = wire.at;
    if (field === 0x0a || field === 0x2a || field === 0x32 || field === 0x3a) {
      const stop = wire.lengthPrefix(at, end);
      value = field === 0x0a ? wire.bytes.toString('utf8', wire.at, stop) : structured(wire, field, wire.at, stop, depth);
      at = stop;
    } else if (field === 0x10) {
      value = wire.varint(at) !== 0 || wire.high !== 0;
      at = wire.at;
    } else if (field === 0x18) {
      const low = wire.varint(at);
      const whole = (BigInt(wire.high | 0) << 32n) | BigInt(low);
      // Integers travel as decimal text in JSON where a double cannot hold them, as OTLP's own JSON does.
      value = Number.isSafeInteger(Number(whole)) ? Number(whole) : whole.toString();
      at = wire.at;
    } else if (field === 0x21) {
      value = wire.view.getFloat64(at, true);
      at += 8;
    } else at = wire.skip(field, at, end, 0);
  }
  if (at !== end) throw new Malformed('an attribute value ends inside a field');
  return value;
}

/** Bound of recursion: the stack must not depend on what somebody sends. */
const deepestValue = 32;
