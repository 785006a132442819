/**
 * homeostat.yaml: one schema, one parse, one frozen object of domain nouns. Whatever is wrong with a file is said at once, one
 * sentence a problem, each with its line, its key and the fix; a file with any problem starts nothing.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isAlias, isCollection, isMap, isScalar, LineCounter, type Node, type Pair, parseDocument, visit, type YAMLParseError } from 'yaml';
import type { z } from 'zod';
import { Failure } from './base/failure.ts';
import { checkMeaning, type ConfigChecks, engineOf, meansOtherwise, sayIssue } from './config-problems.ts';
import { type ConfigFile, configSchema, type replicaSchema } from './config-schema.ts';
import type { Collection, Replica } from './domain/collection.ts';
import type { ConsistencyDomain, Risk } from './domain/consistency-domain.ts';
import type { PlacementTarget } from './domain/placement-target.ts';
import { parseLogPattern } from './ingest/log-keys.ts';
import { parseDeclaredInvariant } from './propose/declared-invariant.ts';
import { strategies } from './propose/registry.ts';

export interface Person {
  readonly name: string;
  readonly role: 'viewer' | 'approver' | 'operator' | 'admin' | 'agent';
  /** Domains that the role holds for; undefined: all. */
  readonly domains: readonly string[] | undefined;
  readonly token: string;
}

export interface Config extends Readonly<Omit<ConfigFile, 'queue' | 'domains' | 'collections' | 'people' | 'policies' | 'targets'>> {
  /** Absolute path, or '' where the defaults stand alone. */
  readonly file: string;
  /** `database`, or Redis URLs: one server, or nodes of a cluster. */
  readonly queue: 'database' | readonly string[];
  readonly domains: Readonly<Record<string, ConsistencyDomain>>;
  readonly collections: Readonly<Record<string, Collection>>;
  readonly targets: Readonly<Record<string, PlacementTarget>>;
  readonly people: readonly Person[];
  /** Absolute folder of policies, or null. */
  readonly policies: string | null;
  /** Sentences about what is allowed but probably not meant. */
  readonly warnings: readonly string[];
}

export interface ConfigProblem {
  /** 1-based. */
  readonly line: number;
  /** Dotted path of the key. */
  readonly key: string;
  /** One sentence that says what is wrong and what to do. */
  readonly says: string;
}

/** Ids and sentences that the repair stages know. */
const standardChecks: ConfigChecks = {
  strategies: strategies.map((strategy) => strategy.id),
  invariant: (sentence) => {
    const parsed = parseDeclaredInvariant(sentence);
    return parsed.is === 'unknown' ? parsed.says : null;
  },
  logPattern: (pattern) => {
    const read = parseLogPattern(pattern);
    return read.is === 'wrong' ? read.says : null;
  },
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads and checks a file. Throws `Failure('config')` whose message holds one line a problem. */
export function loadConfig(path: string, env: Environment, checks: ConfigChecks = standardChecks): Config {
  const file = resolve(path);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const because = error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'is not there' : 'cannot be read';
    throw new Failure(
      'config',
      `${path} ${because}: write one (schema/homeostat.schema.json describes it) or name another with --config.`,
      'never',
      error,
    );
  }
  const parsed = parseConfig(text, file, env, checks);
  if (parsed.is === 'problems') {
    throw new Failure(
      'config',
      parsed.problems.map((p) => `${path}:${p.line}: ${p.key === '' ? '' : `${p.key}: `}${p.says}`).join('\n'),
      'never',
    );
  }
  return parsed.config;
}

/** What stands without a file: embedded database, no domains. */
export function defaultConfig(): Config {
  return toConfig(configSchema.parse({}), '', []);
}

