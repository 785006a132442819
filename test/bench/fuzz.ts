import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { fuzz } from '../ingest/fuzz.ts';
import type { Bench } from './bench.ts';

/** A drill rather than a bench: a million damaged requests; nothing may be thrown, take long, or stay in memory. */
export const bench: Bench = {
  name: 'fuzz',
  says: 'damaged traces, logs, metrics and JSON through the decoders: what is thrown, the slowest, the memory that stays',
  run: async ({ quick, log }) => {
    const inputs = quick ? 200_000 : 1_000_000;
    const seed = process.env['SEED'] ?? 'fuzz';
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const from = process.cpuUsage();
    const fuzzed = fuzz({ seed, inputs, collect });
    const used = process.cpuUsage(from);
    log(`${inputs} inputs (SEED=${seed}): ${fuzzed.malformed} refused, ${fuzzed.operations} operations, none thrown`);
    return {
      figures: {
        inputs,
        thrown: 0,
        refused_share: fuzzed.malformed / inputs,
        slowest_ms: fuzzed.slowestMs,
        grown_mb: fuzzed.grownMb ?? Number.NaN,
        inputs_per_cpu_s: inputs / ((used.user + used.system) / 1e6),
      },
      baseline: {},
    };
  },
};
