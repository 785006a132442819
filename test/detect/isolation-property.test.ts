import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isolation } from '../../src/detect/detectors/isolation.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';

type Action = { readonly transaction: number; readonly key: number; readonly isWrite: boolean };

const actions = fc.array(fc.record({ transaction: fc.nat(5), key: fc.nat(3), isWrite: fc.boolean() }), { minLength: 2, maxLength: 30 });

/** What a store that keeps one version per key, and gives each transaction what `see` says, would record. */
function record(order: readonly Action[], isSnapshot: boolean): readonly Step[] {
  const versions = new Map<number, number>();
  const started = new Map<number, Map<number, number>>();
  const written = new Map<string, number>();
  return order.map(({ transaction, key, isWrite }, at) => {
    if (!started.has(transaction)) started.set(transaction, new Map(versions));
    const snapshot = isSnapshot ? started.get(transaction) : versions;
    const own = written.get(`${transaction}/${key}`);
    const seen = own ?? snapshot?.get(key) ?? 0;
    let version = seen;
    if (isWrite) {
      version = (versions.get(key) ?? 0) + 1;
      versions.set(key, version);
      written.set(`${transaction}/${key}`, version);
    }
    const facts = { objectType: 'row', objectKey: `k${key}`, version: BigInt(version), transactionId: `T${transaction}` };
    return { kind: isWrite ? 'write' : 'read', at: at * 10, trace: `t${transaction}`, span: `s${at}`, facts } satisfies Step;
  });
}

function modelsOf(steps: readonly Step[]): readonly string[] {
  const detection = createDetection({ only: [isolation] });
  detection.add(exampleOperations(steps));
  return detection.finish().map((anomaly) => anomaly.model ?? '');
}

describe('isolation against stores that keep their promise', () => {
  it('finds nothing in a serial history', () => {
    fc.assert(
      fc.property(actions, (unordered) => {
        const serial = unordered.toSorted((a, b) => a.transaction - b.transaction);
        expect(modelsOf(record(serial, false))).toEqual([]);
      }),
    );
  });

  it('finds at most write skew under snapshot isolation with one writer per key', () => {
    fc.assert(
      fc.property(actions, (interleaved) => {
        // Each key belongs to one writing transaction, so first-committer-wins never has to abort one; each writes a key once.
        const seen = new Set<string>();
        const allowed = interleaved.filter(({ transaction, key, isWrite }) => {
          if (!isWrite) return true;
          const isFirst = transaction === key && !seen.has(`${key}`);
          seen.add(`${key}`);
          return isFirst;
        });
        for (const model of modelsOf(commitLate(allowed))) expect(model).toMatch(/^G2-item/);
      }),
    );
  });
});

/** Snapshot isolation: writes become visible, and are recorded, only when their transaction has done everything else. */
function commitLate(order: readonly Action[]): readonly Step[] {
  const last = new Map(order.map((action, at) => [action.transaction, at]));
  const committedAt = (transaction: number): number => last.get(transaction) ?? 0;
  const firstAt = new Map<number, number>();
  order.forEach((action, at) => {
    if (!firstAt.has(action.transaction)) firstAt.set(action.transaction, at);
  });
  const writers = new Map(order.filter((action) => action.isWrite).map((action) => [action.key, action.transaction]));
  const ownWrites = new Set<string>();
  return order.map(({ transaction, key, isWrite }, at) => {
    if (isWrite) ownWrites.add(`${transaction}/${key}`);
    const writer = writers.get(key);
    const isVisible = writer !== undefined && writer !== transaction && committedAt(writer) < (firstAt.get(transaction) ?? 0);
    const version = isWrite || ownWrites.has(`${transaction}/${key}`) || isVisible ? 1n : 0n;
    const facts = { objectType: 'row', objectKey: `k${key}`, version, transactionId: `T${transaction}` };
    return { kind: isWrite ? 'write' : 'read', at: at * 10, trace: `t${transaction}`, span: `s${at}`, facts } satisfies Step;
  });
}
