/**
 * Where things lie in the decoder's memory, all of them of a fixed size. Sixteen bytes behind whatever is compared sixteen at a time may be
 * read with it, so each such place has something behind it.
 */

/** What a request has come to, in words: `countNames` of `span-core.ts`. */
export const counts: u32 = 0x400;
/** What start times count from where it is compact, a double. */
export const baseUs: u32 = counts + 64;
/** Of each slot: where the attribute is; bytes before the length of its value; its bytes; code; kind; request; value, a double. */
export const slots: u32 = baseUs + 64;
export const mostSlots: u32 = 2048;
export const slotBytes: u32 = 32;
export const slotsPerName: u32 = 19;
/** Wanted keys by their bytes: hash, where its bytes are, how many, code. */
export const keys: u32 = slots + mostSlots * slotBytes;
export const mostKeys: u32 = 1024;
export const keyBytes: u32 = keys + mostKeys * 16;
export const mostKeyBytes: u32 = 0x4000;
/** Of each code: 1 a path, 2 a route, 4 a span's own value (`attribute-roles.ts`). */
export const roles: u32 = keyBytes + mostKeyBytes;
/** Names of the events that mean something, each in 32 bytes. */
export const eventNames: u32 = roles + 256;
/** Paths of the open row: which attribute, where its text begins and ends. */
export const paths: u32 = eventNames + 64;
export const mostPaths: u32 = 1024;
/** Numbers of the remembered texts, from one on, by hash. */
export const textSlots: u32 = paths + mostPaths * 12;
export const mostTexts: u32 = 32_768;
/** Of each remembered text: hash, length, where its bytes are, the number that stands for it. */
export const texts: u32 = textSlots + mostTexts * 8;
export const arena: u32 = texts + (mostTexts + 1) * 16;
export const mostArenaBytes: u32 = 0x40_0000;
/** Texts that are new in this request: where each begins and ends, and what it is (`latin` and the others of `texts.ts`). */
export const newTexts: u32 = arena + mostArenaBytes + 64;
export const mostNewTexts: u32 = 0x1_0000;

/** Columns as in `span-batch.ts`. */
export const mostRows: u32 = 0x1_0000;
export const mostAttributes: u32 = 0x8_0000;
export const mostEvents: u32 = 0x4000;
export const mostEventAttributes: u32 = 0x1_0000;
export const mostLinks: u32 = 0x4000;
export const mostResources: u32 = 0x1000;
export const mostResourceAttributes: u32 = 0x1_0000;
export const startUs: u32 = newTexts + mostNewTexts * 12;
export const endUs: u32 = startUs + mostRows * 8;
export const value: u32 = endUs + mostRows * 8;
export const eventUs: u32 = value + mostAttributes * 8;
export const eventValue: u32 = eventUs + mostEvents * 8;
export const resourceValue: u32 = eventValue + mostEventAttributes * 8;
export const ids: u32 = resourceValue + mostResourceAttributes * 8;
export const linkIds: u32 = ids + mostRows * 32;
export const name: u32 = linkIds + mostLinks * 24;
export const statusMessage: u32 = name + mostRows * 4;
export const resource: u32 = statusMessage + mostRows * 4;
export const attributeStart: u32 = resource + mostRows * 4;
export const eventStart: u32 = attributeStart + (mostRows + 1) * 4;
export const linkStart: u32 = eventStart + (mostRows + 1) * 4;
export const eventAttributeEnd: u32 = linkStart + (mostRows + 1) * 4;
export const resourceAttributeEnd: u32 = eventAttributeEnd + mostEvents * 4;
export const kind: u32 = resourceAttributeEnd + mostResources * 4;
export const status: u32 = kind + mostRows;
export const code: u32 = status + mostRows;
export const valueKind: u32 = code + mostAttributes;
export const eventKind: u32 = valueKind + mostAttributes;
export const eventCode: u32 = eventKind + mostEvents;
export const eventValueKind: u32 = eventCode + mostEventAttributes;
export const resourceCode: u32 = eventValueKind + mostEventAttributes;
export const resourceValueKind: u32 = resourceCode + mostResourceAttributes;

/** Values of rows, resources and events, one behind the other, as they are packed; and those that are wide. */
export const mostValues: u32 = mostAttributes + mostResourceAttributes + mostEventAttributes;
export const wides: u32 = (resourceValueKind + mostResourceAttributes + 7) & ~7;
export const packedValues: u32 = wides + mostValues * 8;
export const packedKinds: u32 = packedValues + mostValues * 2;
/** By number of a text: the last request that had it. The numbers of those that this one has. By code whether it has such an attribute. */
export const mostNumbers: u32 = mostTexts + mostNewTexts + 16;
export const seenIn: u32 = (packedKinds + mostValues + 3) & ~3;
export const listedTexts: u32 = seenIn + mostNumbers * 4;
export const hasCode: u32 = listedTexts + mostNumbers * 4;
/** An open table of rows, a number more than what stands there. Then what is found out of each row, or of each class, trace or parent. */
export const mostRowSlots: u32 = mostRows * 2;
export const rowSlots: u32 = hasCode + 256;
export const traceRows: u32 = rowSlots + mostRowSlots * 4;
export const parentRows: u32 = traceRows + mostRows * 4;
export const firstRows: u32 = parentRows + mostRows * 4;
export const lastStarts: u32 = firstRows + mostRows * 4;
export const nextClasses: u32 = lastStarts + mostRows * 4;
export const traceOf: u32 = nextClasses + mostRows * 4;
export const classOf: u32 = traceOf + mostRows * 2;
export const parentOf: u32 = classOf + mostRows * 2;
export const changed: u32 = parentOf + mostRows * 2;
export const masks: u32 = changed + mostAttributes * 2;
/** The compact batch. */
export const mostCompactBytes: u32 = 0x80_0000;
export const compactAt: u32 = (masks + mostAttributes + mostRows + 7) & ~7;

export const body: u32 = (compactAt + mostCompactBytes + 4095) & ~4095;
/** Larger ones are decoded elsewhere; what exporters and collectors send is smaller. */
export const mostBodyBytes: u32 = 0x100_0000;
/** The memory's pages: a whole one behind the body. */
export const pages: u32 = ((body + mostBodyBytes) >> 16) + 2;

/** What a request has come to. */
export namespace batch {
  export let rows: u32 = 0;
  export let attributes: u32 = 0;
  export let events: u32 = 0;
  export let eventAttributes: u32 = 0;
  export let links: u32 = 0;
  export let resources: u32 = 0;
  export let resourceAttributes: u32 = 0;
  export let badTraceIds: u32 = 0;
  export let badSpanIds: u32 = 0;
}
