import { firstLogIndex, type Operation } from '../domain/operation.ts';
import { declaredKind, factsHome, factsOf } from './consistency-facts.ts';
import type { SpanDedupe } from './dedupe.ts';
import { describeRow } from './describe-span.ts';
import type { SpanBatch } from './span-batch.ts';
import { SpanView } from './span-view.ts';
import { StatementCache } from './sql-fingerprint.ts';
import { codeOf, firstConsistencyCode, lastConsistencyCode } from './wanted-attributes.ts';

/**
 * Rows of a `SpanBatch` into operations. Each span gives one, in order of the batch; each event named `consistency.operation` gives one
 * more, in the order of the events. Both generations of the semantic conventions are read; where both are present the current one wins.
 */
export class OperationReader {
  readonly #view = new SpanView();
  readonly #statements: StatementCache;

  constructor(options: { readonly distinctStatements?: number } = {}) {
    this.#statements = new StatementCache(options.distinctStatements);
  }

  /** Operations of rows `[from, to)`, all by default, without the spans that `dedupe` has seen. */
  read(batch: SpanBatch, dedupe?: SpanDedupe, from = 0, to = batch.count): readonly Operation[] {
    const view = this.#view;
    const operations: Operation[] = [];
    view.open(batch);
    const ids = new IdReader(batch.ids);
    for (let row = from; row < to; row += 1) {
      if (dedupe !== undefined && !batch.isLog && !dedupe.isNew(batch.ids, row * 32)) continue;
      view.selectResource(batch, batch.resource[row] as number);
      this.#readRow(batch, row, ids, operations);
    }
    return operations;
  }

  /** Operations of `count` of the rows. */
  readRows(batch: SpanBatch, rows: Int32Array, count: number): readonly Operation[] {
    const view = this.#view;
    const operations: Operation[] = [];
    view.open(batch);
    const ids = new IdReader(batch.ids);
    for (let i = 0; i < count; i += 1) {
      const row = rows[i] as number;
      view.selectResource(batch, batch.resource[row] as number);
      this.#readRow(batch, row, ids, operations);
    }
    return operations;
  }

  #readRow(batch: SpanBatch, row: number, ids: IdReader, into: Operation[]): void {
    const view = this.#view;
    const firstEvent = batch.eventStart[row] as number;
    const lastEvent = batch.eventStart[row + 1] as number;
    const span = describeRow(view, this.#statements, batch, row);
    const { failed } = span;
    const operation: Operation = {
      kind: span.kind,
      traceId: ids.trace(row),
      spanId: ids.span(row),
      parentSpanId: ids.parent(row),
      index: batch.isLog ? logIndex(batch.startUs[row] as number, view) : 0,
      service: view.resourceText(serviceNameCode) || 'unknown_service',
      spanName: batch.strings[batch.name[row] as number] as string,
      spanKind: batch.kind[row] as number,
      startUs: batch.startUs[row] as number,
      endUs: Math.max(batch.endUs[row] as number, batch.startUs[row] as number),
      failed,
      sqlState: span.sqlState,
      errorType: span.errorType,
      httpStatus: span.httpStatus,
      system: span.system,
      host: span.host,
      namespace: span.namespace,
      target: span.target,
      statement: span.statement,
      links: linksOf(batch, row),
      message: span.message,
      key: span.key,
      language: view.resourceText(languageCode),
      region: view.resourceText(regionCode),
      rows: span.rows,
      session: view.text(sessionIdCode),
      idempotencyKey: span.idempotencyKey,
      facts: view.hasAny(firstConsistencyCode, lastConsistencyCode) ? factsOf(view, failed, undefined, '', factsHome(view)) : undefined,
    };
    into.push(operation);
    let index = 1;
    for (let event = firstEvent; event < lastEvent; event += 1) {
      if (batch.eventKind[event] !== 2) continue;
      view.select(batch.eventAttributes, batch.eventAttributeStart[event] as number, batch.eventAttributeStart[event + 1] as number);
      const atUs = (batch.eventUs[event] as number) || operation.startUs;
      // Several operations in one span are one transaction.
      const facts = factsOf(view, failed, operation.facts, `${operation.traceId}:${operation.spanId}`, factsHome(view));
      into.push({
        ...operation,
        kind: declaredKind(view) ?? (facts.sagaStep === '' ? 'internal' : 'saga-step'),
        index,
        startUs: atUs,
        endUs: atUs,
        target: facts.objectType || operation.target,
        statement: undefined,
        links: noLinks,
        message: undefined,
        key: facts.objectKey,
        facts,
      });
      index += 1;
    }
  }
}

