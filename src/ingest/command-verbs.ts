import type { OperationKind } from '../domain/operation.ts';

/**
 * What operation names of stores without SQL do, and of SQL where only the verb is given: lower case name -> kind. Names that are not
 * listed are `call`: the store was asked something that neither reads nor writes an object.
 */
const kinds = new Map<string, OperationKind>();
const list = (kind: OperationKind, names: string): void => {
  for (const name of names.split(' ')) kinds.set(name, kind);
};
list('transaction', 'begin start commit rollback end abort multi exec discard committransaction aborttransaction transactwriteitems xa');
list(
  'read',
  'select get mget hget hgetall hmget hexists hkeys hvals hlen hscan exists type ttl pttl strlen getrange getbit bitcount lrange lindex llen smembers sismember smismember ' +
    'scard srandmember sinter sunion sdiff zrange zrangebyscore zrevrange zrevrangebyscore zscore zmscore zrank zrevrank zcard zcount scan sscan zscan keys dump object ' +
    'xrange xrevrange xlen xread xreadgroup xpending json.get json.mget ft.search geopos geosearch pfcount ' +
    'find findone aggregate count countdocuments distinct getmore estimateddocumentcount listindexes ' +
    'getitem batchgetitem query scan transactgetitems search msearch getindex multi_get fetch load list read readitem queryitems show describe explain values',
);
list(
  'write',
  'insert update replace upsert merge set setex psetex setnx mset msetnx getset getex append incr incrby incrbyfloat decr decrby setrange setbit hset hmset hsetnx hincrby hincrbyfloat ' +
    'lpush rpush lpushx rpushx linsert lset ltrim lmove rpoplpush brpoplpush sadd smove sinterstore sunionstore sdiffstore zadd zincrby zrangestore zunionstore zinterstore ' +
    'rename renamenx restore copy persist pfadd geoadd json.set json.numincrby json.merge eval evalsha fcall xack xgroup xclaim xautoclaim ' +
    'insertone insertmany updateone updatemany replaceone findandmodify findoneandupdate findoneandreplace bulkwrite mapreduce save put write ' +
    'putitem updateitem batchwriteitem index bulk create createitem upsertitem replaceitem patchitem execute_batch',
);
list(
  'delete',
  'delete truncate del unlink getdel expire pexpire expireat pexpireat hdel lpop rpop lrem blpop brpop lmpop srem spop zrem zpopmin zpopmax zremrangebyscore zremrangebyrank xdel xtrim json.del ' +
    'flushdb flushall deleteone deletemany findoneanddelete remove deleteitem delete_by_query deletebyquery drop',
);
list('publish', 'publish spublish xadd');

export function kindOfCommand(name: string): OperationKind {
  return kinds.get(name.toLowerCase()) ?? 'call';
}

export interface KeyedCommand {
  readonly kind: OperationKind;
  /** The key as written; '' where the text does not show it. */
  readonly key: string;
  /** The key without its variable part: `user` of `user:17`; '' where there is no key. */
  readonly keySpace: string;
  /** The command with arguments as `?`. */
  readonly fingerprint: string;
}

/** Options of Redis commands that stay in a fingerprint; they say what kind of write it is. */
const options: ReadonlySet<string> = new Set([
  'ex',
  'px',
  'exat',
  'pxat',
  'nx',
  'xx',
  'gt',
  'lt',
  'keepttl',
  'get',
  'ch',
  'incr',
  'withscores',
  'count',
  'match',
  'limit',
  'byscore',
  'rev',
  'block',
  'streams',
]);
const keyless: ReadonlySet<string> = new Set([
  'ping',
  'auth',
  'hello',
  'select',
  'info',
  'client',
  'config',
  'command',
  'multi',
  'exec',
  'discard',
  'watch',
  'unwatch',
  'flushdb',
  'flushall',
  'scan',
  'subscribe',
  'psubscribe',
  'cluster',
  'readonly',
  'quit',
  'script',
  'wait',
  'keys',
  'dbsize',
]);

/** A Redis command text such as `SET user:1 ?`, `HGET cart:7 items`, `set user:1 [1 other arguments]`. The first command of a pipeline. */
export function readRedisCommand(text: string): KeyedCommand {
  const line = text.slice(0, 1024).split('\n', 1)[0] ?? '';
  const words = line
    // ioredis counts what it hides.
    .replace(/\[(\d+) other arguments?\]/, (_all, hidden: string) => '? '.repeat(Math.min(16, Number(hidden))))
    .split(/[ ;]+/)
    .filter((word) => word !== '');
  const command = (words[0] ?? '').toLowerCase();
  let first = 1;
  // EVAL script numkeys key ..., XREADGROUP GROUP g c STREAMS key, XREAD STREAMS key, OBJECT ENCODING key
  if (command === 'eval' || command === 'evalsha' || command === 'fcall') first = 3;
  else if (command === 'xread' || command === 'xreadgroup')
    first = Math.max(1, words.findIndex((word) => word.toLowerCase() === 'streams') + 1);
  else if (command === 'object' || command === 'xgroup') first = 2;
  const word = keyless.has(command) ? '' : (words[first] ?? '').replaceAll(/^["']|["']$/g, '');
  const key = word === '?' || word === '' ? '' : word;
  const tail = words.slice(1, 64).map((argument) => (options.has(argument.toLowerCase()) ? argument.toLowerCase() : '?'));
  return { kind: kindOfCommand(command), key, keySpace: keySpaceOf(key), fingerprint: [command, ...tail].join(' ') };
}

/** `user` of `user:17`, `cart:items` of `cart:7:items`, `{user}` of `{user}:1`: segments that vary are left out. */
export function keySpaceOf(key: string): string {
  if (key === '') return '';
  const kept = key.split(/[:/|]/).filter((segment) => segment !== '' && !isVariable(segment));
  return kept.length > 0 ? kept.join(':') : 'key';
}

/** Segments that name one object: numbers, UUIDs, long hexadecimal, words with digits, addresses. */
function isVariable(segment: string): boolean {
  const bare = segment.replace(/^\{(.*)\}$/, '$1');
  return (
    /^\d/.test(bare) ||
    /^[\da-f]{8,}$/i.test(bare) ||
    /\d{3,}/.test(bare) ||
    /@/.test(bare) ||
    /^[A-Za-z]+[-_]?\d+$/.test(bare) ||
    (bare.length >= 20 && /\d/.test(bare))
  );
}
