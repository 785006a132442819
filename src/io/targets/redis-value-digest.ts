import type { Redis } from 'ioredis';

/** What a key holds, and when it expires (milliseconds since the epoch; -1: never). */
export interface ValueDigest {
  readonly digest: string;
  readonly expiresAtMs: number;
}

/**
 * A digest of a key's value, computed inside the server, so that values do not travel to us. Equal values give
 * equal digests on two servers: sets, hashes and sorted sets are sorted first, since their order in memory depends on a seed of the
 * process (which makes DUMP differ). Every part is preceded by its length. A missing key gives an empty digest. Needs Redis 7
 * (PEXPIRETIME). Cost: the whole value is read at once; the server is busy for about 1 ms for each 5,000 elements.
 */
const script = `
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind == 'none' then return { '', -2 } end
local parts = { kind }
if kind == 'string' then parts[2] = redis.call('GET', key)
elseif kind == 'list' then for _, v in ipairs(redis.call('LRANGE', key, 0, -1)) do parts[#parts + 1] = v end
elseif kind == 'set' then local m = redis.call('SMEMBERS', key) table.sort(m) for _, v in ipairs(m) do parts[#parts + 1] = v end
elseif kind == 'hash' then
  local flat, fields, values = redis.call('HGETALL', key), {}, {}
  for i = 1, #flat, 2 do fields[#fields + 1] = flat[i] values[flat[i]] = flat[i + 1] end
  table.sort(fields)
  for _, f in ipairs(fields) do parts[#parts + 1] = f parts[#parts + 1] = values[f] end
elseif kind == 'zset' then for _, v in ipairs(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')) do parts[#parts + 1] = v end
else parts[2] = redis.call('DUMP', key) end
local sums = {}
for i, v in ipairs(parts) do sums[i] = #v .. ':' .. v end
return { redis.sha1hex(table.concat(sums)), redis.call('PEXPIRETIME', key) }
`;

export const absent: ValueDigest = { digest: '', expiresAtMs: -2 };

export function parseValueDigest(answer: unknown): ValueDigest {
  if (!Array.isArray(answer)) return absent;
  const [digest, expiresAtMs] = answer as readonly unknown[];
  return { digest: String(digest), expiresAtMs: Number(expiresAtMs) };
}

/** Digests of keys of one slot, in their order. `asking`: on a node that is importing the slot. */
export async function valueDigests(node: Redis, keys: readonly Buffer[], asking: boolean): Promise<readonly ValueDigest[]> {
  const pipeline = node.pipeline();
  for (const key of keys) {
    if (asking) pipeline.asking();
    pipeline.eval(script, 1, key);
  }
  const answers = (await pipeline.exec()) ?? [];
  return answers.flatMap(([error, answer], i) => {
    if (asking && i % 2 === 0) return [];
    // Gone from here meanwhile: a client deleted it, or it expired, and the node points to the other one.
    if (error !== null && error.message.startsWith('ASK ')) return [absent];
    if (error !== null) throw error;
    return [parseValueDigest(answer)];
  });
}

export { script as valueDigestScript };
