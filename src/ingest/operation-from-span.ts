import type { ConsistencyFacts, MessageFacts, Operation, OperationKind, Statement } from '../domain/operation.ts';
import { kindOfCommand, readRedisCommand } from './command-verbs.ts';
import type { SpanDedupe } from './dedupe.ts';
import type { SpanBatch } from './span-batch.ts';
import { SpanView } from './span-view.ts';
import { StatementCache } from './sql-fingerprint.ts';
import { sqlStateOf } from './sql-state.ts';
import { codeOf, firstConsistencyCode, firstParameter, lastConsistencyCode } from './wanted-attributes.ts';

/**
 * Rows of a `SpanBatch` into operations. Each span gives one, in order of the batch; each event named `consistency.operation` gives one
 * more, in the order of the events. Both generations of the semantic conventions are read; where both are present the current one wins.
 */
export class OperationReader {
  readonly #view = new SpanView();
  readonly #statements: StatementCache;

  constructor(options: { readonly distinctStatements?: number } = {}) {
    this.#statements = new StatementCache(options.distinctStatements);
  }

  /** Operations of rows `[from, to)`, all by default, without the spans that `dedupe` has seen. */
  read(batch: SpanBatch, dedupe?: SpanDedupe, from = 0, to = batch.count): readonly Operation[] {
    const view = this.#view;
    const operations: Operation[] = [];
    view.open(batch);
    const ids = new IdReader(batch.ids);
    for (let row = from; row < to; row += 1) {
      if (dedupe !== undefined && !dedupe.isNew(batch.ids, row * 32)) continue;
      view.selectResource(batch, batch.resource[row] as number);
      this.#readRow(batch, row, ids, operations);
    }
    return operations;
  }

