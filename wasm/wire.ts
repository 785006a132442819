/** The wire format of protobuf, as in `src/ingest/protobuf-wire.ts`. What is malformed traps. */

/** Where the last varint ended, or what has a length began; upper half of the varint. */
export namespace wire {
  export let at: u32 = 0;
  export let high: u32 = 0;
}

/** Low 32 bits of the varint at `at`; high bits in `wire.high`, end in `wire.at`. */
export function varint(at: u32): u32 {
  const byte = <u32>load<u8>(at);
  if (byte > 127) return longVarint(at);
  wire.at = at + 1;
  wire.high = 0;
  return byte;
}

function longVarint(at: u32): u32 {
  let whole: u64 = 0;
  for (let i: u32 = 0; i < 10; i += 1) {
    const byte = <u64>load<u8>(at + i);
    whole |= (byte & 127) << (7 * i);
    if (byte < 128) {
      wire.at = at + i + 1;
      wire.high = <u32>(whole >> 32);
      return <u32>whole;
    }
  }
  unreachable();
  return 0;
}

/** End of the length-delimited field whose length is at `at`; its start in `wire.at`. */
export function lengthPrefix(at: u32, end: u32): u32 {
  const length = varint(at);
  if (wire.high != 0 || wire.at > end || length > end - wire.at) unreachable();
  return wire.at + length;
}

/** Nanoseconds at `at` as whole microseconds: split so that no step leaves the exact integers of a double. */
export function microseconds(at: u32): f64 {
  const upper = <f64>load<u32>(at, 4);
  return upper * 4_294_967 + floor<f64>((upper * 296 + load<u32>(at)) / 1000);
}

/** End of an unknown field. Groups are left to the other decoder. */
export function skip(tag: u32, at: u32, end: u32): u32 {
  if (tag >> 3 == 0) unreachable();
  let stop = at;
  switch (tag & 7) {
    case 0:
      varint(at);
      stop = wire.at;
      break;
    case 1:
      stop = at + 8;
      break;
    case 2:
      return lengthPrefix(at, end);
    case 5:
      stop = at + 4;
      break;
    default:
      unreachable();
  }
  if (stop > end) unreachable();
  return stop;
}
