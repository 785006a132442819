import type { ConsistencyFacts, MessageFacts, Operation, OperationKind, Statement } from '../domain/operation.ts';

/** Monday, so that printed examples are stable. */
const epochUs = 1_767_600_000_000_000;

const spanKinds: Readonly<Record<OperationKind, number>> = {
  read: 3,
  write: 3,
  append: 3,
  delete: 3,
  publish: 4,
  consume: 5,
  'saga-step': 1,
  compensate: 1,
  transaction: 3,
  request: 2,
  call: 3,
  internal: 1,
};

export interface Step extends Partial<Omit<Operation, 'kind' | 'startUs' | 'endUs' | 'facts' | 'message' | 'statement' | 'spanId'>> {
  readonly kind: OperationKind;
  /** Start in milliseconds from the example's beginning. */
  readonly at: number;
  /** Duration in milliseconds, 2 by default. */
  readonly lasts?: number;
  /** Short names; made into ids. */
  readonly trace?: string;
  readonly span?: string;
  readonly parent?: string;
  readonly facts?: Partial<ConsistencyFacts>;
  readonly message?: Partial<MessageFacts>;
  readonly sql?: string;
  readonly statement?: Partial<Statement>;
}

/** Operations of a detector's example, written short. Spans without a name get their position. */
export function exampleOperations(steps: readonly Step[]): readonly Operation[] {
  return steps.map((step, position) => {
    const trace = step.trace ?? 't';
    const span = step.span ?? `s${position}`;
    const { at, lasts, trace: _trace, span: _span, parent, facts, message, sql, statement, ...rest } = step;
    const target = step.target ?? '';
    const hasSql = ['read', 'write', 'append', 'delete', 'transaction'].includes(step.kind);
    return {
      index: 0,
      service: 'shop',
      spanName: step.kind,
      spanKind: spanKinds[step.kind],
      failed: false,
      sqlState: '',
      errorType: '',
      httpStatus: 0,
      system: hasSql ? 'postgresql' : step.kind === 'publish' || step.kind === 'consume' ? 'kafka' : '',
      host: '',
      namespace: '',
      target,
      links: [],
      key: '',
      rows: -1,
      session: '',
      idempotencyKey: '',
      ...rest,
      traceId: exampleId(trace, 32),
      spanId: exampleId(span, 16),
      parentSpanId: parent === undefined ? '' : exampleId(parent, 16),
      startUs: epochUs + Math.round(at * 1000),
      endUs: epochUs + Math.round((at + (lasts ?? 2)) * 1000),
      statement: hasSql && step.system !== 'redis' ? exampleStatement(step.kind, target, sql ?? '', statement) : undefined,
      message:
        message === undefined && step.kind !== 'publish' && step.kind !== 'consume'
          ? undefined
          : { id: '', key: '', partition: -1, offset: -1, consumerGroup: '', deliveryCount: 0, batch: 1, ...message },
      facts: facts === undefined ? undefined : { ...noFacts, ...facts },
    };
  });
}

/** A short name as a hexadecimal id of the given length. */
export function exampleId(name: string, digits: number): string {
  let text = '';
  for (let i = 0; i < name.length; i += 1) text += (name.charCodeAt(i) & 0xff).toString(16).padStart(2, '0');
  return text.padStart(digits, '0').slice(-digits);
}

const noFacts: ConsistencyFacts = {
  domain: '',
  objectType: '',
  objectKey: '',
  version: undefined,
  versionBase: undefined,
  hlc: '',
  valueDigest: '',
  replicaId: '',
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
};

function exampleStatement(kind: OperationKind, target: string, sql: string, given: Partial<Statement> | undefined): Statement {
  const verbs: Partial<Record<OperationKind, Statement['verb']>> = { read: 'select', write: 'update', append: 'insert', delete: 'delete' };
  const words = sql.toLowerCase();
  const verb =
    (['begin', 'commit', 'rollback', 'insert', 'select', 'update', 'delete'] as const).find((word) => words.startsWith(word)) ??
    verbs[kind] ??
    'other';
  return {
    verb,
    tables: target === '' ? [] : [target],
    keyColumns: words.includes('where') || sql === '' ? ['id'] : [],
    hasVersionPredicate: /where.*version *=/.test(words),
    isLocking: words.includes('for update'),
    hasOnConflict: words.includes('on conflict'),
    hasReturning: words.includes('returning'),
    isRelativeUpdate: /set (\w+) *= *\1 *[+-]/.test(words),
    fingerprint: words,
    ...given,
  };
}