  #readRow(batch: SpanBatch, row: number, ids: IdReader, into: Operation[]): void {
    const view = this.#view;
    let exceptionType = '';
    let exceptionMessage = '';
    const firstEvent = batch.eventStart[row] as number;
    const lastEvent = batch.eventStart[row + 1] as number;
    for (let event = firstEvent; event < lastEvent; event += 1) {
      if (batch.eventKind[event] !== 1) continue;
      view.select(batch.eventAttributes, batch.eventAttributeStart[event] as number, batch.eventAttributeStart[event + 1] as number);
      exceptionType = view.text(exceptionTypeCode);
      exceptionMessage = view.text(exceptionMessageCode);
    }
    view.select(batch.attributes, batch.attributeStart[row] as number, batch.attributeStart[row + 1] as number);
    const failed = batch.status[row] === 2;
    const span = this.#describe(batch, row, failed, exceptionType, exceptionMessage);
    const operation: Operation = {
      kind: span.kind,
      traceId: ids.trace(row),
      spanId: ids.span(row),
      parentSpanId: ids.parent(row),
      index: 0,
      service: view.resourceText(serviceNameCode) || 'unknown_service',
      spanName: batch.strings[batch.name[row] as number] as string,
      spanKind: batch.kind[row] as number,
      startUs: batch.startUs[row] as number,
      endUs: Math.max(batch.endUs[row] as number, batch.startUs[row] as number),
      failed,
      sqlState: span.sqlState,
      errorType: span.errorType,
      httpStatus: span.httpStatus,
      system: span.system,
      host: span.host,
      namespace: span.namespace,
      target: span.target,
      statement: span.statement,
      links: linksOf(batch, row),
      message: span.message,
      key: span.key,
      rows: span.rows,
      session: view.text(sessionIdCode),
      idempotencyKey: span.idempotencyKey,
      facts: view.hasAny(firstConsistencyCode, lastConsistencyCode) ? factsOf(view, failed, undefined, '') : undefined,
    };
    into.push(operation);
    let index = 1;
    for (let event = firstEvent; event < lastEvent; event += 1) {
      if (batch.eventKind[event] !== 2) continue;
      view.select(batch.eventAttributes, batch.eventAttributeStart[event] as number, batch.eventAttributeStart[event + 1] as number);
      const atUs = (batch.eventUs[event] as number) || operation.startUs;
      // Several operations in one span are one transaction.
      const facts = factsOf(view, failed, operation.facts, `${operation.traceId}:${operation.spanId}`);
      into.push({
        ...operation,
        kind: declaredKind(view) ?? (facts.sagaStep === '' ? 'internal' : 'saga-step'),
        index,
        startUs: atUs,
        endUs: atUs,
        target: facts.objectType || operation.target,
        statement: undefined,
        links: noLinks,
        message: undefined,
        key: facts.objectKey,
        facts,
      });
      index += 1;
    }
  }

  #describe(batch: SpanBatch, row: number, failed: boolean, exceptionType: string, exceptionMessage: string): Described {
    const view = this.#view;
    const spanKind = batch.kind[row] as number;
    const queryText = view.either(queryTextCode, statementCode);
    const databaseSystem = view.either(databaseSystemNameCode, databaseSystemCode);
    const messagingSystem = view.text(messagingSystemCode);
    const declared = declaredKind(view);
    const errorType =
      failed || view.has(errorTypeCode) ? view.text(errorTypeCode) || exceptionType || view.text(exceptionTypeCode) : exceptionType;
    let described: Described;
    if (messagingSystem !== '' || view.has(destinationNameCode)) described = this.#message(batch, row, messagingSystem, spanKind);
    else if (databaseSystem !== '' || queryText !== '' || view.has(collectionNameCode) || view.has(sqlTableCode)) {
      described = this.#database(databaseSystem, queryText);
      if (failed) {
        const message =
          exceptionMessage || view.text(exceptionMessageCode) || (batch.strings[batch.statusMessage[row] as number] as string);
        described.sqlState = sqlStateOf(databaseSystem, view.text(responseStatusCode), view.text(errorTypeCode), exceptionType, message);
      }
    } else described = this.#call(batch, row, spanKind);
    described.errorType = errorType;
    if (described.host === '') described.host = hostOf(view);
    if (declared !== undefined) described.kind = declared;
    else if (view.has(sagaStepCode) && (described.kind === 'internal' || described.kind === 'request' || described.kind === 'call'))
      described.kind = 'saga-step';
    return described;
  }

  #database(system: string, queryText: string): Described {
    const view = this.#view;
    const described = blank('call');
    described.system = canonicalSystem(system);
    described.namespace = view.either(namespaceCode, databaseNameCode) || view.text(redisIndexCode);
    const returned = view.number(returnedRowsCode, -1);
    described.rows = returned >= 0 ? returned : view.number(affectedRowsCode, -1);
    const operationName = view.either(operationNameCode, operationCode);
    const collection =
      view.either(collectionNameCode, sqlTableCode) ||
      view.either(mongoCollectionCode, cassandraTableCode) ||
      view.text(elasticIndexCode) ||
      firstOfList(view.text(dynamoTablesCode));
    if (described.system === 'redis' || described.system === 'valkey' || described.system === 'memcached') {
      const command = readRedisCommand(queryText || operationName);
      described.kind = command.kind;
      described.key = command.key;
      described.target = collection || command.keySpace;
      described.statement = commandStatement(command.kind, command.fingerprint, described.target);
      return described;
    }
    const isDocument = documentStores.has(described.system);
    if (queryText !== '' && !isDocument) {
      const read = this.#statements.read(queryText, described.system);
      described.statement = read.statement;
      described.kind = kindOfStatement(read.statement);
      // A procedure call or a text cut before its verb says nothing; the operation name may.
      if (described.kind === 'call' && operationName !== '') described.kind = kindOfCommand(firstWord(operationName));
      described.target = normalTable(collection) || (read.statement.tables[0] ?? '');
      described.key = read.key || boundKey(view, read.keyParameters);
      return described;
    }
    const summary = view.text(querySummaryCode);
    const name = operationName || firstWord(summary);
    described.kind = name === '' ? 'call' : kindOfCommand(name.includes(' ') ? firstWord(name) : name);
    described.target = isDocument
      ? collection
      : normalTable(collection) || (summary === '' ? '' : normalTable(summary.split(' ')[1] ?? ''));
    described.key = view.text(elasticIdCode);
    if (isDocument && name !== '') described.statement = commandStatement(described.kind, name.toLowerCase(), described.target);
    return described;
  }

  #message(batch: SpanBatch, row: number, system: string, spanKind: number): Described {
    const view = this.#view;
    const described = blank('call');
    described.system = canonicalSystem(system);
    const name = view.either(destinationNameCode, destinationCode);
    const routingKey = view.either(routingKeyCode, formerRoutingKeyCode);
    // RabbitMQ's default exchange routes by queue name: the queue is the destination, `<default>` or '' says nothing.
    const isDefaultExchange = name === '' || name === '<default>' || name === 'amq.default' || name === '(default)';
    described.target =
      (isDefaultExchange && routingKey !== '' ? routingKey : view.text(destinationTemplateCode) || name) ||
      queueOfUrl(view.text(sqsUrlCode) || view.text(messagingUrlCode));
    const batchCount = view.number(batchCountCode, 1);
    const id = view.either(messageIdCode, formerMessageIdCode);
    described.kind = messageKind(
      (view.text(messagingTypeCode) || view.text(formerMessagingOperationCode)).toLowerCase(),
      view.text(messagingOperationNameCode).toLowerCase(),
      spanKind,
      id === '' && view.has(batchCountCode) && !view.has(kafkaOffsetCode) && !view.has(kafkaMessageOffsetCode),
      batch.strings[batch.name[row] as number] as string,
    );
    const message: MessageFacts = {
      id,
      key: view.either(kafkaKeyCode, formerKafkaKeyCode) || view.text(rocketKeysCode) || view.text(orderingKeyCode),
      partition: integer(view.number(partitionIdCode, view.number(kafkaPartitionCode, view.number(formerKafkaPartitionCode, -1)))),
      offset: integer(view.number(kafkaOffsetCode, view.number(kafkaMessageOffsetCode, view.number(formerKafkaOffsetCode, -1)))),
      consumerGroup:
        view.either(groupNameCode, kafkaGroupCode) || view.either(formerKafkaGroupCode, rocketGroupCode) || view.text(subscriptionCode),
      deliveryCount: integer(view.number(deliveryAttemptCode, view.number(deliveryCountCode, 0))),
      batch: Math.max(1, integer(batchCount)),
    };
    described.message = message;
    return described;
  }

  #call(batch: SpanBatch, row: number, spanKind: number): Described {
    const view = this.#view;
    const described = blank(spanKind === 2 || spanKind === 5 ? 'request' : spanKind === 3 || spanKind === 4 ? 'call' : 'internal');
    described.httpStatus = integer(view.number(httpStatusCode, view.number(formerHttpStatusCode, 0)));
    const rpcService = view.text(rpcServiceCode);
    const rpcMethod = view.text(rpcMethodCode);
    if (rpcService !== '' || rpcMethod !== '') {
      described.target = rpcService === '' ? rpcMethod : `${rpcService}/${rpcMethod}`;
      described.system = view.either(rpcSystemNameCode, rpcSystemCode);
      const grpc = view.text(grpcStatusCode) || view.text(rpcResponseStatusCode);
      if (grpc !== '' && described.httpStatus === 0) described.httpStatus = httpOfGrpc[grpc.toUpperCase()] ?? 0;
    } else if (described.kind !== 'internal') {
      const method = view.either(requestMethodCode, formerMethodCode);
      const path =
        view.either(urlTemplateCode, routeCode) ||
        pathOf(view.text(urlPathCode) || view.text(urlFullCode) || view.either(targetCode, httpUrlCode));
      described.target = method === '' ? (batch.strings[batch.name[row] as number] as string) : path === '' ? method : `${method} ${path}`;
    }
    described.idempotencyKey = listText(
      view.either(idempotencyCode, formerIdempotencyCode) || view.either(xIdempotencyCode, formerXIdempotencyCode),
    );
    return described;
  }
}

