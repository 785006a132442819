import { hostCodes } from './described.ts';
import { attributeCodes, type AttributeKey, codeOf, firstParameter, isConsistencyCode } from './wanted-attributes.ts';

/** How an attribute counts in a description of what a span is. */
export const asIs = 0;
/** Only whether it is there, and not empty. */
export const asPresence = 1;
export const notAtAll = 2;

/** By code. */
export const roles: Uint8Array = new Uint8Array(256);
/** Which one of many: read of each span. */
const own: readonly AttributeKey[] = [
  'session.id',
  'db.response.returned_rows',
  'db.response.affected_rows',
  'db.postgresql.values',
  'db.elasticsearch.path_parts.doc_id',
  'messaging.destination.partition.id',
  'messaging.message.id',
  'messaging.message_id',
  'messaging.kafka.message.key',
  'messaging.kafka.message_key',
  'messaging.kafka.destination.partition',
  'messaging.kafka.partition',
  'messaging.kafka.offset',
  'messaging.kafka.message.offset',
  'messaging.kafka.message_offset',
  'messaging.rocketmq.message.keys',
  'messaging.gcp_pubsub.message.delivery_attempt',
  'messaging.gcp_pubsub.message.ordering_key',
  'messaging.servicebus.message.delivery_count',
  'messaging.batch.message_count',
  'http.request.header.idempotency-key',
  'http.request.header.idempotency_key',
  'http.request.header.x-idempotency-key',
  'http.request.header.x_idempotency_key',
];
for (const key of own) roles[codeOf(key)] = asPresence;
for (let code = firstParameter; code < attributeCodes; code += 1) roles[code] = asPresence;
// Hosts are looked at apart, because only one of several names counts. Facts are read of each span; what kind of operation they say is not.
for (const [address, port] of hostCodes) roles[address] = roles[port] = notAtAll;
for (let code = 0; code < attributeCodes; code += 1) if (isConsistencyCode(code)) roles[code] = notAtAll;
roles[codeOf('consistency.operation')] = asIs;
roles[codeOf('consistency.saga.step')] = asPresence;
// Says something only of a span that failed.
roles[codeOf('exception.message')] = notAtAll;

/** By code: 1 where spans of one description may have different values. */
export const isOwn: Uint8Array = roles.map((role) => (role === asIs ? 0 : 1));
for (const [address, port] of hostCodes) isOwn[address] = isOwn[port] = 0;
