import { expect, test } from 'vitest';
import { exampleOperations } from '../../src/detect/example.ts';
import { TracesAhead, tracesAtOnce } from '../../src/detect/traces-ahead.ts';
import { viewTrace } from '../../src/detect/trace-view.ts';

test('traces come out in the order in which they went in, and once it is empty as many fit again', () => {
  const ahead = new TracesAhead();
  const view = viewTrace('a', exampleOperations([{ kind: 'request', at: 0 }]));
  for (let round = 0; round < 3; round += 1) {
    const added: number[] = [];
    for (; !ahead.isFull; added.push(round * 1000 + added.length)) ahead.add(view, round * 1000 + added.length);
    expect(added).toHaveLength(tracesAtOnce);
    expect(ahead.views).toHaveLength(tracesAtOnce);
    const taken: number[] = [];
    for (; !ahead.isEmpty; expect(ahead.take()).toBe(view)) taken.push(ahead.nextUs);
    expect(taken).toEqual(added);
    expect(ahead.take()).toBeUndefined();
    expect(ahead.nextUs).toBe(Number.POSITIVE_INFINITY);
  }
});
