/** Bytes compared and copied many at a time. */

/** How many bytes from both places on are alike; any number from `most` on where those are. */
export function alike(one: u32, other: u32, most: u32): u32 {
  let at: u32 = 0;
  do {
    const mask = i8x16.bitmask(i8x16.eq(v128.load(one + at), v128.load(other + at)));
    if (mask != 0xffff) return at + ctz(~mask);
    at += 16;
  } while (at < most);
  return at;
}

export function copyTraceId(from: u32, to: u32): bool {
  const id = v128.load(from);
  v128.store(to, id);
  return v128.any_true(id);
}

export function copySpanId(from: u32, to: u32): bool {
  const id = load<u64>(from);
  store<u64>(to, id);
  return id != 0;
}
