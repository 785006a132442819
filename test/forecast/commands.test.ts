import { expect, it } from 'vitest';
import { waitCommands } from '../../src/forecast/commands.ts';

it.each([
  [1, 3, 3, 'ONE', 'ALL'],
  [2, 2, 3, 'QUORUM', 'QUORUM'],
  [2, 4, 6, 'TWO', 'QUORUM'],
  [3, 3, 8, 'THREE', 'THREE'],
  [2, 1, 2, 'ALL', 'ONE'],
])('reads of %i and writes of %i of %i replicas are what Cassandra calls %s and %s', (reads, writes, replicas, r, w) => {
  const [cassandra] = waitCommands(reads, writes, replicas);
  expect(cassandra).toContain(`CONSISTENCY ${r} for reads and CONSISTENCY ${w} for writes`);
});

it('no Cassandra level is made up where none waits for so many', () => {
  expect(waitCommands(1, 4, 5).join()).not.toContain('Cassandra');
});