/** What a span says, before it becomes an operation; written field by field. */
interface Described {
  kind: OperationKind;
  sqlState: string;
  errorType: string;
  httpStatus: number;
  system: string;
  host: string;
  namespace: string;
  target: string;
  statement: Statement | undefined;
  message: MessageFacts | undefined;
  key: string;
  rows: number;
  idempotencyKey: string;
}

const blank = (kind: OperationKind): Described => ({
  kind,
  sqlState: '',
  errorType: '',
  httpStatus: 0,
  system: '',
  host: '',
  namespace: '',
  target: '',
  statement: undefined,
  message: undefined,
  key: '',
  rows: -1,
  idempotencyKey: '',
});

const serviceNameCode = codeOf('service.name');
const sessionIdCode = codeOf('session.id');
const databaseSystemNameCode = codeOf('db.system.name');
const databaseSystemCode = codeOf('db.system');
const queryTextCode = codeOf('db.query.text');
const statementCode = codeOf('db.statement');
const querySummaryCode = codeOf('db.query.summary');
const operationNameCode = codeOf('db.operation.name');
const operationCode = codeOf('db.operation');
const collectionNameCode = codeOf('db.collection.name');
const sqlTableCode = codeOf('db.sql.table');
const mongoCollectionCode = codeOf('db.mongodb.collection');
const cassandraTableCode = codeOf('db.cassandra.table');
const elasticIndexCode = codeOf('db.elasticsearch.path_parts.index');
const elasticIdCode = codeOf('db.elasticsearch.path_parts.doc_id');
const dynamoTablesCode = codeOf('aws.dynamodb.table_names');
const namespaceCode = codeOf('db.namespace');
const databaseNameCode = codeOf('db.name');
const redisIndexCode = codeOf('db.redis.database_index');
const responseStatusCode = codeOf('db.response.status_code');
const returnedRowsCode = codeOf('db.response.returned_rows');
const affectedRowsCode = codeOf('db.response.affected_rows');
const postgresValuesCode = codeOf('db.postgresql.values');
const messagingSystemCode = codeOf('messaging.system');
const messagingTypeCode = codeOf('messaging.operation.type');
const messagingOperationNameCode = codeOf('messaging.operation.name');
const formerMessagingOperationCode = codeOf('messaging.operation');
const destinationNameCode = codeOf('messaging.destination.name');
const destinationCode = codeOf('messaging.destination');
const destinationTemplateCode = codeOf('messaging.destination.template');
const partitionIdCode = codeOf('messaging.destination.partition.id');
const subscriptionCode = codeOf('messaging.destination.subscription.name');
const routingKeyCode = codeOf('messaging.rabbitmq.destination.routing_key');
const formerRoutingKeyCode = codeOf('messaging.rabbitmq.routing_key');
const messageIdCode = codeOf('messaging.message.id');
const formerMessageIdCode = codeOf('messaging.message_id');
const kafkaKeyCode = codeOf('messaging.kafka.message.key');
const formerKafkaKeyCode = codeOf('messaging.kafka.message_key');
const kafkaPartitionCode = codeOf('messaging.kafka.destination.partition');
const formerKafkaPartitionCode = codeOf('messaging.kafka.partition');
const kafkaOffsetCode = codeOf('messaging.kafka.offset');
const kafkaMessageOffsetCode = codeOf('messaging.kafka.message.offset');
const formerKafkaOffsetCode = codeOf('messaging.kafka.message_offset');
const groupNameCode = codeOf('messaging.consumer.group.name');
const kafkaGroupCode = codeOf('messaging.kafka.consumer.group');
const formerKafkaGroupCode = codeOf('messaging.kafka.consumer_group');
const rocketGroupCode = codeOf('messaging.rocketmq.client_group');
const rocketKeysCode = codeOf('messaging.rocketmq.message.keys');
const deliveryAttemptCode = codeOf('messaging.gcp_pubsub.message.delivery_attempt');
const orderingKeyCode = codeOf('messaging.gcp_pubsub.message.ordering_key');
const deliveryCountCode = codeOf('messaging.servicebus.message.delivery_count');
const batchCountCode = codeOf('messaging.batch.message_count');
const messagingUrlCode = codeOf('messaging.url');
const sqsUrlCode = codeOf('aws.sqs.queue.url');
const requestMethodCode = codeOf('http.request.method');
const formerMethodCode = codeOf('http.method');
const routeCode = codeOf('http.route');
const targetCode = codeOf('http.target');
const httpUrlCode = codeOf('http.url');
const urlTemplateCode = codeOf('url.template');
const urlPathCode = codeOf('url.path');
const urlFullCode = codeOf('url.full');
const httpStatusCode = codeOf('http.response.status_code');
const formerHttpStatusCode = codeOf('http.status_code');
const idempotencyCode = codeOf('http.request.header.idempotency-key');
const formerIdempotencyCode = codeOf('http.request.header.idempotency_key');
const xIdempotencyCode = codeOf('http.request.header.x-idempotency-key');
const formerXIdempotencyCode = codeOf('http.request.header.x_idempotency_key');
const rpcSystemCode = codeOf('rpc.system');
const rpcSystemNameCode = codeOf('rpc.system.name');
const rpcServiceCode = codeOf('rpc.service');
const rpcMethodCode = codeOf('rpc.method');
const grpcStatusCode = codeOf('rpc.grpc.status_code');
const rpcResponseStatusCode = codeOf('rpc.response.status_code');
const errorTypeCode = codeOf('error.type');
const exceptionTypeCode = codeOf('exception.type');
const exceptionMessageCode = codeOf('exception.message');
const consistencyOperationCode = codeOf('consistency.operation');
const sagaStepCode = codeOf('consistency.saga.step');

