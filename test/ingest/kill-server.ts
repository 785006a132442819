import { appendFileSync } from 'node:fs';
import { systemClock } from '../../src/base/clock.ts';
import { openLmdbJournal } from '../../src/io/journal/lmdb.ts';
import { startIngest } from '../../src/runtime/ingest-loop.ts';

/** The process that the kill test kills: journal in argv[2], one span id a line to argv[3] as operations are processed. Prints its port. */
const [, , directory = '', processed = ''] = process.argv;
const journal = await openLmdbJournal({ directory });
const ingest = await startIngest({
  host: '127.0.0.1',
  httpPort: 0,
  grpcPort: null,
  journal,
  clock: systemClock,
  // Shorter than a round, so that checkpoints happen under load too.
  replayWindowMs: 100,
  onOperations: async (operations) => {
    // A consumer that is slower than the sender, so that a kill always finds a backlog.
    await new Promise((resolve) => setTimeout(resolve, 5));
    appendFileSync(processed, operations.map((operation) => `${operation.spanId}\n`).join(''));
  },
  onFailure: (error) => console.error(error),
});
process.on('message', () => {
  void ingest.idle().then(() => process.send?.('idle'));
});
process.stdout.write(`${ingest.httpPort}\n`);
