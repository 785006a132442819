import fc from 'fast-check';
import { expect, it } from 'vitest';
import { exampleOperations } from '../../src/detect/example.ts';
import type { KeyedStep } from '../../src/detect/keyed-step.ts';
import { VersionRecords } from '../../src/detect/object-records.ts';
import { SessionHistory } from '../../src/detect/session-history.ts';
import { createVersionOrder } from '../../src/detect/version-order.ts';

const [operation] = exampleOperations([{ kind: 'write', at: 0, trace: 'a', facts: { objectType: 'order', objectKey: '1' } }]);
const versions = createVersionOrder();
const sessions = new SessionHistory(1, 1);

function stepOn(object: number): KeyedStep {
  const facts = operation?.facts;
  if (operation === undefined || facts === undefined) throw new Error('the example has no operation with facts');
  return {
    operation,
    facts,
    object,
    objectLow: object + 7,
    objectHigh: object * 3,
    pairLow: 0,
    pairHigh: 0,
    isTraceSession: false,
    order: 1,
    isWrite: true,
    isCommittedWrite: true,
    versions,
    goneUs: Number.NEGATIVE_INFINITY,
    goneOrder: Number.NEGATIVE_INFINITY,
    isGone: false,
    sessions,
  };
}

it('finds what a list of the last few versions of each object holds, few or many', () => {
  const perObject = 9;
  const steps = fc.array(
    fc.record({
      object: fc.constantFrom(0, 1, 2),
      version: fc.oneof(
        fc.nat(24).map((n) => BigInt(n)),
        fc.nat(3).map((n) => `v${n}`),
      ),
      forgets: fc.integer({ min: 0, max: 30 }).map((n) => n === 0),
    }),
    { maxLength: 300 },
  );
  fc.assert(
    fc.property(steps, (list) => {
      const gone: number[] = [];
      const records = new VersionRecords(perObject, (row) => gone.push(row));
      const model = new Map<number, { readonly version: bigint | string; readonly row: number }[]>();
      for (const { object, version, forgets } of list) {
        const known = model.get(object) ?? [];
        if (forgets) {
          records.forget(object);
          expect(gone.splice(0)).toEqual(known.map(({ row }) => row));
          model.set(object, []);
          continue;
        }
        const step = stepOn(object);
        const found = records.find(step, version);
        expect(found).toBe(known.find((one) => one.version === version)?.row ?? -1);
        if (found >= 0) continue;
        const kept = [...known, { version, row: records.keep(step) }];
        expect(gone.splice(0)).toEqual(kept.slice(0, -perObject).map(({ row }) => row));
        model.set(object, kept.slice(-perObject));
      }
      // Nothing is left of what was forgotten.
      for (const object of model.keys()) records.forget(object);
      expect(records.bytes).toBe(records.records.bytes);
    }),
    { numRuns: 300 },
  );
});
