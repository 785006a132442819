/**
 * What a Redis command says of one object whose key matches a declared template such as `cart:{key}`: read, write or delete, and the
 * version where the value is JSON (GET, SET) or a hash (HGET, HGETALL, HSET) with a field of it.
 */
const reads = new Set(['get', 'getex', 'hgetall', 'hget', 'hmget', 'json.get', 'smembers', 'lrange', 'zrange', 'exists']);
const writes = new Set(['set', 'setex', 'psetex', 'setnx', 'getset', 'hset', 'hmset', 'hsetnx', 'json.set', 'incr', 'incrby', 'decr', 'decrby', 'append']);
const appends = new Set(['sadd', 'rpush', 'lpush', 'zadd', 'hincrby']);
const deletes = new Set(['del', 'unlink', 'getdel']);

/** Templates as patterns; the part in braces is the object's key. */
export function keyPlans(objects) {
  return Object.entries(objects).map(([template, object]) => {
    const [before = '', after = ''] = template.split(/\{[^}]*\}/);
    return { before, after, object };
  });
}

/** Attributes of a command before it runs, with what its reply is needed for; null where it names no declared object. */
export function commandFacts(plans, name, args) {
  const command = String(name).toLowerCase();
  const operation = reads.has(command)
    ? 'read'
    : writes.has(command)
      ? 'write'
      : appends.has(command)
        ? 'append'
        : deletes.has(command)
          ? 'delete'
          : undefined;
  // Commands on several keys touch several objects.
  if (operation === undefined || (deletes.has(command) && args.length > 1)) return null;
  const key = String(args[0] ?? '');
  const plan = plans.find(({ before, after }) => key.length > before.length + after.length && key.startsWith(before) && key.endsWith(after));
  if (plan === undefined) return null;
  const { object, before, after } = plan;
  const version = operation === 'write' && object.version !== undefined ? writtenVersion(command, args, object.version) : undefined;
  return {
    command,
    args,
    object,
    operation,
    attributes: {
      'consistency.object.type': object.type,
      'consistency.object.key': key.slice(before.length, key.length - after.length),
      'consistency.operation': operation,
      ...(object.domain === undefined ? {} : { 'consistency.domain': object.domain }),
      ...(object.replica === undefined ? {} : { 'consistency.replica.id': object.replica }),
      ...(object.role === undefined ? {} : { 'consistency.replica.role': object.role }),
      ...(version === undefined ? {} : { 'consistency.version': version }),
    },
  };
}

/** What a reply adds: the version that was read, an empty one where there was nothing; a conditional write that wrote nothing. */
export function replyAttributes({ command, args, object, operation }, reply) {
  if (operation === 'read') {
    if (object.version === undefined) return {};
    if (reply === null || reply === undefined || isEmptyHash(command, reply)) return { 'consistency.version': '' };
    const version = readVersion(command, args, reply, object.version);
    return version === undefined ? {} : { 'consistency.version': version };
  }
  const wroteNothing = (command === 'setnx' || command === 'hsetnx') ? reply === 0 : operation === 'write' && reply === null && command === 'set';
  return wroteNothing ? { 'consistency.transaction.outcome': 'aborted' } : {};
}

const isEmptyHash = (command, reply) => command === 'hgetall' && typeof reply === 'object' && Object.keys(reply).length === 0;

function writtenVersion(command, args, field) {
  if (command === 'set' || command === 'getset' || command === 'setnx') return jsonVersion(args[1], field);
  if (command === 'setex' || command === 'psetex') return jsonVersion(args[2], field);
  if (command !== 'hset' && command !== 'hmset') return undefined;
  const fields = args.slice(1).flat();
  const at = fields.findIndex((one, i) => i % 2 === 0 && String(one) === field);
  if (at >= 0) return versionOf(fields[at + 1]);
  return typeof args[1] === 'object' && args[1] !== null ? versionOf(args[1][field]) : undefined;
}

function readVersion(command, args, reply, field) {
  if (command === 'get' || command === 'getex' || command === 'json.get') return jsonVersion(reply, field);
  if (command === 'hget') return String(args[1]) === field ? versionOf(reply) : undefined;
  if (command !== 'hgetall') return undefined;
  // Before ioredis makes an object of it, the reply is a list of names and values.
  if (!Array.isArray(reply)) return versionOf(reply[field]);
  const at = reply.findIndex((one, i) => i % 2 === 0 && String(one) === field);
  return at < 0 ? undefined : versionOf(reply[at + 1]);
}

/** Values longer than this are not parsed for a version. */
const longestValue = 64 * 1024;

function jsonVersion(value, field) {
  const text = typeof value === 'string' || Buffer.isBuffer(value) ? String(value) : '';
  if (!text.startsWith('{') || text.length > longestValue) return undefined;
  try {
    return versionOf(JSON.parse(text)[field]);
  } catch {
    return undefined;
  }
}

function versionOf(value) {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  const text = value === undefined || value === null || typeof value === 'object' ? (Buffer.isBuffer(value) ? String(value) : '') : String(value);
  if (text === '') return undefined;
  return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}
