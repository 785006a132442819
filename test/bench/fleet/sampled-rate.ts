import { createRng } from '../../../src/base/rng.ts';
import { createDetection } from '../../../src/detect/run.ts';
import { exampleOperations, type Step } from '../../../src/detect/example.ts';

const happenings = 20_000;

/**
 * How far the estimate from a sample of keys is from the truth, relative: 20,000 requests of which every second is a dual write, and 20,000
 * objects of which every fourth loses an update. What is counted on the sample, divided by the share that each finding states.
 */
export function sampledRateError(seed: number, share: number): { readonly traces: number; readonly objects: number } {
  const rng = createRng(seed).fork('sampled');
  const detection = createDetection({ share });
  let unsafe = 0;
  let lost = 0;
  let counted = 0;
  let found = 0;
  const latest = new Map<string, { readonly kind: string; readonly grade: string; readonly times: number }>();
  for (let nth = 0; nth < happenings; nth += 1) {
    const at = nth * 20;
    const id = `${nth}-${rng.int(1_000_000)}`;
    const isUnsafe = rng.next() < 0.5;
    const isLost = rng.next() < 0.25;
    if (isUnsafe) unsafe += 1;
    if (isLost) lost += 1;
    const trace = `t${id}`;
    const steps: Step[] = [
      { kind: 'request', trace, span: `${id}r`, at, lasts: 10, target: 'POST /orders' },
      { kind: 'append', trace, span: `${id}w`, parent: `${id}r`, at: at + 1, target: 'orders' },
      ...(isUnsafe ? [{ kind: 'publish', trace, span: `${id}p`, parent: `${id}r`, at: at + 5, target: 'placed' } as const] : []),
      ...[1n, 2n].map(
        (writer): Step => ({
          kind: 'write',
          trace: `o${id}${writer}`,
          span: `${id}o${writer}`,
          at: at + 10 * Number(writer),
          target: 'stock',
          facts: { objectType: 'stock', objectKey: id, version: 10n + writer, versionBase: isLost || writer === 1n ? 10n : 11n },
        }),
      ),
    ];
    detection.add(exampleOperations(steps));
    for (const { fingerprint, kind, grade, count, sampledShare } of detection.advanceToLateness())
      latest.set(fingerprint, { kind, grade, times: count / sampledShare });
  }
  for (const { fingerprint, kind, grade, count, sampledShare } of detection.finish())
    latest.set(fingerprint, { kind, grade, times: count / sampledShare });
  for (const { kind, grade, times } of latest.values()) {
    if (kind === 'dual-write' && grade === 'structural') counted += times;
    if (kind === 'lost-update') found += times;
  }
  return { traces: Math.abs(counted - unsafe) / unsafe, objects: Math.abs(found - lost) / lost };
}
