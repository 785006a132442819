import type { SpanRef } from '../domain/anomaly.ts';
import type { Operation, Version } from '../domain/operation.ts';

/** A session is what the span says, else the trace. */
export function sessionOf(operation: Operation): string {
  if (operation.facts !== undefined && operation.facts.sessionId !== '') return operation.facts.sessionId;
  if (operation.session !== undefined && operation.session !== '') return operation.session;
  return operation.traceId;
}

/** What is remembered of a session's earlier operation: a tenth of the operation itself, of which there are many. */
export interface Earlier {
  readonly version: Version | undefined;
  readonly isDelete: boolean;
  readonly endUs: number;
  readonly hlc: string;
  readonly service: string;
  readonly replicaId: string;
  readonly traceId: string;
  readonly spanId: string;
}

export function earlierOf(operation: Operation): Earlier {
  const facts = operation.facts;
  return {
    version: facts?.version,
    isDelete: operation.kind === 'delete',
    endUs: operation.endUs,
    hlc: facts?.hlc ?? '',
    service: operation.service,
    replicaId: facts?.replicaId ?? '',
    traceId: operation.traceId,
    spanId: operation.spanId,
  };
}

export function spanOfEarlier(earlier: Earlier): SpanRef {
  return { traceId: earlier.traceId, spanId: earlier.spanId };
}

/**
 * Whether `a` surely ended before `b` began. Hybrid logical clocks decide where both have one of the same form; then wall clocks, where two
 * services' clocks may differ by `skewUs`. One service is taken to have one clock.
 */
export function isBefore(a: Earlier, b: Operation, skewUs: number): boolean {
  const hlc = b.facts?.hlc ?? '';
  if (a.hlc !== '' && a.hlc.length === hlc.length && a.hlc !== hlc) return a.hlc < hlc;
  return a.endUs + (a.service === b.service ? 0 : skewUs) <= b.startUs;
}
