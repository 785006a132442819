/** What is wrong with a config file, in sentences: from zod's issues, and from what one schema cannot check. */
import type { z } from 'zod';
import { nearestWord } from './base/edit-distance.ts';
import type { Engine } from './domain/collection.ts';
import { type ConfigFile, configJsonSchema, dayMs, type replicaSchema } from './config-schema.ts';

/** Checks of sentences and ids whose meaning other folders hold; each answers a complaint, or null. */
export interface ConfigChecks {
  readonly invariant?: (sentence: string) => string | null;
  readonly strategies?: readonly string[];
  readonly logPattern?: (pattern: string) => string | null;
}

export type Say = (path: readonly PropertyKey[], says: string, key?: string) => void;

export function sayIssue(issue: z.core.$ZodIssue, raw: unknown, say: Say): void {
  const value = issue.path.reduce<unknown>(fieldOf, raw);
  const last = String(issue.path.at(-1) ?? '');
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownKeys(issue.path, raw);
      for (const key of issue.keys) {
        const near = nearestWord(key, known);
        say(
          issue.path,
          near === undefined ? `there is no such key here; known are ${known.join(', ')}.` : `there is no such key; did you mean ${near}?`,
          key,
        );
      }
      return;
    }
    case 'invalid_type':
      if (value === undefined) return say(issue.path.slice(0, -1), `${last} is missing; add it (${describe(issue.path, raw)}).`);
      if (issue.expected === 'number' || issue.expected === 'int') return say(issue.path, wrongNumber(last, value));
      return say(
        issue.path,
        `${show(value)} is not ${article(issue.expected)}; write ${issue.expected === 'array' ? 'a list such as [a, b]' : issue.expected === 'record' || issue.expected === 'object' ? 'keys below it' : article(issue.expected)}.`,
      );
    case 'invalid_value': {
      const known = issue.values.map(String);
      const near = nearestWord(String(value), known);
      if (value === undefined) return say(issue.path.slice(0, -1), `${last} is missing; add one of ${known.join(', ')}.`);
      return say(
        issue.path,
        `${show(value)} is not known; ${near === undefined ? `use one of ${known.join(', ')}` : `did you mean ${near}`}${near === undefined ? '.' : `? (${known.join(', ')})`}`,
      );
    }
    case 'too_small':
      if (issue.origin === 'array' || issue.origin === 'string')
        return say(issue.path, `too short; ${issue.minimum} or more ${issue.origin === 'array' ? 'items' : 'characters'}, please.`);
      return say(issue.path, `${show(value)} is below the least, ${issue.minimum}; write ${issue.minimum} or more.`);
    case 'too_big':
      return say(issue.path, `${show(value)} is above the most, ${issue.maximum}; write ${issue.maximum} or less.`);
    case 'invalid_key':
      return say(issue.path.slice(0, -1), `a name is letters, digits, _ . - and starts with a letter; rename it.`, last);
    case 'custom':
    case 'invalid_element':
    case 'invalid_format':
    case 'invalid_union':
    case 'not_multiple_of':
      if (last === 'kind') return sayKind(issue.path, value, raw, say);
      if (issue.path.at(-1) === 'region' || last === 'residency')
        return say(issue.path, `${show(value)} is not a region's name; use letters, digits, _ . -`);
      return say(
        issue.path,
        `${show(value)} is not right here; ${issue.message.replace(/^Invalid[^:]*: /, '')} (${describe(issue.path, raw)}).`,
      );
  }
}

function sayKind(path: readonly PropertyKey[], value: unknown, raw: unknown, say: Say): void {
  const whole = schemaAt(path.slice(0, -1), raw);
  const known = whole === undefined ? [] : kindsOf(whole).map(({ kind }) => kind);
  if (value === undefined) return say(path.slice(0, -1), `kind is missing; add one of ${known.join(', ')}.`);
  const near = nearestWord(typeof value === 'string' ? value : '', known);
  say(
    path,
    `${show(value)} is not known; ${near === undefined ? `use one of ${known.join(', ')}.` : `did you mean ${near}? (${known.join(', ')})`}`,
  );
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, sec: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: dayMs };

/** `30s` where milliseconds are wanted: says the number to write. */
function wrongNumber(key: string, value: unknown): string {
  const unit = /(Ms|Hours|Minutes|Days|Mb|Hour|Day)$/.exec(key)?.[1];
  const per = { Ms: 1, Minutes: 60_000, Hours: 3_600_000, Days: dayMs }[unit ?? ''];
  const named = { Ms: 'milliseconds', Minutes: 'minutes', Hours: 'hours', Days: 'days', Mb: 'MiB' }[unit ?? ''];
  const duration = typeof value === 'string' ? /^(\d+(?:\.\d+)?)\s*([a-z]+)$/.exec(value.trim()) : null;
  const ms = duration === null ? undefined : Number(duration[1]) * (unitMs[duration[2] ?? ''] ?? Number.NaN);
  if (named !== undefined && per !== undefined && ms !== undefined && !Number.isNaN(ms))
    return `${show(value)} has a unit of its own; ${key} is in ${named}: write ${ms / per}.`;
  return `${show(value)} is not a whole number${named === undefined ? '' : ` of ${named}`}; write one without a unit.`;
}