export function parseConfig(
  text: string,
  file: string,
  env: Environment,
  checks: ConfigChecks = standardChecks,
): { readonly is: 'config'; readonly config: Config } | { readonly is: 'problems'; readonly problems: readonly ConfigProblem[] } {
  const lines = new LineCounter();
  const document = parseDocument(hideVariables(text), { lineCounter: lines, prettyErrors: false });
  const lineAt = (offset: number): number => Math.max(1, lines.linePos(offset).line);
  const problems: ConfigProblem[] = document.errors.map((error) => ({
    line: lineAt(error.pos[0]),
    key: '',
    says: sayYamlError(error, text),
  }));
  if (problems.length > 0) return { is: 'problems', problems };

  const at = (path: readonly PropertyKey[], key?: string): ConfigProblem['line'] => lineAt(offsetOf(document.contents, path, key));
  const say = (path: readonly PropertyKey[], says: string, key?: string): void => {
    problems.push({ line: at(path, key), key: [...path, ...(key === undefined ? [] : [key])].map(String).join('.'), says });
  };

  visit(document, {
    Alias(_key, node) {
      if (node.resolve(document) !== undefined) return;
      problems.push({
        line: lineAt(node.range?.[0] ?? 0),
        key: '',
        says: `there is no &${node.source} before *${node.source}; write one, or put the alias in quotes if it is a text.`,
      });
    },
    Scalar(_key, node, ancestors) {
      if (typeof node.value !== 'string') return;
      node.value = node.value.replace(hiddenVariable, (whole, variable: string, fallback: string | undefined) => {
        const value = env[variable] ?? fallback;
        if (value !== undefined) return value;
        const path = ancestors.flatMap((ancestor) => (isPair(ancestor) && isScalar(ancestor.key) ? [String(ancestor.key.value)] : []));
        problems.push({
          line: lineAt(node.range?.[0] ?? 0),
          key: path.join('.'),
          says: `the environment has no ${variable}; set it, or write \${${variable}:-default}.`,
        });
        return whole;
      });
    },
  });

  let raw: unknown;
  try {
    raw = document.toJS() ?? {};
  } catch (error) {
    // An alias of nothing, or aliases of aliases that would not fit into memory.
    if (!(error instanceof ReferenceError)) throw error;
    if (problems.length === 0)
      problems.push({ line: 1, key: '', says: 'aliases repeat too much of the file; write out what they stand for.' });
    return { is: 'problems', problems };
  }
  const checked = configSchema.safeParse(raw);
  if (!checked.success) for (const issue of checked.error.issues) sayIssue(issue, raw, say);
  else checkMeaning(checked.data, checks, say);
  if (!checked.success || problems.length > 0) return { is: 'problems', problems: problems.toSorted((a, b) => a.line - b.line) };
  return { is: 'config', config: toConfig(checked.data, file, meansOtherwise(checked.data)) };
}

const riskOf: Readonly<Record<ConsistencyDomain['consistency'], Risk>> = {
  strict: 'high',
  session: 'medium',
  bounded: 'low',
  eventual: 'low',
};

function toConfig(file: ConfigFile, path: string, warnings: readonly string[]): Config {
  const { queue, domains, collections, people, policies, ingest, targets, ...rest } = file;
  const folder = path === '' ? '.' : dirname(path);
  return deepFreeze({
    ...rest,
    file: path,
    queue: queue === 'database' ? queue : typeof queue === 'string' ? [queue] : queue,
    domains: mapValues(
      domains,
      (domain, id): ConsistencyDomain => ({ ...domain, name: id, risk: domain.risk ?? riskOf[domain.consistency] }),
    ),
    collections: mapValues(collections, (entry, id): Collection => {
      const columns = Object.entries(entry.columns);
      return {
        name: id,
        domain: entry.domain,
        key: entry.key,
        columnClasses: Object.fromEntries(columns.map(([column, { class: is }]) => [column, is])),
        excludedColumns: columns.filter(([, { compare }]) => !compare).map(([column]) => column),
        invariants: entry.invariants,
        ...(entry.authority === undefined ? {} : { authority: entry.authority }),
        ...(entry.strategy === undefined ? {} : { strategy: entry.strategy }),
        ...(entry.strategyOptions === undefined ? {} : { strategyOptions: entry.strategyOptions }),
        replicas: Object.entries(entry.replicas).map(([replica, it]) => toReplica(replica, it, id)),
        scanEveryMs: entry.scanEveryMs,
        throttle: entry.throttle,
        ...(entry.changes === 'off'
          ? {}
          : { changes: { maxRetainedBytes: file.changes.maxRetainedMb * 2 ** 20, isDurable: entry.changes === 'durable' } }),
      };
    }),
    targets: mapValues(targets, toTarget),
    people: Object.entries(people).map(([person, it]) => ({ name: person, role: it.role, domains: it.domains, token: it.token })),
    policies: policies === undefined ? null : resolve(folder, policies),
    ingest: {
      ...ingest,
      ...(ingest.tls === undefined ? {} : { tls: { cert: resolve(folder, ingest.tls.cert), key: resolve(folder, ingest.tls.key) } }),
    },
    warnings,
  });
}

