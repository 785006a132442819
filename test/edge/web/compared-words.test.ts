import { describe, expect, it } from 'vitest';
import { type Compared, comparedWords } from '../../../src/edge/web/compared-words.ts';

const compared = (id: string, over: Partial<Compared> = {}): Compared => ({
  id,
  state: { lastScanEndedMs: 1, error: null },
  diverged: {},
  ...over,
});

describe('what an empty queue says of the replicas', () => {
  it('is that nothing is compared, where no collection is configured', () => {
    expect(comparedWords([])).toBe('No replicas are compared yet: the configuration names no collection.');
  });

  it('is that they agree only of what was compared and does not differ', () => {
    expect(comparedWords([compared('a'), compared('b')])).toBe('The replicas of all collections agreed when they were compared last.');
    const words = comparedWords([
      compared('a'),
      compared('b', { state: { lastScanEndedMs: 1, error: 'Replica us is down.' } }),
      compared('c', { state: null }),
      compared('d', { diverged: { suspected: 3 } }),
    ]);
    expect(words).toBe(
      'The last comparison of b failed: what differs there is not known. Of c no comparison has ended yet. Rows of d differ, and are being confirmed or repaired. The replicas of a agreed when they were compared last.',
    );
  });
});
