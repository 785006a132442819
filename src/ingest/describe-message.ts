import type { MessageFacts, OperationKind } from '../domain/operation.ts';
import { blank, canonicalSystem, type Described, integer } from './described.ts';
import type { SpanView } from './span-view.ts';
import { codeOf } from './wanted-attributes.ts';

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
const snsTopicCode = codeOf('aws.sns.topic.arn');
const kinesisStreamCode = codeOf('aws.kinesis.stream_name');
const rpcSystemCode = codeOf('rpc.system');
const rpcSystemNameCode = codeOf('rpc.system.name');
const rpcServiceCode = codeOf('rpc.service');
const rpcMethodCode = codeOf('rpc.method');

/** A message sent, received or settled. */
export function describeMessage(view: SpanView, system: string, spanKind: number, spanName: string): Described {
  const described = blank('call');
  described.system = canonicalSystem(system);
  const name = view.either(destinationNameCode, destinationCode);
  const routingKey = view.either(routingKeyCode, formerRoutingKeyCode);
  // RabbitMQ's default exchange routes by queue name: the queue is the destination, `<default>` or '' says nothing.
  const isDefaultExchange = name === '' || name === '<default>' || name === 'amq.default' || name === '(default)';
  described.target =
    (isDefaultExchange && routingKey !== '' ? routingKey : view.text(destinationTemplateCode) || name) ||
    queueOfUrl(view.text(sqsUrlCode) || view.text(messagingUrlCode));
  const id = view.either(messageIdCode, formerMessageIdCode);
  described.kind = messageKind(
    (view.text(messagingTypeCode) || view.text(formerMessagingOperationCode)).toLowerCase(),
    view.text(messagingOperationNameCode).toLowerCase(),
    spanKind,
    id === '' && view.has(batchCountCode) && !view.has(kafkaOffsetCode) && !view.has(kafkaMessageOffsetCode),
    spanName,
  );
  described.varies = 'message';
  described.message = messageFactsOf(view);
  return described;
}

/** What a message span says of its message. */
export function messageFactsOf(view: SpanView): MessageFacts {
  return {
    id: view.either(messageIdCode, formerMessageIdCode),
    key: view.either(kafkaKeyCode, formerKafkaKeyCode) || view.text(rocketKeysCode) || view.text(orderingKeyCode),
    partition: integer(view.number(partitionIdCode, view.number(kafkaPartitionCode, view.number(formerKafkaPartitionCode, -1)))),
    offset: integer(view.number(kafkaOffsetCode, view.number(kafkaMessageOffsetCode, view.number(formerKafkaOffsetCode, -1)))),
    consumerGroup:
      view.either(groupNameCode, kafkaGroupCode) || view.either(formerKafkaGroupCode, rocketGroupCode) || view.text(subscriptionCode),
    deliveryCount: integer(view.number(deliveryAttemptCode, view.number(deliveryCountCode, 0))),
    batch: Math.max(1, integer(view.number(batchCountCode, 1))),
  };
}

const awsSends = /^(?:publish|publishbatch|sendmessage|sendmessagebatch|putevents|putrecord|putrecords|putrecordbatch)$/i;

/** AWS SDK calls that send a message and say so only by the method's name; undefined for every other call. */
export function describeAwsSend(view: SpanView): Described | undefined {
  if (view.either(rpcSystemNameCode, rpcSystemCode) !== 'aws-api') return undefined;
  const method = view.text(rpcMethodCode);
  // Some write `Sns/Publish` into the method, some the service apart.
  const name = method.slice(method.lastIndexOf('/') + 1);
  if (!awsSends.test(name)) return undefined;
  const described = blank('publish');
  const service = (view.text(rpcServiceCode) || method.slice(0, Math.max(0, method.lastIndexOf('/')))).toLowerCase();
  described.system = `aws_${service}`;
  described.target =
    lastPart(view.text(snsTopicCode), ':') ||
    view.text(kinesisStreamCode) ||
    queueOfUrl(view.text(sqsUrlCode) || view.text(messagingUrlCode)) ||
    service;
  described.message = { id: '', key: '', partition: -1, offset: -1, consumerGroup: '', deliveryCount: 0, batch: 1 };
  return described;
}

function lastPart(text: string, separator: string): string {
  return text.slice(text.lastIndexOf(separator) + 1);
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

function queueOfUrl(url: string): string {
  return url === ''
    ? ''
    : (url
        .replace(/[?#].*$/s, '')
        .split('/')
        .at(-1) ?? '');
}
