import { describe, expect, it } from 'vitest';
import { sagaUncompensated } from '../../src/detect/detectors/saga-uncompensated.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';

const saga = { sagaId: 'b-1', sagaName: 'booking' };
const halfBooked: readonly Step[] = [
  { kind: 'saga-step', at: 0, service: 'trips', facts: { ...saga, sagaStep: 'flight', sagaOutcome: 'committed' } },
  {
    kind: 'saga-step',
    at: 40,
    service: 'trips',
    failed: true,
    facts: { ...saga, sagaStep: 'car', sagaOutcome: 'failed', transactionOutcome: 'aborted' },
  },
];

function found(endsMs: number): readonly Anomaly[] {
  const detection = createDetection({ only: [sagaUncompensated] });
  detection.add(exampleOperations([...halfBooked, { kind: 'request', at: endsMs, service: 'trips', trace: 'another' }]));
  return detection.finish();
}

describe('a saga that failed at the end of a recording', () => {
  it('is left open where the recording ends before a compensation was due, and proves nothing', () => {
    expect(found(9_540)).toMatchObject([
      {
        grade: 'risk',
        complete: false,
        explanation: expect.stringContaining('Undecided: the recording ends 9.5 s after the failure, and a compensation has 30 s.'),
      },
    ]);
  });

  it('is proven where it ends later', () => {
    const [anomaly] = found(40_000);
    expect(anomaly).toMatchObject({ grade: 'proven', complete: true });
    expect(anomaly?.explanation).not.toContain('Undecided');
  });
});
