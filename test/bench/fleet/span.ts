import type { Rng } from '../../../src/base/rng.ts';

export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** A span as the simulated fleet records it. Times are true microseconds; clock skew is added when it is emitted. */
export interface SimSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly service: string;
  readonly name: string;
  /** OTLP span kind: 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number;
  readonly startUs: number;
  endUs: number;
  readonly attributes: Attributes;
  readonly events: readonly { readonly name: string; readonly atUs: number; readonly attributes: Attributes }[];
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly failed: boolean;
}

/** How one service's instrumentation writes: its language, generation of semantic conventions and what it lets one see. */
export interface Service {
  readonly name: string;
  readonly language: 'java' | 'python' | 'go' | 'nodejs' | 'dotnet' | '';
  readonly convention: 'current' | 'old';
  readonly database: string;
  /** Statements show placeholders instead of values. */
  readonly bindsValues: boolean;
  /** BEGIN, COMMIT and ROLLBACK show. */
  readonly showsTransactions: boolean;
  /** Consumers continue the producer's trace; otherwise they begin their own with a link. */
  readonly continuesTraces: boolean;
}

export interface SpanOptions {
  readonly kind?: number;
  readonly parent?: SimSpan | undefined;
  readonly startUs: number;
  readonly us?: number;
  readonly attributes?: Attributes;
  readonly links?: readonly SimSpan[];
  readonly error?: { readonly type: string; readonly message?: string };
}

/** Collects the spans of one trace and knows how instrumentation would describe statements, calls and messages. */
export class Trace {
  readonly id: string;
  readonly spans: SimSpan[] = [];
  private readonly rng: Rng;

  constructor(rng: Rng) {
    this.rng = rng;
    this.id = hex(rng, 32);
  }

  span(service: Service, name: string, options: SpanOptions): SimSpan {
    const endUs = options.startUs + (options.us ?? 2_000);
    const error = options.error;
    const span: SimSpan = {
      traceId: this.id,
      spanId: hex(this.rng, 16),
      parentSpanId: options.parent?.spanId ?? '',
      service: service.name,
      name,
      kind: options.kind ?? 1,
      startUs: options.startUs,
      endUs,
      attributes: { ...options.attributes, ...(error === undefined ? {} : { 'error.type': error.type }) },
      events:
        error?.message === undefined
          ? []
          : [{ name: 'exception', atUs: endUs, attributes: { 'exception.type': error.type, 'exception.message': error.message } }],
      links: (options.links ?? []).map(({ traceId, spanId }) => ({ traceId, spanId })),
      failed: error !== undefined,
    };
    this.spans.push(span);
    return span;
  }

  serve(service: Service, route: string, options: SpanOptions): SimSpan {
    const [method = 'POST', path = '/'] = route.split(' ');
    const attributes = {
      'http.request.method': method,
      'http.route': path,
      'http.response.status_code': options.error === undefined ? 200 : 500,
    };
    return this.span(service, route, { ...options, kind: 2, attributes: { ...attributes, ...options.attributes } });
  }

  call(service: Service, peer: string, route: string, options: SpanOptions & { readonly status?: number }): SimSpan {
    const [method = 'POST', path = '/'] = route.split(' ');
    const status = options.status ?? (options.error === undefined ? 200 : 0);
    const attributes = {
      'http.request.method': method,
      'url.full': `http://${peer}${path}`,
      'server.address': peer,
      ...(status === 0 ? {} : { 'http.response.status_code': status }),
    };
    return this.span(service, method, { ...options, kind: 3, attributes: { ...attributes, ...options.attributes } });
  }

  /** A statement, as that service's driver instrumentation describes it. */
  sql(
    service: Service,
    text: string,
    options: SpanOptions & { readonly host?: string; readonly rows?: number; readonly system?: string },
  ): SimSpan {
    const host = options.host ?? `${service.database}-db`;
    const system = options.system ?? 'postgresql';
    const rows = options.rows;
    const isSilent = service.language === 'go' && /^(BEGIN|COMMIT|ROLLBACK)$/.test(text);
    const shown = service.bindsValues ? bound(service, text) : text;
    const attributes: Attributes =
      service.convention === 'current'
        ? {
            'db.system.name': system,
            'db.namespace': service.database,
            ...(isSilent ? {} : { 'db.query.text': shown }),
            'server.address': host,
            'server.port': 5432,
          }
        : {
            'db.system': system,
            'db.name': service.database,
            ...(isSilent ? {} : { 'db.statement': shown }),
            'net.peer.name': host,
            'net.peer.port': 5432,
          };
    const seen = rows === undefined ? {} : { 'db.response.returned_rows': rows };
    const verb = text.split(' ')[0] ?? 'query';
    const isTransaction = /^(BEGIN|COMMIT|ROLLBACK)$/.test(text);
    const span = this.span(service, statementName(service, verb), {
      ...options,
      kind: 3,
      attributes: { ...attributes, ...seen, ...options.attributes },
    });
    // The transaction happened; the instrumentation does not tell of it.
    if (isTransaction && !service.showsTransactions && options.error === undefined) this.spans.splice(this.spans.indexOf(span), 1);
    return span;
  }