const serviceNameCode = codeOf('service.name');
const languageCode = codeOf('telemetry.sdk.language');
const regionCode = codeOf('cloud.region');
const sessionIdCode = codeOf('session.id');

/**
 * A log record has no id: its place among its span's operations is made from what it says and when, so that the same record sent twice is
 * the same operation, and two of one object in one millisecond, which is all that many loggers tell, are two. Of such, what was read comes
 * before what was written, and versions come in their order: a place that a hash alone gave made a transaction miss its own write, or its
 * last version an intermediate one. Far above the places of a span's own events, within 31 bits.
 */
function logIndex(us: number, view: SpanView): number {
  let hash = (us % 0x7fffffff) | 0;
  const version = view.version(versionCode);
  const says = [objectKeyCode, objectTypeCode, operationCode, sagaStepCode].map((code) => view.text(code));
  const text = `${says.join('\0')}\0${String(version)}\0${String(view.version(versionBaseCode))}`;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  const isWrite = declaredKind(view) === 'read' ? 0 : 1;
  const order = typeof version === 'bigint' ? Number(BigInt.asUintN(10, version)) : 0;
  return firstLogIndex + ((isWrite << 29) | (order << 19) | (hash >>> 13));
}

const operationCode = codeOf('consistency.operation');
const sagaStepCode = codeOf('consistency.saga.step');
const versionCode = codeOf('consistency.version');
const versionBaseCode = codeOf('consistency.version.base');
const objectKeyCode = codeOf('consistency.object.key');
const objectTypeCode = codeOf('consistency.object.type');

const noLinks: Operation['links'] = [];

export function linksOf(batch: SpanBatch, row: number): Operation['links'] {
  const from = batch.linkStart[row] as number;
  const to = batch.linkStart[row + 1] as number;
  if (from === to) return noLinks;
  const bytes = Buffer.from(batch.linkIds.buffer, batch.linkIds.byteOffset, batch.linkIds.byteLength);
  const links: { traceId: string; spanId: string }[] = [];
  for (let link = from; link < to; link += 1) {
    links.push({
      traceId: bytes.toString('hex', link * 24, link * 24 + 16),
      spanId: bytes.toString('hex', link * 24 + 16, link * 24 + 24),
    });
  }
  return links;
}

/** `hexSlice` is what `toString('hex')` calls after looking at its arguments; at three ids a span the looking showed in profiles. */
type HexBuffer = Buffer & { hexSlice(start: number, end: number): string };

/** Ids as text. Spans of one trace often stand together, and so do siblings: the last trace id and the last parent's are kept. */
class IdReader {
  readonly #bytes: HexBuffer;
  #lastTraceRow = -1;
  #lastTrace = '';
  #lastParentAt = -1;
  #lastParent = '';

  constructor(ids: Uint8Array) {
    this.#bytes = Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength) as HexBuffer;
  }

  trace(row: number): string {
    const bytes = this.#bytes;
    const at = row * 32;
    if (this.#lastTraceRow >= 0) {
      const last = this.#lastTraceRow * 32;
      let i = 0;
      while (i < 16 && bytes[at + i] === bytes[last + i]) i += 1;
      if (i === 16) return this.#lastTrace;
    }
    this.#lastTraceRow = row;
    this.#lastTrace = bytes.hexSlice(at, at + 16);
    return this.#lastTrace;
  }

  span(row: number): string {
    return this.#bytes.hexSlice(row * 32 + 16, row * 32 + 24);
  }

  parent(row: number): string {
    const bytes = this.#bytes;
    const at = row * 32 + 24;
    if (this.#lastParentAt >= 0) {
      let i = 0;
      while (i < 8 && bytes[at + i] === bytes[this.#lastParentAt + i]) i += 1;
      if (i === 8) return this.#lastParent;
    }
    for (let i = 0; i < 8; i += 1) {
      if (bytes[at + i] === 0) continue;
      this.#lastParentAt = at;
      this.#lastParent = bytes.hexSlice(at, at + 8);
      return this.#lastParent;
    }
    return '';
  }
}
