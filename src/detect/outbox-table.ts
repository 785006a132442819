import { bareName } from './object-place.ts';

/**
 * Names under which libraries and people keep outboxes and inboxes: Debezium `outbox`, MassTransit `outbox_message`, Eventuate `message`
 * in schema `eventuate`, Spring Modulith `event_publication`, CAP `cap.published`, Wolverine `wolverine_outgoing_envelopes`, Rebus, NServiceBus
 * `OutboxRecord`. Others are learned or declared.
 */
const outboxName =
  /(^|_|[a-z])outbox|^event_publication(s|_archive)?$|^published$|outgoing_(messages?|envelopes?|events?)|^(domain|integration)_?events?(_log)?_?(queue|to_publish)?$|^message_?relay|^pending_?(events?|messages?)$|^unpublished_?(events?|messages?)$|^events?_to_publish$|^shedlock_outbox$/i;

const inboxName =
  /(^|_|[a-z])inbox|processed_?(messages?|events?|commands?|ids?)|consumed_?(messages?|events?)|handled_?(messages?|events?)|received_?messages?|idempoten|dedup|message_?log$/i;

export function isOutboxName(table: string): boolean {
  return remembered(outboxes, table, () => outboxName.test(bareName(table)) || /^eventuate\./i.test(table));
}

export function isInboxName(table: string): boolean {
  return remembered(inboxes, table, () => inboxName.test(bareName(table)));
}

/** Tables are few and asked for with every statement; a sender of endless names gets no more of them remembered. */
const namesMax = 10_000;
const outboxes = new Map<string, boolean>();
const inboxes = new Map<string, boolean>();

function remembered(known: Map<string, boolean>, table: string, look: () => boolean): boolean {
  const before = known.get(table);
  if (before !== undefined) return before;
  const is = look();
  if (known.size < namesMax) known.set(table, is);
  return is;
}
