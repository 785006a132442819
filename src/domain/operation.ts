/**
 * One normalised step, taken from a span (or from a `consistency.operation` event on one). Every span yields at least one
 * operation; spans that touch no store and no broker yield `request` (they serve a call), `call` (they make one) or `internal`.
 */
export type OperationKind =
  | 'read'
  | 'write'
  | 'append'
  | 'delete'
  | 'publish'
  | 'consume'
  | 'saga-step'
  | 'compensate'
  | 'transaction'
  | 'request'
  | 'call'
  | 'internal';

/** Integer versions order themselves (bigint); string versions are opaque, ordered only by `versionBase`; '' means absent. */
export type Version = bigint | string;

/** What a SQL text says, parsed once per distinct text and shared by all operations with that text. */
export interface Statement {
  readonly verb: 'select' | 'insert' | 'update' | 'delete' | 'merge' | 'begin' | 'commit' | 'rollback' | 'ddl' | 'other';
  /** Lower case, schema kept where written. First: the one that is written, else the first read. */
  readonly tables: readonly string[];
  /** Columns compared with `=` in WHERE, lower case. */
  readonly keyColumns: readonly string[];
  /** True where WHERE compares a version-like column or a previous value: an optimistic lock. */
  readonly hasVersionPredicate: boolean;
  readonly isLocking: boolean;
  readonly hasOnConflict: boolean;
  readonly hasReturning: boolean;
  /** SET col = col + ...: the database computes the new value, no read-modify-write in the client. */
  readonly isRelativeUpdate: boolean;
  /** Text with literals replaced by `?`. */
  readonly fingerprint: string;
}

/** A log record has no place among its span's operations: it gets a number from here on, made from what it says. */
export const firstLogIndex = 1_000_000;

export interface Operation {
  readonly kind: OperationKind;
  /** 32 hexadecimal digits, lower case. */
  readonly traceId: string;
  /** 16 hexadecimal digits, lower case. */
  readonly spanId: string;
  /** '' for a root. */
  readonly parentSpanId: string;
  /** Position among the operations of one span; from {@link firstLogIndex} on it tells log records apart, and nothing of their order. */
  readonly index: number;
  readonly service: string;
  readonly spanName: string;
  /** OTLP span kind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly spanKind: number;
  /** Microseconds since the Unix epoch; exact in a double. */
  readonly startUs: number;
  readonly endUs: number;
  readonly failed: boolean;
  /** SQLSTATE of a failed statement, five characters, or ''. */
  readonly sqlState: string;
  /** `error.type`, exception type, or ''. */
  readonly errorType: string;
  /** HTTP response status, or 0. */
  readonly httpStatus: number;
  /** `postgresql`, `mysql`, `redis`, `kafka`, `rabbitmq` ..., or ''. */
  readonly system: string;
  /** `server.address` with port where given, or ''. */
  readonly host: string;
  /** Database or namespace name, or ''. */
  readonly namespace: string;
  /** Table, key space, queue or topic; of a `request` or `call`: `POST /orders/{id}` or `package.Service/Method`; '' where unknown. */
  readonly target: string;
  readonly statement: Statement | undefined;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly message: MessageFacts | undefined;
  /**
   * The key that a statement shows without attributes: literals of the key predicate or of the inserted key, bound parameters where they are
   * recorded, a Redis key, a document id. '' or absent where it does not show.
   */
  readonly key?: string;
  /** Rows returned or affected, where recorded; -1 or absent where not. */
  readonly rows?: number;
  /** `telemetry.sdk.language` of the service's resource, '' or absent where it does not say. */
  readonly language?: string;
  /** `cloud.region` of the service's resource: where the operation comes from; '' or absent where it does not say. */
  readonly region?: string;
  /** `session.id` of the span, '' or absent where it has none. */
  readonly session?: string;
  /** An idempotency key sent with a call (`Idempotency-Key` header) or a statement; '' or absent. */
  readonly idempotencyKey?: string;
  /** The optional `consistency.*` attributes; undefined where the span has none. */
  readonly facts: ConsistencyFacts | undefined;
  /** The ids as numbers, where the operation holds them so: comparing and hashing these makes no text. */
  readonly ids?: SpanIds;
}

/** Ids of a span as words of four bytes, in the order of their text and with the first byte lowest (`base/hex-words.ts`). */
export interface SpanIds {
  readonly traceA: number;
  readonly traceB: number;
  readonly traceC: number;
  readonly traceD: number;
  readonly spanA: number;
  readonly spanB: number;
  /** Both 0 for a root. */
  readonly parentA: number;
  readonly parentB: number;
}

export interface MessageFacts {
  readonly id: string;
  readonly key: string;
  /** -1 where unknown. */
  readonly partition: number;
  /** -1 where unknown. */
  readonly offset: number;
  readonly consumerGroup: string;
  readonly deliveryCount: number;
  /** Messages in one publish or consume span (`messaging.batch.message_count`); 1 or absent where it is one. */
  readonly batch?: number;
}

/** `consistency.*` attributes (DESIGN 3); '' or undefined where absent. */
export interface ConsistencyFacts {
  readonly domain: string;
  readonly objectType: string;
  readonly objectKey: string;
  /** undefined: not given; '' : the object did not exist. */
  readonly version: Version | undefined;
  readonly versionBase: Version | undefined;
  readonly hlc: string;
  readonly valueDigest: string;
  readonly replicaId: string;
  readonly replicaRole: string;
  readonly sessionId: string;
  readonly idempotencyKey: string;
  readonly sagaId: string;
  readonly sagaName: string;
  readonly sagaStep: string;
  readonly sagaOutcome: string;
  readonly outboxId: string;
  readonly transactionId: string;
  readonly transactionOutcome: 'committed' | 'aborted' | 'unknown';
}
