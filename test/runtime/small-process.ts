import { startConsumer } from './started-consumer.ts';

/** Ingestion whose detectors' thread may hold 10 MiB, its journal in argv[2]. Sends its port, then what it says about each death. */
const { port } = await startConsumer(process.argv[2] ?? '', { heapMb: 10, onDeath: (says) => process.send?.(says) });
process.send?.(port);