const declaredKinds: Readonly<Record<string, OperationKind>> = {
  read: 'read',
  write: 'write',
  append: 'append',
  delete: 'delete',
  compensate: 'compensate',
};

function declaredKind(view: SpanView): OperationKind | undefined {
  return view.has(consistencyOperationCode) ? declaredKinds[view.text(consistencyOperationCode).toLowerCase()] : undefined;
}

const consistency = {
  domain: codeOf('consistency.domain'),
  objectType: codeOf('consistency.object.type'),
  objectKey: codeOf('consistency.object.key'),
  version: codeOf('consistency.version'),
  versionBase: codeOf('consistency.version.base'),
  hlc: codeOf('consistency.timestamp.hlc'),
  valueDigest: codeOf('consistency.value.digest'),
  replicaId: codeOf('consistency.replica.id'),
  replicaRole: codeOf('consistency.replica.role'),
  sessionId: codeOf('consistency.session.id'),
  idempotencyKey: codeOf('consistency.idempotency.key'),
  sagaId: codeOf('consistency.saga.id'),
  sagaName: codeOf('consistency.saga.name'),
  sagaStep: codeOf('consistency.saga.step'),
  sagaOutcome: codeOf('consistency.saga.outcome'),
  outboxId: codeOf('consistency.outbox.id'),
  transactionId: codeOf('consistency.transaction.id'),
  transactionOutcome: codeOf('consistency.transaction.outcome'),
} as const;

