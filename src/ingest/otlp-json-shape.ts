import type { JsonObject } from './json-reading.ts';

/**
 * The fields of OTLP 1.11's messages in JSON. A receiver ignores what it does not know; but an exporter whose every field is ignored (names
 * in snake_case, another signal's request) is told so by name, instead of being answered 200 for nothing.
 */
export type Shape = ReadonlyMap<string, Shape | null>;

/** `a b c` are plain values; the rest are messages, one or a list of them. */
function shape(plain: string, nested: Readonly<Record<string, Shape>> = {}): Map<string, Shape | null> {
  return new Map<string, Shape | null>([
    ...plain.split(' ').flatMap((field): [string, null][] => (field === '' ? [] : [[field, null]])),
    ...Object.entries(nested),
  ]);
}

const anyValue = shape('stringValue boolValue intValue doubleValue bytesValue');
const keyValue: Shape = shape('key', { value: anyValue });
anyValue.set('arrayValue', shape('', { values: anyValue }));
anyValue.set('kvlistValue', shape('', { values: keyValue }));

const attributed = { attributes: keyValue };
const resource = shape('droppedAttributesCount', { ...attributed, entityRefs: shape('schemaUrl type idKeys descriptionKeys') });
const scope = shape('name version droppedAttributesCount', attributed);

const span = shape(
  'traceId spanId traceState parentSpanId flags name kind startTimeUnixNano endTimeUnixNano droppedAttributesCount droppedEventsCount droppedLinksCount',
  {
    ...attributed,
    events: shape('timeUnixNano name droppedAttributesCount', attributed),
    links: shape('traceId spanId traceState droppedAttributesCount flags', attributed),
    status: shape('code message'),
  },
);
const logRecord = shape(
  'timeUnixNano observedTimeUnixNano severityNumber severityText droppedAttributesCount flags traceId spanId eventName',
  { ...attributed, body: anyValue },
);
const exemplar = shape('timeUnixNano asDouble asInt spanId traceId', { filteredAttributes: keyValue });
const point = { ...attributed, exemplars: exemplar };
const numberPoint = shape('startTimeUnixNano timeUnixNano asDouble asInt flags', point);
const histogramPoint = shape('startTimeUnixNano timeUnixNano count sum bucketCounts explicitBounds flags min max', point);
const buckets = shape('offset bucketCounts');
const exponentialPoint = shape('startTimeUnixNano timeUnixNano count sum scale zeroCount flags min max zeroThreshold', {
  ...point,
  positive: buckets,
  negative: buckets,
});
const summaryPoint = shape('startTimeUnixNano timeUnixNano count sum flags', { ...attributed, quantileValues: shape('quantile value') });
const metric = shape('name description unit', {
  metadata: keyValue,
  gauge: shape('', { dataPoints: numberPoint }),
  sum: shape('aggregationTemporality isMonotonic', { dataPoints: numberPoint }),
  histogram: shape('aggregationTemporality', { dataPoints: histogramPoint }),
  exponentialHistogram: shape('aggregationTemporality', { dataPoints: exponentialPoint }),
  summary: shape('', { dataPoints: summaryPoint }),
});

const request = (signal: string, item: Shape, items: string): Shape =>
  shape('', {
    [`resource${signal}`]: shape('schemaUrl', { resource, [`scope${signal}`]: shape('schemaUrl', { scope, [items]: item }) }),
  });

export const requestShapes = {
  traces: request('Spans', span, 'spans'),
  logs: request('Logs', logRecord, 'logRecords'),
  metrics: request('Metrics', metric, 'metrics'),
} as const;

/** The shape of the message in these fields of a trace request. */
export function shapeAt(...fields: readonly string[]): Shape {
  let at: Shape = requestShapes.traces;
  for (const field of fields) {
    const inner = at.get(field);
    if (inner === undefined || inner === null) throw new RangeError(`no message in ${field}`);
    at = inner;
  }
  return at;
}

/** Values nested deeper are not looked into. */
const deepest = 24;

/** Path of the first field that the protocol does not have, or ''. List positions are left out of the path. */
export function firstUnknownField(document: JsonObject, signal: keyof typeof requestShapes): string {
  return unknownIn(document, requestShapes[signal], 0).slice(0, 200);
}

function unknownIn(holder: JsonObject, known: Shape, depth: number): string {
  for (const field in holder) {
    const inner = known.get(field);
    if (inner === undefined) return field;
    if (inner === null || depth > deepest) continue;
    const value = holder[field];
    if (typeof value !== 'object' || value === null) continue;
    if (Array.isArray(value)) {
      for (const item of value as readonly unknown[]) {
        if (typeof item !== 'object' || item === null) continue;
        const found = unknownIn(item as JsonObject, inner, depth + 1);
        if (found !== '') return `${field}.${found}`;
      }
    } else {
      const found = unknownIn(value as JsonObject, inner, depth + 1);
      if (found !== '') return `${field}.${found}`;
    }
  }
  return '';
}
