import type { TraceShape } from '../domain/ordered-trace.ts';
import type { SpanOperation } from './span-operation.ts';
import { WordTable } from './word-table.ts';

/** Longer traces are rarely alike. */
const longest = 32;
/** Those of a fleet are hundreds; where traces differ by chance, all are forgotten now and then. */
const shapesMax = 4096;

/** Shapes of traces without missing parents, told apart by all that makes them: two are never taken for one. */
export class TraceShapes {
  readonly #table = new WordTable();
  #shapes: TraceShape[] = [];
  readonly #words = new Int32Array(longest * 2);

  of(operations: readonly SpanOperation[], parentOf: readonly number[]): TraceShape | undefined {
    const size = operations.length;
    if (size > longest) return undefined;
    const words = this.#words;
    for (let i = 0; i < size; i += 1) {
      const { template, parentA, parentB, facts } = operations[i] as SpanOperation;
      if (template.serial === 0) return undefined;
      words[i * 2] = template.serial;
      // A root is none that names itself as its parent.
      const parent = parentA === 0 && parentB === 0 ? 0 : (parentOf[i] as number) + 2;
      words[i * 2 + 1] = parent * 2 + (facts === undefined ? 0 : 1);
    }
    const found = this.#table.find(words, size * 2);
    if (found >= 0) return this.#shapes[found];
    const shape: TraceShape = { known: undefined };
    if (this.#shapes.length >= shapesMax) {
      this.#table.clear();
      this.#shapes = [];
      this.#table.find(words, size * 2);
    }
    this.#shapes.push(shape);
    return shape;
  }
}