  publish(
    service: Service,
    topic: string,
    options: SpanOptions & {
      readonly system?: string;
      readonly messageId?: string;
      readonly partition?: number;
      readonly offset?: number;
      readonly key?: string;
    },
  ): SimSpan {
    return this.span(service, `${topic} publish`, {
      ...options,
      kind: 4,
      attributes: { ...messaging(service, 'publish', topic, options), ...options.attributes },
    });
  }

  consume(
    service: Service,
    topic: string,
    options: SpanOptions & {
      readonly system?: string;
      readonly group: string;
      readonly messageId?: string;
      readonly partition?: number;
      readonly offset?: number;
      readonly key?: string;
    },
  ): SimSpan {
    return this.span(service, `${topic} process`, {
      ...options,
      kind: 5,
      attributes: { ...messaging(service, 'process', topic, options), ...options.attributes },
    });
  }
}

interface MessageAttributes {
  readonly system?: string;
  readonly group?: string;
  readonly messageId?: string;
  readonly partition?: number;
  readonly offset?: number;
  readonly key?: string;
}

function messaging(service: Service, operation: 'publish' | 'process', topic: string, m: MessageAttributes): Attributes {
  const system = m.system ?? 'kafka';
  const isCurrent = service.convention === 'current';
  const found: Record<string, string | number> = { 'messaging.system': system };
  found[isCurrent ? 'messaging.destination.name' : 'messaging.destination'] = topic;
  found[isCurrent ? 'messaging.operation.type' : 'messaging.operation'] = isCurrent && operation === 'publish' ? 'send' : operation;
  if (m.messageId !== undefined) found[isCurrent ? 'messaging.message.id' : 'messaging.message_id'] = m.messageId;
  if (m.group !== undefined) found[isCurrent ? 'messaging.consumer.group.name' : 'messaging.kafka.consumer.group'] = m.group;
  if (m.partition !== undefined) {
    if (isCurrent) found['messaging.destination.partition.id'] = String(m.partition);
    else found['messaging.kafka.destination.partition'] = m.partition;
  }
  if (m.offset !== undefined) found[isCurrent ? 'messaging.kafka.offset' : 'messaging.kafka.message.offset'] = m.offset;
  if (m.key !== undefined) found['messaging.kafka.message.key'] = m.key;
  return found;
}

/** Values as the driver sends them: apart from the text. */
function bound(service: Service, text: string): string {
  if (/^(BEGIN|COMMIT|ROLLBACK|PREPARE|XA)/.test(text)) return text;
  let position = 0;
  return text.replace(/'[^']*'|(?<![\w$.])\d+(?![\w.])/g, (value) => {
    if (value === '1' && text.startsWith('SELECT 1 ') && position === 0) return value;
    position += 1;
    return { java: '?', python: '%s', go: `$${position}`, nodejs: `$${position}`, dotnet: `@p${position}`, '': '?' }[service.language];
  });
}

function statementName(service: Service, verb: string): string {
  const database = service.database;
  switch (service.language) {
    case 'java':
      return `${verb} ${database}`;
    case 'nodejs':
      return `pg.query:${verb} ${database}`;
    case 'dotnet':
      return database;
    case 'go':
      return (
        { BEGIN: 'sql.conn.begin_tx', COMMIT: 'sql.tx.commit', ROLLBACK: 'sql.tx.rollback', SELECT: 'sql.conn.query' }[verb] ??
        'sql.conn.exec'
      );
    case 'python':
    case '':
      return verb;
  }
}

export function hex(rng: Rng, digits: number): string {
  let text = '';
  while (text.length < digits) text += rng.int(0x1_0000).toString(16).padStart(4, '0');
  return text.slice(0, digits);
}