/**
 * The `consistency.*` attributes at hand. What an event does not say, its span says for it, except what names one object or one step of
 * it (type, key, versions, digest); what neither says about where, the resource may.
 */
function factsOf(view: SpanView, failed: boolean, span: ConsistencyFacts | undefined, transaction: string): ConsistencyFacts {
  const outcome = view.text(consistency.transactionOutcome);
  return {
    domain: view.text(consistency.domain) || span?.domain || view.resourceText(consistency.domain),
    objectType: view.text(consistency.objectType),
    objectKey: view.text(consistency.objectKey),
    version: view.version(consistency.version),
    versionBase: view.version(consistency.versionBase),
    hlc: view.text(consistency.hlc),
    valueDigest: view.text(consistency.valueDigest),
    replicaId: view.text(consistency.replicaId) || span?.replicaId || view.resourceText(consistency.replicaId),
    replicaRole: view.text(consistency.replicaRole) || span?.replicaRole || view.resourceText(consistency.replicaRole),
    sessionId: view.text(consistency.sessionId) || span?.sessionId || view.text(sessionIdCode),
    idempotencyKey: view.text(consistency.idempotencyKey) || span?.idempotencyKey || '',
    sagaId: view.text(consistency.sagaId) || span?.sagaId || '',
    sagaName: view.text(consistency.sagaName) || span?.sagaName || '',
    sagaStep: view.text(consistency.sagaStep) || span?.sagaStep || '',
    sagaOutcome: view.text(consistency.sagaOutcome) || span?.sagaOutcome || '',
    outboxId: view.text(consistency.outboxId) || span?.outboxId || '',
    transactionId: view.text(consistency.transactionId) || span?.transactionId || transaction,
    transactionOutcome:
      outcome === 'committed' || outcome === 'aborted' || outcome === 'unknown'
        ? outcome
        : (span?.transactionOutcome ?? (failed ? 'aborted' : 'committed')),
  };
}

