import { expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { type HeldBatch, HeldBatches } from '../../src/ingest/held-batches.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { TraceShelf } from '../../src/ingest/trace-shelf.ts';

const idleUs = 1_000_000;
const patienceUs = 3_000_000;

interface Span {
  readonly trace: number;
  readonly span: number;
  readonly parent: number;
  readonly endUs: number;
  readonly isSeveral: boolean;
}

function batchOf(spans: readonly Span[]): SpanBatch {
  const batch = new SpanBatch();
  for (const { trace, span, parent, endUs, isSeveral } of spans) {
    const row = batch.openRow();
    batch.idView.setUint32(row * 32, trace);
    // The same for all: what tells traces apart is in one word.
    batch.idView.setUint32(row * 32 + 12, 7);
    batch.idView.setUint32(row * 32 + 16, span);
    batch.idView.setUint32(row * 32 + 24, parent);
    batch.startUs[row] = endUs - 5;
    batch.endUs[row] = endUs;
    if (isSeveral) {
      batch.openEvent(2, endUs);
      batch.closeEvent();
    }
    batch.keepRow();
  }
  return batch;
}

/** What the shelf is to do, one span after the other: a list of spans for each trace. */
class Model {
  readonly taken: string[] = [];
  readonly given: string[] = [];
  readonly #traces = new Map<number, { spans: Span[]; minUs: number; maxUs: number; isElsewhere: boolean }>();

  add(span: Span): void {
    const { trace, endUs } = span;
    const known = this.#traces.get(trace) ?? { spans: [], minUs: endUs, maxUs: endUs, isElsewhere: false };
    this.#traces.set(trace, known);
    known.minUs = Math.min(known.minUs, endUs);
    known.maxUs = Math.max(known.maxUs, endUs);
    known.spans.unshift(span);
    if (known.isElsewhere || known.maxUs - known.minUs > idleUs) this.#handOn(known);
  }

  release(upToUs: number): void {
    const over: { readonly trace: number; readonly dueUs: number; readonly text: string }[] = [];
    for (const [trace, known] of this.#traces) {
      if (known.maxUs + (known.isElsewhere ? patienceUs : idleUs) > upToUs) continue;
      const isWhole = known.spans.every(({ parent }) => parent === 0 || known.spans.some(({ span }) => span === parent));
      if (known.isElsewhere) this.#traces.delete(trace);
      else if (!isWhole) this.#handOn(known);
      else {
        this.#traces.delete(trace);
        if (known.spans.some(({ isSeveral }) => isSeveral)) this.#handOn(known);
        else over.push({ trace, dueUs: known.maxUs + idleUs, text: `${trace}: ${known.spans.map(({ span }) => span).join(' ')}` });
      }
    }
    over.sort((a, b) => a.dueUs - b.dueUs || a.trace - b.trace);
    this.taken.push(...over.map(({ text, dueUs }) => `${dueUs} ${text}`));
  }

  narrow(keep: (trace: number) => boolean): void {
    for (const [trace, { isElsewhere }] of this.#traces) if (!isElsewhere && !keep(trace)) this.#traces.delete(trace);
  }

  #handOn(known: { spans: Span[]; isElsewhere: boolean }): void {
    this.given.push(...known.spans.map(({ trace, span }) => `${trace}: ${span}`));
    known.spans = [];
    known.isElsewhere = true;
  }
}

for (const seed of [1, 2, 3, 4, 5, 6])
  test(`whole traces come out as such, the newest span first, everything else as rows, what is refused not at all, and no batch is held in the end (SEED=${seed})`, () => {
    const rng = createRng(seed);
    const batches = new HeldBatches();
    const shelf = new TraceShelf(idleUs, patienceUs, batches);
    const model = new Model();
    const taken: string[] = [];
    const given: string[] = [];
    const all: HeldBatch[] = [];
    let nextSpan = 1;
    const giveOn = ({ batch }: HeldBatch, rows: Int32Array, count: number): void => {
      for (const row of rows.subarray(0, count))
        given.push(`${batch.idView.getUint32(row * 32)}: ${batch.idView.getUint32(row * 32 + 16)}`);
    };
    for (let step = 0; step < 120; step += 1) {
      const nowUs = step * 250_000 + 7;
      const spans: Span[] = [];
      while (spans.length < 40) {
        // Mostly some of one trace stand together; some traces go on in later batches, some have a parent missing.
        const trace = 1 + Math.floor(step / 3) * 10 + rng.int(12);
        const root = nextSpan;
        for (let n = 1 + rng.int(5); n > 0; n -= 1) {
          const parent = n === 1 && rng.int(8) === 0 ? 4_000_000 : nextSpan === root ? 0 : root;
          spans.push({ trace, span: nextSpan, parent, endUs: nowUs + rng.int(200_000), isSeveral: rng.int(60) === 0 });
          nextSpan += 1;
        }
      }
      const batch = batchOf(spans);
      // Not all rows are taken, and not always in their order.
      const rows = Int32Array.from(spans.keys()).filter(() => rng.int(10) > 0);
      if (rng.int(4) === 0) rows.reverse();
      const held = batches.hold(batch, rows.length);
      all.push(held);
      shelf.add(held, rows, rows.length);
      batches.leave(held);
      for (const row of rows) model.add(spans[row] as Span);
      if (step % 20 === 5) {
        shelf.narrow((id) => Number.parseInt(id.slice(0, 8), 16) % 3 > 0);
        model.narrow((trace) => trace % 3 > 0);
      }
      const upToUs = Math.floor((nowUs - 300_000) / 50_000) * 50_000;
      shelf.release(upToUs, giveOn);
      model.release(upToUs);
      for (let dueUs = shelf.nextUs(); dueUs !== Number.POSITIVE_INFINITY; dueUs = shelf.nextUs()) {
        let trace = 0;
        const ids: number[] = [];
        shelf.take(({ batch: of }, row) => {
          trace = of.idView.getUint32(row * 32);
          ids.push(of.idView.getUint32(row * 32 + 16));
        });
        taken.push(`${dueUs} ${trace}: ${ids.join(' ')}`);
      }
    }
    expect(taken.length).toBeGreaterThan(100);
    expect(given.length).toBeGreaterThan(100);
    expect(taken).toEqual(model.taken);
    expect(given.toSorted()).toEqual(model.given.toSorted());
    shelf.release(Number.POSITIVE_INFINITY, giveOn);
    while (shelf.nextUs() !== Number.POSITIVE_INFINITY) shelf.take(() => undefined);
    expect(shelf.rows).toBe(0);
    expect(all.filter(({ uses }) => uses !== 0)).toEqual([]);
  });
