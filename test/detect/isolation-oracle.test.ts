import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isolation } from '../../src/detect/detectors/isolation.ts';
import { exampleId, exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import { aberrationsOf, type Action, edgesOf, type History, modelsBySeverity, shortestCycles } from './isolation-oracle.ts';

const transactions = 5;

/** Any reads of any versions: most such histories no store would give, which is what is wanted. */
const histories: fc.Arbitrary<History> = fc
  .record({
    steps: fc.array(fc.record({ transaction: fc.nat(transactions - 1), key: fc.nat(2), isWrite: fc.boolean(), draw: fc.nat(1000) }), {
      minLength: 2,
      maxLength: 14,
    }),
    outcomes: fc.array(fc.constantFrom('committed', 'committed', 'committed', 'aborted', 'unknown'), {
      minLength: transactions,
      maxLength: transactions,
    }),
    sessions: fc.array(fc.constantFrom(undefined, undefined, 0, 1), { minLength: transactions, maxLength: transactions }),
  })
  .map(({ steps, outcomes, sessions }) => {
    // Each write of an object takes another of the versions 1 to n; reads return 0 or any of them.
    const writes = [0, 1, 2].map((key) => steps.filter((step) => step.isWrite && step.key === key).toSorted((a, b) => a.draw - b.draw));
    const actions = steps.map((step): Action => {
      const ofKey = writes[step.key] ?? [];
      const version = step.isWrite ? ofKey.indexOf(step) + 1 : step.draw % (ofKey.length + 1);
      return { transaction: step.transaction, key: step.key, isWrite: step.isWrite, version };
    });
    return { actions, outcomes, sessions } as History;
  });

function check(history: History, isStreamed: boolean): readonly Anomaly[] {
  const steps = history.actions.map(({ transaction, key, isWrite, version }, at): Step => {
    const session = history.sessions[transaction];
    const facts = {
      objectType: '',
      objectKey: `k${key}`,
      version: BigInt(version),
      transactionId: `T${transaction}`,
      transactionOutcome: history.outcomes[transaction] ?? 'committed',
      sessionId: session === undefined ? '' : `session ${session}`,
    };
    return { kind: isWrite ? 'write' : 'read', at: at * 10, trace: `T${transaction}`, span: `s${at}`, facts };
  });
  const detection = createDetection({ only: [isolation], latenessMs: 1 });
  const found = new Map<string, Anomaly>();
  for (const operation of exampleOperations(steps)) {
    detection.add([operation]);
    if (isStreamed) for (const anomaly of detection.advanceToLateness()) found.set(anomaly.fingerprint, anomaly);
  }
  for (const anomaly of detection.finish()) found.set(anomaly.fingerprint, anomaly);
  return [...found.values()];
}

const idOf = new Map(Array.from({ length: transactions }, (_, t) => [exampleId(`T${t}`, 32), t]));
const transactionsOf = (anomaly: Anomaly): readonly number[] => anomaly.spans.map((span) => idOf.get(span.traceId) ?? -1);

describe('isolation against an exhaustive search', () => {
  it('tells a cycle exactly where there is one, of the most severe class, and a shortest of it', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(histories, (history) => {
        const edges = edgesOf(history);
        const shortest = shortestCycles(edges, transactions);
        const cycles = check(history, false).filter((anomaly) => anomaly.facts['edges'] !== undefined);
        for (const cycle of cycles) {
          // What is told is a cycle of edges that are there, of the class that it is called.
          const members = transactionsOf(cycle);
          const kinds = String(cycle.facts['edges']).split(' ');
          members.forEach((from, i) => {
            const to = members[(i + 1) % members.length];
            expect(edges.some((edge) => edge.from === from && edge.to === to && edge.kind === kinds[i])).toBe(true);
          });
          expect(shortest.has(cycle.model ?? '')).toBe(true);
          seen.set(cycle.model ?? '', (seen.get(cycle.model ?? '') ?? 0) + 1);
        }
        const worst = modelsBySeverity.find((model) => shortest.has(model));
        expect(modelsBySeverity.find((model) => cycles.some((cycle) => cycle.model === model))).toBe(worst);
        if (worst === undefined) return;
        const lengths = cycles.filter((cycle) => cycle.model === worst).map((cycle) => Number(cycle.facts['transactions']));
        expect(Math.min(...lengths)).toBe(shortest.get(worst));
      }),
      { numRuns: 2000 },
    );
    // The property is worth nothing where it meets no cycles.
    // G2-item-session needs two sessions that each miss the other: too rare among random ones to count on; the golden histories have it.
    for (const model of modelsBySeverity) if (model !== 'G2-item-session') expect(seen.get(model) ?? 0).toBeGreaterThan(0);
  });

  it('tells aborted, intermediate and inconsistent own reads exactly where they are', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const found = check(history, false)
          .filter((anomaly) => anomaly.facts['edges'] === undefined)
          // The writer, then the reader; behind them further examples.
          .map(
            (anomaly) => `${anomaly.model} ${transactionsOf(anomaly)[anomaly.model === 'internal' ? 0 : 1]} ${anomaly.objectKey?.slice(1)}`,
          );
        expect(new Set(found)).toEqual(aberrationsOf(history));
      }),
      { numRuns: 1000 },
    );
  });

  it('tells the same when the history comes operation by operation', () => {
    const told = (anomalies: readonly Anomaly[]): readonly string[] => anomalies.map((anomaly) => anomaly.fingerprint).toSorted();
    fc.assert(
      fc.property(histories, (history) => {
        expect(told(check(history, true))).toEqual(told(check(history, false)));
      }),
      { numRuns: 500 },
    );
  });
});
