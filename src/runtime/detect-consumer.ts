import type { Clock } from '../base/clock.ts';
import type { ClientLegs } from '../forecast/client-legs.ts';
import type { FeaturePoint } from '../forecast/features.ts';
import type { TracedLook } from '../forecast/read-looks.ts';
import type { BatchConsumer } from './batch-consumer.ts';
import type { DetectCounts, DetectReport, DetectStageOptions } from './detect-stage.ts';
import { type DetectThread, openDetectThread } from './detect-thread.ts';

export interface DetectConsumer extends BatchConsumer {
  drainFeatures(nowMs: number): Promise<readonly FeaturePoint[]>;
  drainLooks(): Promise<readonly TracedLook[]>;
  drainLegs(): Promise<readonly ClientLegs[]>;
  readonly counts: DetectCounts | undefined;
  /** Lets the thread do what is due, takes its last report, ends it. */
  close(): Promise<void>;
}

export interface DetectConsumerOptions {
  readonly stage: DetectStageOptions;
  readonly clock: Clock;
  readonly onReport: (report: DetectReport) => void;
  /** As far as what was reported is kept for good. */
  readonly settled: () => number;
  /** The thread died; what is being done about it, in a sentence. */
  readonly onDeath: (says: string) => void;
  /** Most that the thread's old generation may hold, MiB; a thread that needs more dies. */
  readonly heapMb?: number;
}

/** Bytes handed to the thread and not taken by it; beyond it payloads wait in the journal. */
const mostBytesInFlight = 16 * 1024 * 1024;
/** A thread that died is started again after this long, twice as long each time it dies soon. */
const restartAfterMs = 1_000;
const restartAfterAtMostMs = 60_000;

/** The detectors' thread as a consumer of decoded payloads: bounded in what it is handed, and started again should it die. */
export function openDetectConsumer(options: DetectConsumerOptions): DetectConsumer {
  const { clock } = options;
  let thread: DetectThread | undefined;
  let restart: NodeJS.Timeout | undefined;
  let deaths = 0;
  let again: () => void = () => undefined;
  let wanted: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  const hasRoom = (): boolean => thread !== undefined && thread.bytesInFlight < mostBytesInFlight;
  const offerRoom = (): void => {
    if (!hasRoom()) return;
    wanted?.resolve();
    wanted = undefined;
  };

  const open = (): void => {
    const openedAtMs = clock.monotonicMs();
    thread = openDetectThread({
      stage: options.stage,
      ...(options.heapMb === undefined ? {} : { heapMb: options.heapMb }),
      onReport: (report) => {
        options.onReport(report);
        offerRoom();
      },
      onDeath: (error) => {
        thread = undefined;
        deaths = clock.monotonicMs() - openedAtMs > restartAfterAtMostMs ? 1 : deaths + 1;
        const waitMs = Math.min(restartAfterMs * 2 ** (deaths - 1), restartAfterAtMostMs);
        options.onDeath(`${error.message}; it is started again in ${waitMs / 1000} s and gets from the journal what it had`);
        restart = setTimeout(() => {
          open();
          again();
          offerRoom();
        }, waitMs);
      },
    });
  };
  open();

  return {
    room: () => {
      if (hasRoom()) return Promise.resolve();
      wanted ??= Promise.withResolvers<void>();
      return wanted.promise;
    },
    take: (sequence, packed, strings) => {
      if (packed !== undefined) thread?.send(sequence, packed, strings);
    },
    get settled() {
      return options.settled();
    },
    // What a thread that dies meanwhile had is in the journal, and whoever waits to shut down has nothing more to wait for.
    idle: async () => thread?.sync().catch(() => undefined),
    get duplicateSpans() {
      return thread?.counts?.duplicateSpans ?? 0;
    },
    get operations() {
      return thread?.counts?.operations ?? 0;
    },
    onLost: (callback) => {
      again = callback;
    },
    drainFeatures: (nowMs) => thread?.drainFeatures(nowMs) ?? Promise.resolve([]),
    drainLooks: () => thread?.drainLooks() ?? Promise.resolve([]),
    drainLegs: () => thread?.drainLegs() ?? Promise.resolve([]),
    get counts() {
      return thread?.counts;
    },
    close: async () => {
      clearTimeout(restart);
      await thread?.sync().catch(() => undefined);
      await thread?.close();
    },
  };
}