/** The keys that the schema knows at a path; record keys match anything. */
function knownKeys(path: readonly PropertyKey[], raw: unknown): readonly string[] {
  const schema = schemaAt(path, raw);
  return typeof schema?.['properties'] === 'object' && schema['properties'] !== null ? Object.keys(schema['properties']) : [];
}

function describe(path: readonly PropertyKey[], raw: unknown): string {
  const text = schemaAt(path, raw)?.['description'];
  return typeof text === 'string' ? text.replace(/\.$/, '') : 'see schema/homeostat.schema.json';
}

type Schema = Readonly<Record<string, unknown>>;

/** The schema at a path; of several kinds the one that the file names there. */
function schemaAt(path: readonly PropertyKey[], raw: unknown): Schema | undefined {
  let schema = configJsonSchema() as Schema | undefined;
  let value: unknown = raw;
  for (const key of path) {
    const properties = schema?.['properties'] as Schema | undefined;
    schema = (properties?.[String(key)] ?? schema?.['additionalProperties'] ?? schema?.['items']) as typeof schema;
    value = fieldOf(value, key);
    const kinds = schema === undefined ? [] : kindsOf(schema);
    if (kinds.length > 0) schema = kinds.find(({ kind }) => kind === fieldOf(value, 'kind'))?.schema ?? schema;
  }
  return schema;
}

const fieldOf = (value: unknown, key: PropertyKey): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined;

/** What `kind` may be, where the keys beside it depend on that. */
function kindsOf(schema: Schema): readonly { readonly kind: string; readonly schema: Schema }[] {
  const branches = (schema['oneOf'] ?? schema['anyOf'] ?? []) as readonly Schema[];
  return branches.flatMap((branch) => {
    const kind = fieldOf(fieldOf(branch['properties'], 'kind'), 'const');
    return typeof kind === 'string' ? [{ kind, schema: branch }] : [];
  });
}

export function checkMeaning(file: ConfigFile, checks: ConfigChecks, say: Say): void {
  const domains = Object.keys(file.domains);
  if (file.database !== 'embedded' && engineOf(file.database) !== 'postgres')
    say(['database'], `${show(file.database)} is neither embedded nor a postgres:// URL; write one of them.`);
  const queues = typeof file.queue === 'string' ? [file.queue] : file.queue;
  for (const url of queues)
    if (url !== 'database' && engineOf(url) !== 'redis')
      say(['queue'], `${show(url)} is neither database nor a redis:// URL; write one of them.`);
  if (file.llm !== undefined && engineOf(file.llm.baseUrl) !== 'http')
    say(['llm', 'baseUrl'], `${show(file.llm.baseUrl)} is not an http:// or https:// URL; write one such as http://localhost:11434/v1.`);
  for (const [i, { pattern }] of file.ingest.logKeys.entries()) {
    const wrong = checks.logPattern?.(pattern) ?? null;
    if (wrong !== null) say(['ingest', 'logKeys', i, 'pattern'], wrong);
  }
  const watched = new Map<string, string>();
  for (const [name, target] of Object.entries(file.targets)) {
    const here = ['targets', name];
    for (const collection of target.collections)
      sayUnknown([...here, 'collections'], 'collection', collection, Object.keys(file.collections), say);
    if (target.kind === 'client-quorum') {
      checkClientQuorum(target, here, say);
      for (const collection of target.collections) {
        const twin = watched.get(collection);
        if (twin !== undefined) say([...here, 'collections'], `${collection} is also in targets.${twin}; name it in one of them.`);
        watched.set(collection, name);
      }
      continue;
    }
    const wanted = target.kind === 'redis-cluster' ? 'redis' : 'postgres';
    if (engineOf(target.url) !== wanted)
      say([...here, 'url'], `${show(target.url)} is not a ${wanted}:// URL; write that of the ${target.kind}.`);
    if (target.kind === 'postgres-quorum' && target.faults >= target.standbys.length)
      say(
        [...here, 'faults'],
        `${target.faults} of ${target.standbys.length} standbys cannot be lost without losing a commit; write less.`,
      );
  }
  const tokens = new Map<string, string>();
  for (const [person, { token, domains: theirs }] of Object.entries(file.people)) {
    const twin = tokens.get(token);
    if (twin !== undefined) say(['people', person, 'token'], `${twin} has the same token; give each person one of their own.`);
    tokens.set(token, person);
    for (const domain of theirs ?? []) sayUnknown(['people', person, 'domains'], 'domain', domain, domains, say);
  }
  for (const [collection, entry] of Object.entries(file.collections)) {
    const here = ['collections', collection];
    const replicas = Object.keys(entry.replicas);
    sayUnknown([...here, 'domain'], 'domain', entry.domain, domains, say);
    if (new Set(entry.key).size < entry.key.length) say([...here, 'key'], 'a key column stands twice; name each once.');
    if (replicas.length < 2 && (replicas.length > 0 || !watched.has(collection)))
      say(
        [...here, 'replicas'],
        `${replicas.length === 0 ? 'there is no replica' : `${replicas[0]} is the only replica`}: nothing can be compared; add a second one.`,
      );
    if (entry.authority !== undefined) sayUnknown([...here, 'authority'], 'replica', entry.authority, replicas, say);
    if (entry.strategy !== undefined && checks.strategies !== undefined)
      sayUnknown([...here, 'strategy'], 'strategy', entry.strategy, checks.strategies, say);
    for (const column of entry.key)
      if (entry.columns[column]?.compare === false)
        say([...here, 'columns', column], 'a key column is always compared; take compare: false away.');
    for (const [index, sentence] of entry.invariants.entries()) {
      const complaint = checks.invariant?.(sentence) ?? null;
      if (complaint !== null) say([...here, 'invariants', index], complaint);
    }
    for (const [id, replica] of Object.entries(entry.replicas)) checkReplica(replica, entry.key, [...here, 'replicas', id], say);
  }
}

