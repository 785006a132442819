import { expect, test } from 'vitest';
import { runLagDrill } from '../bench/incremental/lag-drill.ts';

// A bounded version of the bench's drill (30 s of lag, 500 writes a second).
test('while a follower lags, what is really different is confirmed and nothing else (I13)', { timeout: 180_000 }, async () => {
  const drill = await runLagDrill({ seconds: 6, maxLagMs: 1_500, writesPerSecond: 100, injectEveryMs: 250, log: () => undefined });
  expect(drill.injected).toBeGreaterThan(10);
  expect({ wrong: drill.wrong, missed: drill.missed }).toEqual({ wrong: [], missed: [] });
});
