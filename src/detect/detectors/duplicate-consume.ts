import type { SpanRef } from '../../domain/anomaly.ts';
import type { MessageFacts, Operation } from '../../domain/operation.ts';
import { spanOf, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { lossyShare } from '../habits.ts';
import { effectsOf, groupOf, messageOf, messageWords, producerKeys } from '../message-flow.ts';
import { keyOf, targetOf, type Unit } from '../trace-view.ts';

/** What is remembered of a processing: a tenth of its operations, because there is one for every message. */
interface Processed {
  readonly span: SpanRef;
  readonly startUs: number;
  readonly message: MessageFacts | undefined;
  readonly effects: readonly { readonly what: string; readonly span: SpanRef }[];
}

/** Effects remembered per message; a handler that changes more repeats one of the first. */
const effectsMax = 8;

/** One message, processed twice by the same consumer, and both times something changed. */
export const duplicateConsume = traceDetector(
  {
    id: 'duplicate-consume',
    scope: 'message',
    concerns: ['messages'],
    grades: ['proven'],
    title: 'Message processed twice',
    sentence: 'A message was processed twice by the same consumer group and changed data both times.',
    fix: 'Make the consumer idempotent: insert the message id into an inbox table with a unique key in the same transaction as the change, and skip the message when it is there.',
    needs: 'nothing',
    options: {
      retainMs: {
        is: 'number',
        unit: 'ms',
        default: 600_000,
        min: 1000,
        max: 86_400_000,
        says: 'How long a processed message is remembered.',
      },
    },
    example: () => delivery(true),
    twin: () => delivery(false),
  },
  (settings, context) => {
    const seen = createExpiringMap<Processed>(settings.retainMs * 1000);
    return {
      inspect(trace, report) {
        if (!trace.hasMessages || !(trace.hasWrites || trace.hasCalls)) return;
        for (const unit of trace.units) {
          if (unit.consumes.length === 0) continue;
          const consume = messageOf(unit);
          if (consume === undefined) continue;
          const identities = identitiesOf(consume, unit);
          if (identities.length === 0) continue;
          // Where spans are lost, the rollback of a processing that failed may be among them.
          if (unit.entry.failed && context.learned.lostShare() >= lossyShare) continue;
          const effects = effectsOf(trace, unit);
          if (effects.length === 0) continue;
          const now: Processed = {
            span: spanOf(consume),
            startUs: consume.startUs,
            message: consume.message,
            effects: effects.slice(0, effectsMax).map(({ what, operation }) => ({ what, span: spanOf(operation) })),
          };
          let earlier: Processed | undefined;
          for (const identity of identities) {
            const known = seen.get(identity, consume.endUs);
            if (known === undefined) seen.set(identity, now, consume.endUs);
            else if (earlier === undefined && isSameMessage(known, consume)) earlier = known;
          }
          if (earlier === undefined) continue;
          const shared = effects.find((effect) =>
            earlier.effects.some((other) => other.what === effect.what && other.span.spanId !== effect.operation.spanId),
          );
          const before = earlier.effects.find((other) => other.what === shared?.what);
          if (shared === undefined || before === undefined) continue;
          const table = targetOf(shared.operation);
          const place = context.placeOf(table, shared.operation.facts?.domain ?? '');
          const first = earlier;
          const gapUs = Math.abs(consume.startUs - first.startUs);
          const isCall = shared.operation.kind === 'call';
          report({
            place: `${groupOf(consume)}\0${consume.target}\0${identities[0]}`,
            grade: 'proven',
            atUs: consume.endUs,
            complete: unit.complete,
            spans: [first.span, before.span, spanOf(consume), spanOf(shared.operation)],
            domain: place.domainName,
            collection: place.collection ?? table,
            objectKey: keyOf(shared.operation),
            service: unit.service,
            facts: {
              destination: consume.target,
              group: groupOf(consume),
              messageId: consume.message?.id ?? '',
              table,
              gapMs: Math.round(gapUs / 1000),
              deliveries: consume.message?.deliveryCount ?? 0,
            },
            tell: () => ({
              title: `${unit.service} processed ${messageWords(consume)} twice`,
              explanation: `${unit.service} processed ${messageWords(consume)} twice, ${durationWords(gapUs)} apart, and both times it ${isCall ? `called ${shared.operation.target}` : `committed a${shared.operation.statement?.verb === 'insert' || shared.operation.kind === 'append' ? 'n insert' : ' write'} to \`${table}\``}: the change was made twice.`,
            }),
          });
        }
      },
      advance: (atUs) => seen.sweep(atUs),
      bytes: () => seen.size * 500,
    };
  },
);

/** Ways to recognise the message again, strongest first: position in a partition, id, the span that sent it. */
function identitiesOf(consume: Operation, unit: Unit): readonly string[] {
  const message = consume.message;
  const scope = `${consume.system}\0${consume.target}\0${groupOf(consume)}`;
  const identities: string[] = [];
  if (message !== undefined && message.offset >= 0 && message.partition >= 0)
    identities.push(`offset\0${scope}\0${message.partition}\0${message.offset}`);
  if (message !== undefined && message.id !== '') identities.push(`id\0${scope}\0${message.id}`);
  for (const key of producerKeys(consume, unit)) if ((unit.calledBy?.message?.batch ?? 1) <= 1) identities.push(`sent\0${scope}\0${key}`);
  return identities;
}

/** One send span can carry several messages: what both deliveries say of themselves must not differ. */
function isSameMessage(a: Processed, b: Operation): boolean {
  if (a.span.traceId === b.traceId && a.span.spanId === b.spanId) return false;
  const one = a.message;
  const two = b.message;
  if (one === undefined || two === undefined) return true;
  if (one.id !== '' && two.id !== '') return one.id === two.id;
  if (one.offset >= 0 && two.offset >= 0 && one.partition >= 0 && two.partition >= 0)
    return one.offset === two.offset && one.partition === two.partition;
  return one.key === '' || two.key === '' || one.key === two.key;
}

function delivery(twice: boolean) {
  const message = { id: 'm-17', consumerGroup: 'billing' };
  return exampleOperations([
    { kind: 'publish', span: 'p', at: 0, service: 'shop', target: 'orders' },
    { kind: 'consume', span: 'c1', parent: 'p', at: 10, lasts: 20, service: 'billing', target: 'orders', message },
    { kind: 'append', span: 'w1', parent: 'c1', at: 15, service: 'billing', target: 'invoices' },
    {
      kind: 'consume',
      span: 'c2',
      parent: 'p',
      at: 500,
      lasts: 20,
      service: 'billing',
      target: 'orders',
      message: { ...message, deliveryCount: 2 },
    },
    ...(twice
      ? [{ kind: 'append' as const, span: 'w2', parent: 'c2', at: 505, service: 'billing', target: 'invoices' }]
      : [{ kind: 'read' as const, span: 'r2', parent: 'c2', at: 505, service: 'billing', target: 'processed_messages' }]),
  ]);
}
