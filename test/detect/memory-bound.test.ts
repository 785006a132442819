import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Hash64 } from '../../src/base/hash64.ts';
import { lostUpdate } from '../../src/detect/detectors/lost-update.ts';
import { orphanMessage } from '../../src/detect/detectors/orphan-message.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createExpiringMap } from '../../src/detect/expiring-map.ts';
import { createDetection } from '../../src/detect/run.ts';
import { isHashSampled } from '../../src/detect/sample.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';

describe('memory', () => {
  it('of objects stays in its bound by looking at fewer, all of whose findings are found, with the share told', () => {
    const maxKeyBytes = 200_000;
    const detection = createDetection({ only: [lostUpdate], maxKeyBytes, latenessMs: 1 });
    const found: Anomaly[] = [];
    const count = 8000;
    let most = 0;
    for (let from = 0; from < count; from += 500) {
      const steps = Array.from({ length: 1000 }, (_, i): Step => {
        const object = from + (i >> 1);
        const facts = { objectType: 'account', objectKey: `a${object}`, version: BigInt(5 + (i & 1)), versionBase: 4n };
        return { kind: 'write', at: object * 10 + (i & 1) * 3, trace: `t${from}-${i}`, span: `s${i}`, facts };
      });
      detection.add(exampleOperations(steps));
      found.push(...detection.advanceToLateness());
      most = Math.max(most, detection.stats.stateBytes);
    }
    found.push(...detection.finish());
    const { keyShare } = detection.stats;
    expect(keyShare).toBeLessThan(1);
    // The bound is looked at now and then.
    expect(most).toBeLessThan(maxKeyBytes * 3);
    const hash = new Hash64();
    const sampled = Array.from({ length: count }, (_, nth) => `a${nth}`).filter((key) =>
      isHashSampled(hash.start().text('account').text(key).end().low, keyShare),
    );
    const keys = new Set(found.map((anomaly) => anomaly.objectKey));
    expect(sampled.filter((key) => !keys.has(key))).toEqual([]);
    expect(found.at(-1)?.sampledShare).toBe(keyShare);
    expect(found.at(-1)?.explanation).toContain('% of the keys');
  });

  it('of finished traces is bounded by looking at fewer', () => {
    const detection = createDetection({ only: [orphanMessage], maxHeldBytes: 100_000, latenessMs: 1, traceIdleMs: 1 });
    for (let second = 0; second < 200; second += 1) {
      const steps = Array.from({ length: 100 }, (_, i): Step => {
        return { kind: 'publish', at: second * 1000 + i * 10, trace: `m${second}-${i}`, span: 'p', target: 'orders' };
      });
      detection.add(exampleOperations(steps));
      detection.advanceToLateness();
    }
    const { traceShare, heldBytes } = detection.stats;
    // First messages that nobody takes are forgotten sooner, then fewer traces are looked at.
    expect(traceShare).toBeLessThan(1);
    expect(heldBytes).toBeGreaterThan(10_000);
    // Unbounded it would be two megabytes.
    expect(heldBytes).toBeLessThan(200_000);
  });

  it('of an expiring map holds what a list of times says', () => {
    const steps = fc.array(
      fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), does: fc.constantFrom('set', 'get', 'delete', 'sweep'), waits: fc.nat(60) }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(steps, (list) => {
        const map = createExpiringMap<number>(100);
        const model = new Map<string, { value: number; lastUs: number }>();
        let atUs = 0;
        list.forEach(({ key, does, waits }, value) => {
          atUs += waits;
          const known = model.get(key);
          const isThere = known !== undefined && atUs - known.lastUs <= 100;
          if (does === 'set') {
            map.set(key, value, atUs);
            model.set(key, { value, lastUs: atUs });
          } else if (does === 'get') {
            expect(map.get(key, atUs)).toBe(isThere ? known.value : undefined);
            if (isThere) known.lastUs = atUs;
          } else if (does === 'delete') {
            map.delete(key);
            model.delete(key);
          } else map.sweep(atUs);
        });
      }),
    );
  });
});