function checkClientQuorum(
  target: Extract<ConfigFile['targets'][string], { kind: 'client-quorum' }>,
  path: readonly PropertyKey[],
  say: Say,
): void {
  const { replicas, read, write, faults } = target;
  const n = replicas.length;
  if (new Set(replicas).size < n) say([...path, 'replicas'], 'a replica stands twice; name each once.');
  for (const [key, count] of [
    ['read', read],
    ['write', write],
  ] as const)
    if (count > n) say([...path, key], `a ${key} cannot wait for ${count} of ${n} replicas; write ${n} or less.`);
  if (faults >= n) say([...path, 'faults'], `nothing goes on once ${faults} of ${n} replicas are lost; write ${n - 1} or less.`);
}

function checkReplica(replica: z.infer<typeof replicaSchema>, key: readonly string[], path: readonly string[], say: Say): void {
  const engine = engineOf(replica.url);
  if (engine === null)
    return say([...path, 'url'], 'not a URL that a connector knows; begin it with postgres://, mysql://, redis:// or https://.');
  if (engine !== 'redis') {
    if (replica.key !== undefined) say([...path, 'key'], `a key template is for Redis; take it away, or name a table.`);
    return;
  }
  if (replica.key === undefined)
    return say(path, `key is missing; add the key template, such as key: "${key.map((column) => `{${column}}`).join(':')}".`);
  const named = [...replica.key.matchAll(/\{([^{}]+)\}/g)].map((match) => match[1] ?? '');
  for (const column of key)
    if (!named.includes(column)) say([...path, 'key'], `the template does not name the key column ${column}; add {${column}}.`);
  for (const column of named) if (!key.includes(column)) sayUnknown([...path, 'key'], 'key column', column, key, say);
}

function sayUnknown(path: readonly PropertyKey[], what: string, word: string, known: readonly string[], say: Say): void {
  if (known.includes(word)) return;
  const near = nearestWord(word, known);
  say(
    path,
    `there is no ${what} ${word}; ${near === undefined ? (known.length === 0 ? `declare it first` : `known are ${known.join(', ')}`) : `did you mean ${near}`}${near === undefined ? '.' : '?'}`,
  );
}

/** What passes the schema but stops repair in practice. */
export function meansOtherwise(file: ConfigFile): readonly string[] {
  return Object.entries(file.collections).flatMap(([collection, entry]) => {
    const residency = file.domains[entry.domain]?.residency ?? [];
    return Object.entries(entry.replicas)
      .filter(([id, replica]) => residency.length > 0 && !residency.includes(replica.region ?? id))
      .map(
        ([id, replica]) =>
          `collections.${collection}.replicas.${id} is in ${replica.region ?? id}, outside the residency of ${entry.domain} (${residency.join(', ')}): it is compared by digests only, and never repaired with values from inside.`,
      );
  });
}

export function engineOf(url: string): Engine | null {
  if (!URL.canParse(url)) return null;
  switch (new URL(url).protocol) {
    case 'postgres:':
    case 'postgresql:':
      return 'postgres';
    case 'mysql:':
    case 'mariadb:':
      return 'mysql';
    case 'redis:':
    case 'rediss:':
      return 'redis';
    case 'http:':
    case 'https:':
      return 'http';
    default:
      return null;
  }
}

function article(expected: string): string {
  return (
    { string: 'a text', boolean: 'true or false', array: 'a list', object: 'a mapping', record: 'a mapping' }[expected] ?? `a ${expected}`
  );
}

/** A value as it stood, never a whole URL: it may hold a password. */
function show(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value) ?? 'nothing';
  const short = value.replace(/\/\/[^@/]*@/, '//***@');
  return `"${short.length > 60 ? `${short.slice(0, 57)}...` : short}"`;
}
