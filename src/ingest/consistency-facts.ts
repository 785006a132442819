import type { ConsistencyFacts, OperationKind, Version } from '../domain/operation.ts';
import { type SpanView, textAt, versionAt } from './span-view.ts';
import { codeOf, isConsistencyCode } from './wanted-attributes.ts';

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
 * it (type, key, versions, digest); what neither says about where, the resource may. One walk over the attributes: looking each of the
 * names up took twice as long.
 */
export function factsOf(
  view: SpanView,
  failed: boolean,
  span: ConsistencyFacts | undefined,
  transaction: string,
  home: FactsHome,
): ConsistencyFacts {
  let domain = '';
  let objectType = '';
  let objectKey = '';
  let version: Version | undefined;
  let versionBase: Version | undefined;
  let hlc = '';
  let valueDigest = '';
  let replicaId = '';
  let replicaRole = '';
  let sessionId = '';
  let spanSession = '';
  let idempotencyKey = '';
  let sagaId = '';
  let sagaName = '';
  let sagaStep = '';
  let sagaOutcome = '';
  let outboxId = '';
  let transactionId = '';
  let outcome = '';
  const { columns, strings, to } = view;
  if (columns === undefined) throw new Error('no attributes are selected');
  const codes = columns.code;
  // Of a repeated key the last one counts.
  for (let at = view.from; at < to; at += 1) {
    const code = codes[at] as number;
    if (!isConsistencyCode(code)) {
      if (code === sessionIdCode) spanSession = textAt(columns, at, strings);
      continue;
    }
    switch (code) {
      case consistency.objectType:
        objectType = textAt(columns, at, strings);
        break;
      case consistency.objectKey:
        objectKey = textAt(columns, at, strings);
        break;
      case consistency.version:
        version = versionAt(columns, at, strings);
        break;
      case consistency.versionBase:
        versionBase = versionAt(columns, at, strings);
        break;
      case consistency.domain:
        domain = textAt(columns, at, strings);
        break;
      case consistency.replicaId:
        replicaId = textAt(columns, at, strings);
        break;
      case consistency.replicaRole:
        replicaRole = textAt(columns, at, strings);
        break;
      case consistency.transactionId:
        transactionId = textAt(columns, at, strings);
        break;
      case consistency.transactionOutcome:
        outcome = textAt(columns, at, strings);
        break;
      case consistency.sessionId:
        sessionId = textAt(columns, at, strings);
        break;
      case consistency.hlc:
        hlc = textAt(columns, at, strings);
        break;
      case consistency.valueDigest:
        valueDigest = textAt(columns, at, strings);
        break;
      case consistency.idempotencyKey:
        idempotencyKey = textAt(columns, at, strings);
        break;
      case consistency.outboxId:
        outboxId = textAt(columns, at, strings);
        break;
      case consistency.sagaId:
        sagaId = textAt(columns, at, strings);
        break;
      case consistency.sagaName:
        sagaName = textAt(columns, at, strings);
        break;
      case consistency.sagaStep:
        sagaStep = textAt(columns, at, strings);
        break;
      case consistency.sagaOutcome:
        sagaOutcome = textAt(columns, at, strings);
        break;
    }
  }
  return {
    domain: domain || span?.domain || home.domain,
    objectType,
    objectKey,
    version,
    versionBase,
    hlc,
    valueDigest,
    replicaId: replicaId || span?.replicaId || home.replicaId,
    replicaRole: replicaRole || span?.replicaRole || home.replicaRole,
    sessionId: sessionId || span?.sessionId || spanSession,
    idempotencyKey: idempotencyKey || span?.idempotencyKey || '',
    sagaId: sagaId || span?.sagaId || '',
    sagaName: sagaName || span?.sagaName || '',
    sagaStep: sagaStep || span?.sagaStep || '',
    sagaOutcome: sagaOutcome || span?.sagaOutcome || '',
    outboxId: outboxId || span?.outboxId || '',
    transactionId: transactionId || span?.transactionId || transaction,
    transactionOutcome:
      outcome === 'committed' || outcome === 'aborted' || outcome === 'unknown'
        ? outcome
        : (span?.transactionOutcome ?? (failed ? 'aborted' : 'committed')),
  };
}
