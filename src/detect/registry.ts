import type { Detector } from './detector.ts';
import { crossStoreWrite } from './detectors/cross-store-write.ts';
import { dualWrite } from './detectors/dual-write.ts';
import { duplicateConsume } from './detectors/duplicate-consume.ts';
import { isolation } from './detectors/isolation.ts';
import { lostUpdate } from './detectors/lost-update.ts';
import { lostUpdateRisk } from './detectors/lost-update-risk.ts';
import { nonMonotonicRead } from './detectors/non-monotonic-read.ts';
import { notificationBeforeObject } from './detectors/notification-before-object.ts';
import { orphanMessage } from './detectors/orphan-message.ts';
import { outOfOrderConsume } from './detectors/out-of-order-consume.ts';
import { outboxLag } from './detectors/outbox-lag.ts';
import { partialWrite } from './detectors/partial-write.ts';
import { readYourWrites } from './detectors/read-your-writes.ts';
import { replicaReadAfterWrite } from './detectors/replica-read-after-write.ts';
import { retryWithoutIdempotency } from './detectors/retry-without-idempotency.ts';
import { sagaUncompensated } from './detectors/saga-uncompensated.ts';
import { staleRead } from './detectors/stale-read.ts';
import { versionFork } from './detectors/version-fork.ts';
import { writeContention } from './detectors/write-contention.ts';

/** Every detector. A new one is one new file and one line here; the conformance suite, the docs and the config read the list. */
export const detectors: readonly Detector[] = [
  dualWrite,
  crossStoreWrite,
  partialWrite,
  duplicateConsume,
  retryWithoutIdempotency,
  sagaUncompensated,
  writeContention,
  lostUpdateRisk,
  lostUpdate,
  replicaReadAfterWrite,
  staleRead,
  nonMonotonicRead,
  readYourWrites,
  notificationBeforeObject,
  outOfOrderConsume,
  orphanMessage,
  versionFork,
  isolation,
  outboxLag,
];
