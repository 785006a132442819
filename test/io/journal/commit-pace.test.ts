import { expect, test } from 'vitest';
import { CommitPace } from '../../../src/io/journal/commit-pace.ts';

const turnOfTheLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a record that comes a while after the last commit is put at once, one that follows close upon it waits', async () => {
  const pace = new CommitPace(60_000);
  const put: string[] = [];
  void pace.turn().then(() => put.push('alone'));
  await turnOfTheLoop();
  expect(put).toEqual(['alone']);
  void pace.turn().then(() => put.push('close upon it'));
  await turnOfTheLoop();
  expect(put).toEqual(['alone']);
});

test('records that wait are put together, in the order in which they came', async () => {
  const pace = new CommitPace(5);
  await pace.turn();
  const put: number[] = [];
  const waiting = [0, 1, 2].map((record) => pace.turn().then(() => put.push(record)));
  await waiting[0];
  // Nothing but microtasks has run since.
  expect(put).toEqual([0, 1, 2]);
});
