import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RowChains } from '../../src/base/row-chains.ts';
import { Rows } from '../../src/base/rows.ts';

test('two sets of chains through the rows of one table are two maps, whatever collides, grows and is removed', () => {
  const key = fc.record({ low: fc.integer({ min: -40, max: 40 }), high: fc.integer({ min: 1, max: 4 }) });
  const steps = fc.array(fc.record({ first: key, second: key, isRemoved: fc.boolean() }), { maxLength: 400, size: 'max' });
  fc.assert(
    fc.property(steps, (list) => {
      const stride = 8;
      const rows = new Rows(stride, 2);
      const indexes = [new RowChains(rows, stride, 1), new RowChains(rows, stride, 4)] as const;
      const models = [new Map<string, number>(), new Map<string, number>()] as const;
      for (const { first, second, isRemoved } of list) {
        const known = models[0].get(`${first.low}/${first.high}`);
        if (known === undefined && !isRemoved) {
          const row = rows.take();
          rows.words[row * stride + 7] = row;
          indexes[0].add(first.low, first.high, row);
          models[0].set(`${first.low}/${first.high}`, row);
          const name = `${second.low}/${second.high}`;
          if (!models[1].has(name)) {
            indexes[1].add(second.low, second.high, row);
            models[1].set(name, row);
          }
        } else if (known !== undefined && isRemoved) {
          indexes[0].remove(known);
          models[0].delete(`${first.low}/${first.high}`);
          for (const [name, row] of models[1]) {
            if (row !== known) continue;
            indexes[1].remove(row);
            models[1].delete(name);
          }
          rows.give(known);
        }
      }
      indexes.forEach((index, nth) => {
        expect(index.size).toBe(models[nth]?.size);
        for (let low = -40; low <= 40; low += 1)
          for (let high = 1; high <= 4; high += 1) {
            const row = models[nth]?.get(`${low}/${high}`) ?? -1;
            expect(index.find(low, high)).toBe(row);
            if (row >= 0) expect(rows.words[row * stride + 7]).toBe(row);
          }
      });
    }),
    { numRuns: 100 },
  );
});
