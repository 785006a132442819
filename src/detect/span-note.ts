import type { SpanRef } from '../domain/anomaly.ts';
import type { Operation } from '../domain/operation.ts';

/** What is kept of an operation that is only a witness later: a tenth of the operation, of which there is one for every message or row. */
export interface SpanNote extends SpanRef {
  readonly service: string;
  readonly startUs: number;
  readonly endUs: number;
}

export function noteOf(operation: Operation): SpanNote {
  return {
    traceId: operation.traceId,
    spanId: operation.spanId,
    service: operation.service,
    startUs: operation.startUs,
    endUs: operation.endUs,
  };
}

export function spanOfNote(note: SpanNote): SpanRef {
  return { traceId: note.traceId, spanId: note.spanId };
}