function kindOfStatement(statement: Statement): OperationKind {
  switch (statement.verb) {
    case 'select':
      return 'read';
    case 'insert':
    case 'update':
    case 'merge':
      return 'write';
    case 'delete':
      return 'delete';
    case 'begin':
    case 'commit':
    case 'rollback':
      return 'transaction';
    case 'ddl':
      return 'call';
    case 'other':
      return /^(?:prepare transaction|xa )/.test(statement.fingerprint) ? 'transaction' : 'call';
  }
}

const statementVerbs: Readonly<Partial<Record<OperationKind, Statement['verb']>>> = { read: 'select', write: 'update', delete: 'delete' };

/** Commands are few and statements are shared: cached by what they are made of, bounded by dropping all. */
const commandStatements = new Map<string, Statement>();

function commandStatement(kind: OperationKind, fingerprint: string, target: string): Statement {
  const id = `${kind} ${target} ${fingerprint}`;
  let statement = commandStatements.get(id);
  if (statement === undefined) {
    if (commandStatements.size >= 4096) commandStatements.clear();
    statement = {
      verb: statementVerbs[kind] ?? 'other',
      tables: target === '' ? [] : [target],
      keyColumns: [],
      hasVersionPredicate: false,
      isLocking: false,
      hasOnConflict: / (?:nx|xx)\b/.test(fingerprint) || fingerprint.startsWith('setnx'),
      hasReturning: false,
      isRelativeUpdate: /^(?:incr|decr|hincr|zincr|append|lpush|rpush|sadd|zadd)/.test(fingerprint),
      fingerprint,
    };
    commandStatements.set(id, statement);
  }
  return statement;
}

const documentStores: ReadonlySet<string> = new Set([
  'mongodb',
  'elasticsearch',
  'opensearch',
  'dynamodb',
  'aws.dynamodb',
  'cosmosdb',
  'azure.cosmosdb',
  'couchdb',
  'firestore',
]);

function canonicalSystem(system: string): string {
  return system === 'postgres' ? 'postgresql' : system === 'mssql' ? 'microsoft.sql_server' : system.toLowerCase();
}

/** `messaging.operation.type`, then the operation's own name, then the span's kind. */
function messageKind(type: string, name: string, spanKind: number, isPoll: boolean, spanName: string): OperationKind {
  switch (type || name) {
    case 'send':
    case 'publish':
    case 'produce':
    case 'create':
    case 'enqueue':
      return 'publish';
    case 'process':
    case 'deliver':
    case 'consume':
    case 'handle':
      return 'consume';
    case 'receive':
    case 'poll':
      // A poll returns a batch and processes nothing; a consumer's callback that calls itself receive does.
      return spanKind === 5 && !isPoll ? 'consume' : 'call';
    case 'settle':
    case 'ack':
    case 'nack':
    case 'commit':
    case 'delete':
      return 'internal';
    default:
      if (/\b(?:settle|ack|nack|commit)$/i.test(spanName)) return 'internal';
      return spanKind === 4 ? 'publish' : spanKind === 5 ? 'consume' : 'call';
  }
}

const integer = (value: number): number => (Number.isFinite(value) ? Math.trunc(value) : -1);
const firstWord = (text: string): string => text.trim().split(/\s/, 1)[0] ?? '';

