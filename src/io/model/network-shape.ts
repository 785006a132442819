/**
 * The global quantile network: two dense layers with ReLU, and beside them a linear skip from the inputs to the outputs, so that
 * what a ridge regression can say needs no hidden unit. One output a (horizon, quantile level); pinball loss (Koenker 1978).
 */
export interface NetworkShape {
  readonly inputs: number;
  readonly hidden: readonly [number, number];
  readonly outputs: number;
  readonly levels: readonly number[];
}

/** Weights as plain arrays, row-major; the last input of `first`, `second`, `head` and `skip` is the constant 1 where there is a bias row. */
export interface Weights {
  /** (inputs + 1) x hidden[0] */
  readonly first: Float32Array;
  /** (hidden[0] + 1) x hidden[1] */
  readonly second: Float32Array;
  /** hidden[1] x (outputs * levels) */
  readonly head: Float32Array;
  /** (inputs + 1) x (outputs * levels) */
  readonly skip: Float32Array;
}

export const weightNames = ['first', 'second', 'head', 'skip'] as const;

export function weightShape(shape: NetworkShape, name: (typeof weightNames)[number]): [number, number] {
  const out = shape.outputs * shape.levels.length;
  if (name === 'first') return [shape.inputs + 1, shape.hidden[0]];
  if (name === 'second') return [shape.hidden[0] + 1, shape.hidden[1]];
  if (name === 'head') return [shape.hidden[1], out];
  return [shape.inputs + 1, out];
}
