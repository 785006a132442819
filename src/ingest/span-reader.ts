import { factsOf } from './consistency-facts.ts';
import type { HeldBatch } from './held-batches.ts';
import { linksOf } from './operation-from-span.ts';
import type { SpanBatch } from './span-batch.ts';
import { SpanOperation, TraceId } from './span-operation.ts';
import { noLinks, SpanTemplates } from './span-templates.ts';
import { SpanView } from './span-view.ts';
import { StatementCache } from './sql-fingerprint.ts';

/**
 * Single rows of batches into operations, one for each: says the same of a span as an `OperationReader` does, at a fraction of the cost,
 * because what spans have in common is described once ({@link SpanTemplates}). Rows for which {@link isPlainRow} is false are not for it.
 */
export class SpanReader {
  readonly #view = new SpanView();
  readonly #templates = new SpanTemplates(this.#view, new StatementCache());
  #batch: SpanBatch | undefined;
  #lastTrace = new TraceId(0, 0, 0, 0);

  /** Descriptions that spans share at the moment. */
  get described(): number {
    return this.#templates.size;
  }

  read({ batch, ids }: Pick<HeldBatch, 'batch' | 'ids'>, row: number): SpanOperation {
    const view = this.#view;
    const templates = this.#templates;
    if (batch !== this.#batch || batch.describedGeneration !== templates.generation) {
      templates.open(batch);
      view.turn(batch);
      this.#batch = batch;
    }
    const at = row * 8;
    const from = batch.attributeStart[row] as number;
    const to = batch.attributeStart[row + 1] as number;
    const links = batch.linkStart[row] === batch.linkStart[row + 1] ? noLinks : linksOf(batch, row);
    const known = templates.known(batch, row);
    if (known === undefined || known.hasOwn || links !== noLinks) view.select(batch.attributes, from, to);
    else if (templates.hasFacts) view.point(batch.attributes, from, to);
    const template = known ?? templates.of(row);
    const parts = templates.partsOf(template, links);
    const startUs = batch.startUs[row] as number;
    const endUs = batch.endUs[row] as number;
    const operation = new SpanOperation(
      template,
      this.#traceOf(ids, at),
      ids,
      at,
      startUs,
      endUs < startUs ? startUs : endUs,
      parts,
      templates.hasFacts ? factsOf(view, template.failed, undefined, '', template.home) : undefined,
    );
    view.leave();
    return operation;
  }

  /** Spans of one trace mostly come together, and then share its id. */
  #traceOf(ids: Int32Array, at: number): TraceId {
    const last = this.#lastTrace;
    if (last.a === ids[at] && last.b === ids[at + 1] && last.c === ids[at + 2] && last.d === ids[at + 3]) return last;
    this.#lastTrace = new TraceId(ids[at] as number, ids[at + 1] as number, ids[at + 2] as number, ids[at + 3] as number);
    return this.#lastTrace;
  }
}

/** One operation, with ids of its own: not a log record, and no span whose events are operations. */
export function isPlainRow(batch: SpanBatch, row: number): boolean {
  if (batch.isLog) return false;
  const last = batch.eventStart[row + 1] as number;
  for (let event = batch.eventStart[row] as number; event < last; event += 1) if (batch.eventKind[event] === 2) return false;
  return true;
}