/** Quotes off, lower case: as statements name tables. */
const normalTable = (name: string): string => (name === '' ? '' : name.replaceAll(/["`[\]]/g, '').toLowerCase());

function listOf(text: string): readonly string[] {
  if (!text.startsWith('[')) return [];
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list)
      ? list.map((item) => (item === null ? '' : typeof item === 'object' ? JSON.stringify(item) : String(item)))
      : [];
  } catch {
    return [];
  }
}
const firstOfList = (text: string): string => (text.startsWith('[') ? (listOf(text)[0] ?? '') : text);
const listText = (text: string): string => (text.startsWith('["') ? listOf(text).join(',') : text);

/** The key from recorded parameters: `db.query.parameter.N`, or node-postgres's `db.postgresql.values`. */
function boundKey(view: SpanView, positions: readonly number[]): string {
  if (positions.length === 0) return '';
  if (view.has(postgresValuesCode)) {
    const values = listOf(view.text(postgresValuesCode));
    return positions.every((position) => position < values.length) ? positions.map((position) => values[position] ?? '').join('|') : '';
  }
  let key = '';
  for (let i = 0; i < positions.length; i += 1) {
    const position = positions[i] as number;
    if (position > 15 || !view.has(firstParameter + position)) return '';
    key += `${i === 0 ? '' : '|'}${view.text(firstParameter + position)}`;
  }
  return key;
}

const hostCodes = [
  [codeOf('server.address'), codeOf('server.port')],
  [codeOf('net.peer.name'), codeOf('net.peer.port')],
  [codeOf('network.peer.address'), codeOf('network.peer.port')],
  [codeOf('net.sock.peer.addr'), codeOf('net.sock.peer.port')],
] as const;
const peerServiceCode = codeOf('peer.service');

function hostOf(view: SpanView): string {
  for (const [address, port] of hostCodes) {
    if (!view.has(address)) continue;
    const name = view.text(address);
    const number = view.number(port, 0);
    return number > 0 ? `${name}:${number}` : name;
  }
  return view.text(peerServiceCode);
}

function queueOfUrl(url: string): string {
  return url === ''
    ? ''
    : (url
        .replace(/[?#].*$/s, '')
        .split('/')
        .at(-1) ?? '');
}

function pathOf(url: string): string {
  if (url === '') return '';
  const bare = url.replace(/[?#].*$/s, '');
  const scheme = bare.indexOf('://');
  if (scheme < 0) return bare;
  const slash = bare.indexOf('/', scheme + 3);
  return slash < 0 ? '/' : bare.slice(slash);
}

/** gRPC status, as number or name, with the HTTP status that google.rpc.Code documents for it. */
const grpcNames =
  'OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED'.split(
    ' ',
  );
const grpcHttp = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
const httpOfGrpc: Readonly<Record<string, number>> = Object.fromEntries(
  grpcNames.flatMap((name, code) => [
    [name, grpcHttp[code] as number],
    [String(code), grpcHttp[code] as number],
  ]),
);

const noLinks: Operation['links'] = [];

function linksOf(batch: SpanBatch, row: number): Operation['links'] {
  const from = batch.linkStart[row] as number;
  const to = batch.linkStart[row + 1] as number;
  if (from === to) return noLinks;
  const bytes = Buffer.from(batch.linkIds.buffer, batch.linkIds.byteOffset, batch.linkIds.byteLength);
  const links: { traceId: string; spanId: string }[] = [];
  for (let link = from; link < to; link += 1) {
    links.push({
      traceId: bytes.toString('hex', link * 24, link * 24 + 16),
      spanId: bytes.toString('hex', link * 24 + 16, link * 24 + 24),
    });
  }
  return links;
}

/** `hexSlice` is what `toString('hex')` calls after looking at its arguments; at three ids a span the looking showed in profiles. */
type HexBuffer = Buffer & { hexSlice(start: number, end: number): string };

/** Ids as text. Spans of one trace often stand together: the last trace id is kept. */
class IdReader {
  readonly #bytes: HexBuffer;
  #lastTraceRow = -1;
  #lastTrace = '';

  constructor(ids: Uint8Array) {
    this.#bytes = Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength) as HexBuffer;
  }

  trace(row: number): string {
    const bytes = this.#bytes;
    const at = row * 32;
    if (this.#lastTraceRow >= 0) {
      const last = this.#lastTraceRow * 32;
      let i = 0;
      while (i < 16 && bytes[at + i] === bytes[last + i]) i += 1;
      if (i === 16) return this.#lastTrace;
    }
    this.#lastTraceRow = row;
    this.#lastTrace = bytes.hexSlice(at, at + 16);
    return this.#lastTrace;
  }

  span(row: number): string {
    return this.#bytes.hexSlice(row * 32 + 16, row * 32 + 24);
  }

  parent(row: number): string {
    const at = row * 32 + 24;
    for (let i = 0; i < 8; i += 1) {
      if (this.#bytes[at + i] !== 0) return this.#bytes.hexSlice(at, at + 8);
    }
    return '';
  }
}
