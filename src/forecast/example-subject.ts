import { createRng } from '../base/rng.ts';
import type { BucketHistory, Subject } from './suggester.ts';

/** Two days of a shop whose evening rush doubles what one range carries; what each suggester's example starts from. */
export function exampleSubject(): Subject {
  const rng = createRng('split-example');
  const steps = 576;
  const buckets = 8;
  const load = Array.from({ length: steps }, (_, i) => 60 + 50 * Math.max(0, Math.sin((2 * Math.PI * i) / 288)) + 4 * rng.normal());
  const history: BucketHistory[] = Array.from({ length: buckets }, (_, bucket) => ({
    bucket,
    region: 'eu',
    operations: load.map((value) => value / buckets),
    writes: load.map((value) => value / buckets / 4),
    hottestKeyShare: load.map(() => 0.05),
    crossings: load.map(() => 0),
  }));
  return {
    collection: {
      name: 'orders',
      domain: 'shop',
      key: ['id'],
      columnClasses: {},
      excludedColumns: [],
      invariants: [],
      replicas: [],
      scanEveryMs: 60_000,
    },
    domain: {
      name: 'shop',
      consistency: 'eventual',
      stalenessMs: 30_000,
      residency: ['eu', 'us'],
      risk: 'low',
      repair: { mode: 'auto', approvals: 1, rowsPerHour: 500, undoHours: 24, approvalExpiryMinutes: 60 },
      llm: { enabled: false, rawValues: false, tokensPerDay: 0 },
    },
    stepMs: 300_000,
    nowMs: 1_700_000_000_000,
    buckets,
    history,
    latencyP95Ms: load.map((value) => (value > 80 ? 40 : 8)),
    conflicts: load.map(() => 0),
    readTripMs: new Map(),
    forecasts: [],
    rng,
  };
}
