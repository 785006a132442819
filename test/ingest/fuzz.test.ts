import { expect, test } from 'vitest';
import { fuzz } from './fuzz.ts';

const inputs = Number(process.env['FUZZ_INPUTS'] ?? 40_000);
const seed = process.env['SEED'] ?? String(Date.now());

// `npm run bench -- fuzz` runs a million of them and looks at time and memory too.
test(`${inputs} damaged requests are decoded or refused, and nothing is thrown (SEED=${seed})`, { timeout: 120_000 }, () => {
  let last: { readonly target: string; readonly bytes: Buffer } | undefined;
  try {
    const fuzzed = fuzz({ seed, inputs, onInput: (target, bytes) => (last = { target, bytes }) });
    expect(fuzzed.inputs).toBe(inputs);
    // Damage that always breaks a request, or never, would test half of the code.
    expect(fuzzed.malformed / inputs).toBeGreaterThan(0.2);
    expect(fuzzed.malformed / inputs).toBeLessThan(0.9);
    expect(fuzzed.operations).toBeGreaterThan(inputs / 4);
  } catch (error) {
    throw new Error(`${last?.target} of ${last?.bytes.length} bytes: ${last?.bytes.toString('base64').slice(0, 2000)}`, { cause: error });
  }
});
