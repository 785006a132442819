import type { ConsistencyFacts, OperationKind } from '../domain/operation.ts';
import type { SpanView } from './span-view.ts';
import { codeOf } from './wanted-attributes.ts';

const sessionIdCode = codeOf('session.id');
const consistencyOperationCode = codeOf('consistency.operation');

const declaredKinds: Readonly<Record<string, OperationKind>> = {
  read: 'read',
  write: 'write',
  append: 'append',
  delete: 'delete',
  compensate: 'compensate',
};

/** What `consistency.operation` says, where it is there. */
export function declaredKind(view: SpanView): OperationKind | undefined {
  return view.has(consistencyOperationCode) ? declaredKinds[view.text(consistencyOperationCode).toLowerCase()] : undefined;
}

const consistency = {
  domain: codeOf('consistency.domain'),
  objectType: codeOf('consistency.object.type'),
  objectKey: codeOf('consistency.object.key'),
  version: codeOf('consistency.version'),
  versionBase: codeOf('consistency.version.base'),
  hlc: codeOf('consistency.timestamp.hlc'),
  valueDigest: codeOf('consistency.value.digest'),
  replicaId: codeOf('consistency.replica.id'),
  replicaRole: codeOf('consistency.replica.role'),
  sessionId: codeOf('consistency.session.id'),
  idempotencyKey: codeOf('consistency.idempotency.key'),
  sagaId: codeOf('consistency.saga.id'),
  sagaName: codeOf('consistency.saga.name'),
  sagaStep: codeOf('consistency.saga.step'),
  sagaOutcome: codeOf('consistency.saga.outcome'),
  outboxId: codeOf('consistency.outbox.id'),
  transactionId: codeOf('consistency.transaction.id'),
  transactionOutcome: codeOf('consistency.transaction.outcome'),
} as const;

/** What the resource says for spans that do not. */
export interface FactsHome {
  readonly domain: string;
  readonly replicaId: string;
  readonly replicaRole: string;
}

/** Of the selected resource. */
export const factsHome = (view: SpanView): FactsHome => ({
  domain: view.resourceText(consistency.domain),
  replicaId: view.resourceText(consistency.replicaId),
  replicaRole: view.resourceText(consistency.replicaRole),
});

/**
 * The `consistency.*` attributes at hand. What an event does not say, its span says for it, except what names one object or one step of
 * it (type, key, versions, digest); what neither says about where, the resource may.
 */
export function factsOf(
  view: SpanView,
  failed: boolean,
  span: ConsistencyFacts | undefined,
  transaction: string,
  home: FactsHome,
): ConsistencyFacts {
  const outcome = view.text(consistency.transactionOutcome);
  return {
    domain: view.text(consistency.domain) || span?.domain || home.domain,
    objectType: view.text(consistency.objectType),
    objectKey: view.text(consistency.objectKey),
    version: view.version(consistency.version),
    versionBase: view.version(consistency.versionBase),
    hlc: view.text(consistency.hlc),
    valueDigest: view.text(consistency.valueDigest),
    replicaId: view.text(consistency.replicaId) || span?.replicaId || home.replicaId,
    replicaRole: view.text(consistency.replicaRole) || span?.replicaRole || home.replicaRole,
    sessionId: view.text(consistency.sessionId) || span?.sessionId || view.text(sessionIdCode),
    idempotencyKey: view.text(consistency.idempotencyKey) || span?.idempotencyKey || '',
    sagaId: view.text(consistency.sagaId) || span?.sagaId || '',
    sagaName: view.text(consistency.sagaName) || span?.sagaName || '',
    sagaStep: view.text(consistency.sagaStep) || span?.sagaStep || '',
    sagaOutcome: view.text(consistency.sagaOutcome) || span?.sagaOutcome || '',
    outboxId: view.text(consistency.outboxId) || span?.outboxId || '',
    transactionId: view.text(consistency.transactionId) || span?.transactionId || transaction,
    transactionOutcome:
      outcome === 'committed' || outcome === 'aborted' || outcome === 'unknown'
        ? outcome
        : (span?.transactionOutcome ?? (failed ? 'aborted' : 'committed')),
  };
}
