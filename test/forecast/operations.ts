import type { Operation } from '../../src/domain/operation.ts';

/** An operation of the shop, with what a test cares about. */
export function operationAt(
  atMs: number,
  some: Partial<Operation> & { readonly key?: string; readonly replica?: string; readonly tookMs?: number },
): Operation {
  const { key, replica, tookMs = 1, ...rest } = some;
  return {
    kind: 'read',
    traceId: '0'.repeat(32),
    spanId: '0'.repeat(16),
    parentSpanId: '',
    index: 0,
    service: 'shop',
    spanName: 'select',
    spanKind: 3,
    startUs: atMs * 1000,
    endUs: (atMs + tookMs) * 1000,
    failed: false,
    sqlState: '',
    errorType: '',
    httpStatus: 0,
    system: 'postgresql',
    host: 'db-eu:5432',
    namespace: 'shop',
    target: 'orders',
    statement: undefined,
    links: [],
    message: undefined,
    facts:
      key === undefined
        ? undefined
        : {
            domain: '',
            objectType: 'orders',
            objectKey: key,
            version: undefined,
            versionBase: undefined,
            hlc: '',
            valueDigest: '',
            replicaId: replica ?? '',
            replicaRole: '',
            sessionId: '',
            idempotencyKey: '',
            sagaId: '',
            sagaName: '',
            sagaStep: '',
            sagaOutcome: '',
            outboxId: '',
            transactionId: '',
            transactionOutcome: 'committed',
          },
    ...rest,
  };
}
