import { close, type Scenario } from './world.ts';

interface Step {
  readonly transaction: number;
  readonly operation: 'read' | 'write';
  readonly object: string;
  readonly version: number;
  readonly base?: number;
}

interface History {
  readonly model: string;
  readonly steps: readonly Step[];
  readonly aborted?: readonly number[];
  readonly also?: readonly string[];
}

const w = (transaction: number, object: string, version: number, base: number): Step => ({
  transaction,
  operation: 'write',
  object,
  version,
  base,
});
const r = (transaction: number, object: string, version: number): Step => ({ transaction, operation: 'read', object, version });

/** One minimal history a class, after Adya (1999), in the order in which the steps happen. */
const histories: readonly History[] = [
  // x: T1 before T2, y: T2 before T1.
  { model: 'G0', steps: [w(1, 'x', 1, 0), w(2, 'x', 2, 1), w(2, 'y', 1, 0), w(1, 'y', 2, 1)] },
  { model: 'G1a', steps: [w(1, 'x', 1, 0), r(2, 'x', 1)], aborted: [1] },
  { model: 'G1b', steps: [w(1, 'x', 1, 0), r(2, 'x', 1), w(1, 'x', 2, 1)], also: ['stale-read'] },
  // Each reads what the other wrote.
  { model: 'G1c', steps: [w(1, 'x', 1, 0), r(2, 'x', 1), w(2, 'y', 1, 0), r(1, 'y', 1)] },
  // T2 reads x before and y after T1 changed both.
  { model: 'G-single', steps: [w(0, 'x', 1, 0), w(0, 'y', 1, 0), r(2, 'x', 1), w(1, 'x', 2, 1), w(1, 'y', 2, 1), r(2, 'y', 2)] },
  // Write skew: each reads what the other overwrites.
  {
    model: 'G2-item',
    steps: [w(0, 'x', 1, 0), w(0, 'y', 1, 0), r(1, 'x', 1), r(1, 'y', 1), r(2, 'x', 1), r(2, 'y', 1), w(1, 'x', 2, 1), w(2, 'y', 2, 1)],
  },
];

export const isolationFaults: readonly Scenario[] = histories.map((history) => ({
  id: `isolation ${history.model}`,
  times: 20,
  play: (world, atUs, nth) => {
    const service = world.service('desk');
    const traces = new Map<number, ReturnType<typeof world.trace>>();
    const roots = new Map<number, ReturnType<ReturnType<typeof world.trace>['serve']>>();
    for (const [at, step] of history.steps.entries()) {
      const startUs = atUs + step.transaction * 10 + at * 5_000;
      let trace = traces.get(step.transaction);
      if (trace === undefined) {
        trace = world.trace();
        traces.set(step.transaction, trace);
        roots.set(step.transaction, trace.serve(service, 'POST /desk', { startUs: startUs - 200 }));
      }
      const outcome = history.aborted?.includes(step.transaction) ? 'aborted' : 'committed';
      trace.span(service, step.operation, {
        kind: 3,
        parent: roots.get(step.transaction),
        startUs,
        us: 900,
        attributes: {
          'consistency.operation': step.operation,
          'consistency.object.type': 'card',
          'consistency.object.key': `${history.model}-${nth}-${step.object}`,
          'consistency.version': step.version,
          ...(step.base === undefined ? {} : { 'consistency.version.base': step.base }),
          'consistency.transaction.id': `${history.model}-${nth}-T${step.transaction}`,
          'consistency.transaction.outcome': outcome,
        },
      });
    }
    for (const [transaction, trace] of traces) {
      const root = roots.get(transaction);
      if (root !== undefined) close(root, trace);
    }
    world.note({
      kind: 'isolation',
      grade: 'proven',
      model: history.model,
      about: `${history.model}-${nth}`,
      traces: [...traces.values()].map((trace) => trace.id),
      also: ['stale-read', 'non-monotonic-read', 'lost-update', 'lost-update-risk', ...(history.also ?? [])],
    });
  },
}));
