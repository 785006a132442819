/**
 * The attribute keys that mean something to the detectors; every other attribute is skipped as bytes. Both generations of the semantic
 * conventions are listed as they are named by instrumentations, and `operation-from-span.ts` decides which name wins. The position in
 * the list is the attribute's code in a `SpanBatch`; code 0 means not wanted.
 */
const keys = [
  '',
  'service.name',
  'telemetry.sdk.language',
  'service.namespace',
  'cloud.region',
  'session.id',
  // Databases
  'db.system.name',
  'db.system',
  'db.query.text',
  'db.statement',
  'db.query.summary',
  'db.operation.name',
  'db.operation',
  'db.collection.name',
  'db.sql.table',
  'db.mongodb.collection',
  'db.cassandra.table',
  'db.namespace',
  'db.name',
  'db.redis.database_index',
  'db.response.status_code',
  'db.response.returned_rows',
  'db.response.affected_rows',
  'db.operation.batch.size',
  'db.postgresql.values',
  'db.elasticsearch.path_parts.index',
  'db.elasticsearch.path_parts.doc_id',
  'aws.dynamodb.table_names',
  // Peers
  'server.address',
  'server.port',
  'net.peer.name',
  'net.peer.port',
  'net.sock.peer.addr',
  'net.sock.peer.port',
  'network.peer.address',
  'network.peer.port',
  'peer.service',
  // Messaging
  'messaging.system',
  'messaging.operation.type',
  'messaging.operation.name',
  'messaging.operation',
  'messaging.destination.name',
  'messaging.destination',
  'messaging.destination.template',
  'messaging.destination.partition.id',
  'messaging.destination.subscription.name',
  'messaging.rabbitmq.destination.routing_key',
  'messaging.rabbitmq.routing_key',
  'messaging.message.id',
  'messaging.message_id',
  'messaging.kafka.message.key',
  'messaging.kafka.message_key',
  'messaging.kafka.destination.partition',
  'messaging.kafka.partition',
  'messaging.kafka.offset',
  'messaging.kafka.message.offset',
  'messaging.kafka.message_offset',
  'messaging.consumer.group.name',
  'messaging.kafka.consumer.group',
  'messaging.kafka.consumer_group',
  'messaging.rocketmq.client_group',
  'messaging.rocketmq.message.keys',
  'messaging.gcp_pubsub.message.delivery_attempt',
  'messaging.gcp_pubsub.message.ordering_key',
  'messaging.servicebus.message.delivery_count',
  'messaging.batch.message_count',
  'messaging.url',
  'aws.sqs.queue.url',
  'aws.sns.topic.arn',
  'aws.kinesis.stream_name',
  'celery.action',
  'celery.state',
  // Calls
  'http.request.method',
  'http.method',
  'http.route',
  'http.target',
  'http.url',
  'url.template',
  'url.path',
  'url.full',
  'http.response.status_code',
  'http.status_code',
  'http.request.header.idempotency-key',
  'http.request.header.idempotency_key',
  'http.request.header.x-idempotency-key',
  'http.request.header.x_idempotency_key',
  'rpc.system',
  'rpc.system.name',
  'rpc.service',
  'rpc.method',
  'rpc.grpc.status_code',
  'rpc.response.status_code',
  // Failures
  'error.type',
  'exception.type',
  'exception.message',
  // Consistency
  'consistency.domain',
  'consistency.object.type',
  'consistency.object.key',
  'consistency.operation',
  'consistency.version',
  'consistency.version.base',
  'consistency.timestamp.hlc',
  'consistency.value.digest',
  'consistency.replica.id',
  'consistency.replica.role',
  'consistency.session.id',
  'consistency.idempotency.key',
  'consistency.saga.id',
  'consistency.saga.name',
  'consistency.saga.step',
  'consistency.saga.outcome',
  'consistency.outbox.id',
  'consistency.transaction.id',
  'consistency.transaction.outcome',
] as const;

export type AttributeKey = Exclude<(typeof keys)[number], ''>;

/** Bound parameters that are kept, `db.query.parameter.0` to `.15`: a key predicate is among the first. */
const parametersKept = 16;

/** Code of `db.query.parameter.0`; parameter n has `firstParameter + n`. */
export const firstParameter = keys.length;
/** One more than the highest code. */
export const attributeCodes = keys.length + parametersKept;
export const isParameterCode = (code: number): boolean => code >= firstParameter;

/** All of them but the numbered parameters. */
export const wantedKeys: readonly string[] = keys.slice(1);

const codes = new Map<string, number>(keys.map((key, code) => [key, code]));
codes.delete('');

/** The code of a wanted key; for constants at module load. */
export function codeOf(key: AttributeKey): number {
  return codes.get(key) ?? 0;
}

/** The key that has a code; '' for 0. */
export const keyOfCode = (code: number): string =>
  isParameterCode(code) ? `${parameterPrefix}${code - firstParameter}` : (keys[code] ?? '');

/** First code of the `consistency.*` attributes; they are contiguous up to `lastConsistencyCode`. */
export const firstConsistencyCode = codeOf('consistency.domain');
export const lastConsistencyCode = codeOf('consistency.transaction.outcome');

export const isConsistencyCode = (code: number): boolean => code >= firstConsistencyCode && code <= lastConsistencyCode;

const parameterPrefix = 'db.query.parameter.';

/** Code of any key: 0 where it is not wanted. Parameters count from 0; names that are not numbers are not kept. */
export function classifyKey(key: string): number {
  const code = codes.get(key);
  if (code !== undefined) return code;
  if (key.startsWith(parameterPrefix) && /^\d{1,2}$/.test(key.slice(parameterPrefix.length))) {
    const index = Number(key.slice(parameterPrefix.length));
    if (index < parametersKept) return firstParameter + index;
  }
  return 0;
}
