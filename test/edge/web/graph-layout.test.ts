import fc from 'fast-check';
import { expect, test } from 'vitest';
import { box, layOut } from '../../../src/edge/web/graph-layout.ts';

const node = fc.nat(9).map((number) => `service ${number}`);
const graph = fc.uniqueArray(fc.record({ from: node, to: node }), {
  minLength: 1,
  maxLength: 25,
  selector: ({ from, to }) => `${from}>${to}`,
});

test('no two boxes of the service graph overlap, and a line that goes forward passes beside the boxes of the columns between', () => {
  fc.assert(
    fc.property(graph, (lines) => {
      const { nodes, ways, width, height } = layOut(lines);
      const boxes = [...nodes];
      for (const [one, a] of boxes) {
        expect(a.x + box.width).toBeLessThanOrEqual(width);
        expect(a.y + box.height).toBeLessThanOrEqual(height);
        for (const [other, b] of boxes) if (one !== other && a.x === b.x) expect(Math.abs(a.y - b.y)).toBeGreaterThanOrEqual(box.height);
      }
      for (const { line, points } of ways) {
        const [start, end] = [nodes.get(line.from), nodes.get(line.to)];
        if (start === undefined || end === undefined) throw new Error('every line has its nodes');
        if (end.x <= start.x) continue;
        for (const { x, y } of points.slice(1, -1))
          for (const [, at] of boxes)
            expect(x >= at.x && x <= at.x + box.width && y > at.y && y < at.y + box.height, JSON.stringify({ x, y, at })).toBe(false);
      }
    }),
    { numRuns: 300 },
  );
});

test('a chain takes a column for each step, and a call back leaves it so', () => {
  const { nodes } = layOut([
    { from: 'service a', to: 'service b' },
    { from: 'service b', to: 'store c' },
    { from: 'service b', to: 'service a' },
    { from: 'service a', to: 'store c' },
  ]);
  expect(['service a', 'service b', 'store c'].map((name) => nodes.get(name)?.x)).toEqual([0, 210, 420]);
});
