import type { AttributeColumns, SpanBatch } from '../../src/ingest/span-batch.ts';

/** A batch as plain objects, for comparison. Attributes are `code:kind:value` texts. */
export interface PlainSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly startUs: number;
  readonly endUs: number;
  readonly status: number;
  readonly statusMessage: string;
  readonly resource: readonly string[];
  readonly attributes: readonly string[];
  readonly events: readonly { readonly kind: number; readonly us: number; readonly attributes: readonly string[] }[];
  readonly links: readonly string[];
}

export function spansOf(batch: SpanBatch): readonly PlainSpan[] {
  const text = (number: number | undefined): string => batch.strings[number ?? -1] ?? '<no string>';
  const hex = (bytes: Uint8Array, from: number, to: number): string => Buffer.from(bytes.subarray(from, to)).toString('hex');
  const attributes = (columns: AttributeColumns, from = 0, to = 0): string[] => {
    const found: string[] = [];
    for (let i = from; i < to; i += 1) {
      const kind = columns.kind[i] ?? 0;
      const value = columns.value[i] ?? 0;
      found.push(`${columns.code[i]}:${kind}:${kind === 1 || kind >= 5 ? text(value) : Object.is(value, -0) ? '-0' : value}`);
    }
    return found;
  };
  return Array.from({ length: batch.count }, (_, row) => {
    const resource = batch.resource[row] ?? 0;
    const events = [];
    for (let event = batch.eventStart[row] ?? 0; event < (batch.eventStart[row + 1] ?? 0); event += 1) {
      events.push({
        kind: batch.eventKind[event] ?? 0,
        us: batch.eventUs[event] ?? 0,
        attributes: attributes(batch.eventAttributes, batch.eventAttributeStart[event], batch.eventAttributeStart[event + 1]),
      });
    }
    const links: string[] = [];
    for (let link = batch.linkStart[row] ?? 0; link < (batch.linkStart[row + 1] ?? 0); link += 1)
      links.push(hex(batch.linkIds, link * 24, link * 24 + 24));
    return {
      traceId: hex(batch.ids, row * 32, row * 32 + 16),
      spanId: hex(batch.ids, row * 32 + 16, row * 32 + 24),
      parentSpanId: hex(batch.ids, row * 32 + 24, row * 32 + 32),
      name: text(batch.name[row]),
      kind: batch.kind[row] ?? 0,
      startUs: batch.startUs[row] ?? 0,
      endUs: batch.endUs[row] ?? 0,
      status: batch.status[row] ?? 0,
      statusMessage: text(batch.statusMessage[row]),
      resource: attributes(batch.resourceAttributes, batch.resourceAttributeStart[resource], batch.resourceAttributeStart[resource + 1]),
      attributes: attributes(batch.attributes, batch.attributeStart[row], batch.attributeStart[row + 1]),
      events,
      links,
    };
  });
}
