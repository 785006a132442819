import { hexOf } from '../base/hex-words.ts';
import type { ConsistencyFacts, MessageFacts, Operation, OperationKind, SpanIds, Statement } from '../domain/operation.ts';

/** What all spans of one description share: most of an operation. */
export interface OperationTemplate {
  /** Above 0, and no other's; 0 where it is one span's alone. */
  readonly serial: number;
  readonly kind: OperationKind;
  readonly service: string;
  readonly spanName: string;
  readonly spanKind: number;
  readonly failed: boolean;
  readonly sqlState: string;
  readonly errorType: string;
  readonly httpStatus: number;
  readonly system: string;
  readonly host: string;
  readonly namespace: string;
  readonly target: string;
  readonly statement: Statement | undefined;
  readonly language: string;
  readonly region: string;
}

/** What a span says beyond its description; most say nothing and share one of these. */
export interface SpanParts {
  readonly links: Operation['links'];
  readonly message: MessageFacts | undefined;
  readonly key: string;
  readonly rows: number;
  readonly session: string;
  readonly idempotencyKey: string;
}

const words = new Int32Array(4);

/** The id that the spans of a trace share, with its text once someone has asked. */
export class TraceId {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  #text = '';

  constructor(a: number, b: number, c: number, d: number) {
    this.a = a;
    this.b = b;
    this.c = c;
    this.d = d;
  }

  get text(): string {
    if (this.#text === '') {
      words[0] = this.a;
      words[1] = this.b;
      words[2] = this.c;
      words[3] = this.d;
      this.#text = hexOf(words, 0, 4);
    }
    return this.#text;
  }
}

function textOf(a: number, b: number): string {
  words[0] = a;
  words[1] = b;
  return hexOf(words, 0, 2);
}

/**
 * An operation that is a few numbers beside a shared template: a third of what one with all its fields takes, and made in a fraction of the
 * time. Texts of ids are made when someone asks, which is for findings.
 */
export class SpanOperation implements Operation, SpanIds {
  readonly template: OperationTemplate;
  readonly trace: TraceId;
  readonly spanA: number;
  readonly spanB: number;
  readonly parentA: number;
  readonly parentB: number;
  readonly startUs: number;
  readonly endUs: number;
  readonly parts: SpanParts;
  readonly facts: ConsistencyFacts | undefined;

  constructor(
    template: OperationTemplate,
    trace: TraceId,
    ids: Int32Array,
    at: number,
    startUs: number,
    endUs: number,
    parts: SpanParts,
    facts: ConsistencyFacts | undefined,
  ) {
    this.template = template;
    this.trace = trace;
    this.spanA = ids[at + 4] as number;
    this.spanB = ids[at + 5] as number;
    this.parentA = ids[at + 6] as number;
    this.parentB = ids[at + 7] as number;
    this.startUs = startUs;
    this.endUs = endUs;
    this.parts = parts;
    this.facts = facts;
  }

  get ids(): SpanIds {
    return this;
  }
  get traceA(): number {
    return this.trace.a;
  }
  get traceB(): number {
    return this.trace.b;
  }
  get traceC(): number {
    return this.trace.c;
  }
  get traceD(): number {
    return this.trace.d;
  }
  get traceId(): string {
    return this.trace.text;
  }
  get spanId(): string {
    return textOf(this.spanA, this.spanB);
  }
  get parentSpanId(): string {
    return this.parentA === 0 && this.parentB === 0 ? '' : textOf(this.parentA, this.parentB);
  }
  get index(): number {
    return 0;
  }
  get kind(): OperationKind {
    return this.template.kind;
  }
  get service(): string {
    return this.template.service;
  }
  get spanName(): string {
    return this.template.spanName;
  }
  get spanKind(): number {
    return this.template.spanKind;
  }
  get failed(): boolean {
    return this.template.failed;
  }
  get sqlState(): string {
    return this.template.sqlState;
  }
  get errorType(): string {
    return this.template.errorType;
  }
  get httpStatus(): number {
    return this.template.httpStatus;
  }
  get system(): string {
    return this.template.system;
  }
  get host(): string {
    return this.template.host;
  }
  get namespace(): string {
    return this.template.namespace;
  }
  get target(): string {
    return this.template.target;
  }
  get statement(): Statement | undefined {
    return this.template.statement;
  }
  get language(): string {
    return this.template.language;
  }
  get region(): string {
    return this.template.region;
  }
  get links(): Operation['links'] {
    return this.parts.links;
  }
  get message(): MessageFacts | undefined {
    return this.parts.message;
  }
  get key(): string {
    return this.parts.key;
  }
  get rows(): number {
    return this.parts.rows;
  }
  get session(): string {
    return this.parts.session;
  }
  get idempotencyKey(): string {
    return this.parts.idempotencyKey;
  }
}
