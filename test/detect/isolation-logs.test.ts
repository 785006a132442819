import { describe, expect, it } from 'vitest';
import { isolation } from '../../src/detect/detectors/isolation.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';
import { firstLogIndex } from '../../src/domain/operation.ts';

const log = firstLogIndex + 12_345;
const place = { trace: 't', span: 'one', lasts: 0 } as const;
const step = (kind: 'read' | 'write', version: bigint, at: number, index: number): Step => ({
  ...place,
  kind,
  at,
  index,
  facts: { objectType: 'row', objectKey: 'k', version, transactionId: 'T', ...(kind === 'write' ? { versionBase: 1n } : {}) },
});

function modelsOf(...steps: readonly Step[]): readonly string[] {
  const detection = createDetection({ only: [isolation] });
  detection.add(exampleOperations(steps));
  return detection.finish().map((anomaly) => anomaly.model ?? '');
}

describe('a transaction told by events and log records of one span', () => {
  it('did not miss its own write because a log record of its read has a higher number than the event of the write', () => {
    expect(modelsOf(step('write', 2n, 10, 1), step('read', 1n, 10, log))).toEqual([]);
    // A logger that knows milliseconds alone: the write may have come after this read.
    expect(modelsOf(step('write', 2n, 10, log), step('read', 1n, 10.4, 1))).toEqual([]);
  });

  it('missed its own write where the times say so, whatever the numbers of its log records', () => {
    expect(modelsOf(step('write', 2n, 10, log), step('read', 1n, 12, firstLogIndex + 1))).toEqual(['internal']);
    expect(modelsOf(step('write', 2n, 10, 1), step('read', 1n, 30, log))).toEqual(['internal']);
    expect(modelsOf(step('write', 2n, 10, log), step('read', 1n, 30, 1))).toEqual(['internal']);
  });

  it('goes by the places of events, which have an order at one time too', () => {
    expect(modelsOf(step('write', 2n, 10, 1), step('read', 1n, 10, 2))).toEqual(['internal']);
    expect(modelsOf(step('read', 1n, 10, 1), step('write', 2n, 10, 2))).toEqual([]);
  });
});
