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
  return outboxName.test(bareName(table)) || /^eventuate\./i.test(table);
}

export function isInboxName(table: string): boolean {
  return inboxName.test(bareName(table));
}