function toTarget(it: ConfigFile['targets'][string], name: string): PlacementTarget {
  switch (it.kind) {
    case 'redis-cluster':
      return { ...it, name, nodeOperationsPerSecond: it.nodeOperationsPerSecond ?? null };
    case 'postgres-quorum':
      return { ...it, name, commitP99Ms: it.commitP99Ms ?? null, freshShare: it.freshShare ?? null };
    case 'client-quorum':
      return {
        ...it,
        name,
        freshShare: it.freshShare ?? null,
        readP99Ms: it.readP99Ms ?? null,
        writeP99Ms: it.writeP99Ms ?? null,
      };
  }
}

function toReplica(id: string, it: z.infer<typeof replicaSchema>, collection: string): Replica {
  const engine = engineOf(it.url) ?? 'http';
  return {
    id,
    engine,
    url: it.url,
    region: it.region ?? id,
    ...(it.via === 'agent' ? { via: 'agent' as const } : {}),
    role: it.role,
    ...(engine === 'postgres' || engine === 'mysql' ? { table: it.table ?? collection } : {}),
    ...(engine === 'redis' ? { keyTemplate: it.key ?? '', value: it.value ?? 'json' } : {}),
    columnNames: it.columns,
  };
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, map: (value: A, key: string) => B): Readonly<Record<string, B>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]));
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}

/** The offset of a node, or of one of its keys; of the nearest ancestor that the file has where it has none. */
function offsetOf(root: Node | null, path: readonly PropertyKey[], key?: string): number {
  let node: unknown = root;
  let offset = root?.range?.[0] ?? 0;
  const wanted = key === undefined ? path : [...path, key];
  for (const step of wanted) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
      if (pair === undefined) return offset;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isCollection(node)) {
      node = node.items[Number(step)];
      if (isScalar(node) || isCollection(node)) offset = node.range?.[0] ?? offset;
    } else return offset;
    if (isAlias(node)) return offset;
  }
  return offset;
}

/**
 * `${NAME}` and `${NAME:-default}` wait for the parsed scalars: braces end a plain scalar inside `{ ... }`, and a secret that was
 * put into the text could hold `#` or `: `. The stand-ins are private-use characters; lines stay where they are.
 */
function hideVariables(text: string): string {
  return text.replace(
    /\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}\n]*))?\}/g,
    (_whole, variable: string, fallback: string | undefined) =>
      `\uE000${variable}${fallback === undefined ? '' : `\uE001${fallback}`}\uE002`,
  );
}

const hiddenVariable = /\uE000([A-Za-z0-9_]+)(?:\uE001([^\uE002]*))?\uE002/g;

function isPair(node: unknown): node is Pair {
  return typeof node === 'object' && node !== null && 'key' in node && 'value' in node && !isScalar(node);
}

function sayYamlError({ code, message, pos }: YAMLParseError, text: string): string {
  if (code === 'DUPLICATE_KEY') return `the key ${wordAt(text, pos[0])} stands twice; keep one.`;
  if (code === 'MULTIPLE_DOCS') return 'a second document begins here; keep one, without ---.';
  return `not YAML here: ${message.replace(/\.$/, '')}; correct the line.`;
}

function wordAt(text: string, offset: number): string {
  return /^["']?([^:"'\s]+)/.exec(text.slice(offset))?.[1] ?? '';
}
