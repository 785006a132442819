import { systemClock } from '../../src/base/clock.ts';
import { defaultConfig } from '../../src/config.ts';
import { openLmdbJournal } from '../../src/io/journal/lmdb.ts';
import { type DetectConsumer, openDetectConsumer } from '../../src/runtime/detect-consumer.ts';
import { detectStageOptions } from '../../src/runtime/detect-options.ts';
import { type Ingest, startIngest } from '../../src/runtime/ingest-loop.ts';

export interface Running {
  readonly port: number;
  readonly ingest: Ingest;
  readonly consumer: DetectConsumer;
  readonly deaths: string[];
  readonly close: () => Promise<void>;
}

/** Ingestion with the detectors’ thread behind it, on a free port, its journal in `directory`. */
export async function startConsumer(
  directory: string,
  options: {
    readonly heapMb?: number;
    readonly around?: (consumer: DetectConsumer) => DetectConsumer;
    readonly onDeath?: (says: string) => void;
  } = {},
): Promise<Running> {
  const journal = await openLmdbJournal({ directory });
  const deaths: string[] = [];
  let settled = 0;
  const consumer = openDetectConsumer({
    stage: { ...detectStageOptions(defaultConfig()), latenessMs: 200, graceMs: 0 },
    clock: systemClock,
    onReport: (report) => {
      settled = Math.max(settled, report.settled);
    },
    settled: () => settled,
    onDeath: (says) => {
      deaths.push(says);
      options.onDeath?.(says);
    },
    ...(options.heapMb === undefined ? {} : { heapMb: options.heapMb }),
  });
  const ingest = await startIngest({
    host: '127.0.0.1',
    httpPort: 0,
    grpcPort: null,
    journal,
    clock: systemClock,
    consumer: options.around?.(consumer) ?? consumer,
    onFailure: (error) => deaths.push(String(error)),
  });
  const close = async (): Promise<void> => {
    await ingest.close();
    await consumer.close();
    await journal.close();
  };
  return { port: ingest.httpPort ?? 0, ingest, consumer, deaths, close };
}
