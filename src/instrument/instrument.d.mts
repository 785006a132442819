import type { Context, Span } from '@opentelemetry/api';

/** Rows or values that are objects. */
export interface InstrumentedObject {
  /** `consistency.object.type`: what it is, the same word in every service that holds a copy. */
  readonly type: string;
  /** The column, JSON field or hash field that counts or names its versions, if it has one. */
  readonly version?: string;
  /** `consistency.domain`. */
  readonly domain?: string;
}

/** A table whose rows are objects. Names in lower case. */
export interface InstrumentedTable extends InstrumentedObject {
  /** The column that names the object. */
  readonly key: string;
  /**
   * Say true where services write back what they read (as object mappers do): a write without a version predicate that sets values is then
   * taken to be derived from the version that the same unit of work, the span above, read last. False by default: nothing is assumed.
   */
  readonly baseFromRead?: boolean;
}

/** Redis keys that hold objects; the key template is the name under which this is declared: `cart:{key}`. */
export interface InstrumentedKey extends InstrumentedObject {
  /** `consistency.replica.id`, where this Redis is a copy. */
  readonly replica?: string;
  /** `consistency.replica.role`: mostly `cache`. */
  readonly role?: 'leader' | 'follower' | 'peer' | 'cache';
}

/**
 * Hooks for `new PgInstrumentation({...})`, by table name (with or without schema):
 * `new PgInstrumentation(pgHooks({ orders: { type: 'order', key: 'id', version: 'version' } }))`.
 */
export function pgHooks(tables: Readonly<Record<string, InstrumentedTable>>): {
  readonly requestHook: (span: Span, info: { readonly query: { readonly text: string; readonly values?: unknown[] } }) => void;
  readonly responseHook: (
    span: Span,
    info: { readonly data: { readonly command?: string; readonly rows?: unknown[]; readonly rowCount?: number | null } },
  ) => void;
};

/**
 * Hooks for `new IORedisInstrumentation({...})`, by key template:
 * `new IORedisInstrumentation(redisHooks({ 'cart:{key}': { type: 'cart', version: 'version', role: 'cache' } }))`.
 */
export function redisHooks(objects: Readonly<Record<string, InstrumentedKey>>): {
  readonly requestHook: (span: Span, info: { readonly cmdName: string; readonly cmdArgs: readonly (string | Buffer | number | unknown[])[] }) => void;
  readonly responseHook: (span: Span, cmdName: string, cmdArgs: readonly (string | Buffer | number | unknown[])[], reply: unknown) => void;
};

/**
 * A `pg` client, or a pool with all its connections, whose statements on declared tables become events of the active span. For services
 * without `@opentelemetry/instrumentation-pg`; with both, everything would be said twice. Returns what it was given.
 */
export function wrapPg<T extends { query: unknown }>(target: T, tables: Readonly<Record<string, InstrumentedTable>>): T;

/**
 * The same for a `mysql2` connection or pool, with callbacks or of `mysql2/promise`. The key of an insert that gives none is the one that the
 * server made: RETURNING, or `insertId`, so the declared key has to be the column with AUTO_INCREMENT.
 */
export function wrapMysql<T extends { query: unknown; execute: unknown }>(target: T, tables: Readonly<Record<string, InstrumentedTable>>): T;

/** The same for an ioredis connection. */
export function wrapRedis<T extends { sendCommand: unknown }>(redis: T, objects: Readonly<Record<string, InstrumentedKey>>): T;

export interface WorkFacts {
  readonly domain?: string;
  readonly sessionId?: string;
  readonly idempotencyKey?: string;
  readonly sagaId?: string;
  readonly sagaName?: string;
  readonly sagaStep?: string;
  readonly outboxId?: string;
  readonly replicaId?: string;
  readonly replicaRole?: string;
}

/** Runs `work`; every span that begins in it gets these facts, through {@link ConsistencySpanProcessor}. Calls nest. */
export function withConsistency<T>(facts: WorkFacts, work: () => T): T;

/** A span processor for the SDK: facts of {@link withConsistency}, and the replica that a span speaks to by its `host` or `host:port`. */
export class ConsistencySpanProcessor {
  constructor(options?: { readonly replicas?: Readonly<Record<string, { readonly id: string; readonly role?: string }>> });
  onStart(span: Span, parentContext: Context): void;
  onEnd(): void;
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
}
