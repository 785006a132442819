import { expect, test } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';

test('a finding names the spans of its first case, a span of some later ones, and always one of the latest', () => {
  const detection = createDetection({ latenessMs: 0 });
  const seen: (readonly string[])[] = [];
  for (let nth = 0; nth < 9; nth += 1) {
    const trace = `case-${nth}`;
    const from = nth * 60_000;
    const by = { trace, service: 'orders' };
    const steps: Step[] = [
      { kind: 'request', span: `${trace}-root`, at: from, lasts: 90, target: 'POST /orders', ...by },
      { kind: 'transaction', parent: `${trace}-root`, at: from + 1, sql: 'begin', ...by },
      { kind: 'append', parent: `${trace}-root`, at: from + 5, target: 'orders', ...by },
      { kind: 'publish', span: `${trace}-sent`, parent: `${trace}-root`, at: from + 10, target: 'order-events', ...by },
      { kind: 'transaction', parent: `${trace}-root`, at: from + 70, sql: 'commit', ...by },
      {
        kind: 'consume',
        span: `${trace}-taken`,
        parent: `${trace}-sent`,
        at: from + 20,
        lasts: 30,
        target: 'order-events',
        trace,
        service: 'mail',
      },
      { kind: 'read', parent: `${trace}-taken`, at: from + 25, target: 'orders', rows: 0, trace, service: 'mail' },
    ];
    detection.add(exampleOperations(steps));
    const found = detection
      .advance((from + 30_000) * 1000 + 1_767_600_000_000_000)
      .find(({ kind }) => kind === 'notification-before-object');
    expect(found?.count).toBe(nth + 1);
    seen.push([...new Set(found?.spans.map(({ traceId }) => traceId))]);
  }
  // The first case has three spans, so that there are two more, the second of which goes on to the latest.
  expect(seen.map((named) => named.length)).toEqual([1, 2, 3, 3, 3, 3, 3, 3, 3]);
  expect(new Set(seen.map((named) => named.at(-1))).size).toBe(9);
  expect(new Set(seen.map((named) => named[0])).size).toBe(1);
});
