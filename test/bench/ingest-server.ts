import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { defaultConfig } from '../../src/config.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { openLmdbJournal } from '../../src/io/journal/lmdb.ts';
import { openOtlpGrpc } from '../../src/io/otlp/grpc.ts';
import { openOtlpHttp } from '../../src/io/otlp/http.ts';
import type { Payload, Receipt } from '../../src/io/otlp/payload.ts';
import { openDetectConsumer } from '../../src/runtime/detect-consumer.ts';
import { detectStageOptions } from '../../src/runtime/detect-options.ts';
import { startIngest } from '../../src/runtime/ingest-loop.ts';

/**
 * The servers that the `ingest` bench loads, one a process: prints its ports as one JSON line, ends on SIGTERM.
 * `decode`: the receivers and the decoder. `full`: journal, dedupe and all detectors too. `baseline`: @grpc/grpc-js and protobufjs.
 * `sink`: takes anything and answers 200.
 */
const mode = process.argv[2];
const say = (ports: { readonly http?: number; readonly grpc?: number }): void => void process.stdout.write(`${JSON.stringify(ports)}\n`);

if (mode === 'decode') {
  const decoder = new ProtobufDecoder();
  const batch = new SpanBatch();
  const onPayload = (payload: Payload): Promise<Receipt> => {
    const decoded = decoder.decode(payload.body, batch);
    return Promise.resolve(
      decoded.is === 'decoded' ? { is: 'accepted', rejected: 0, message: '' } : { is: 'malformed', message: decoded.what },
    );
  };
  const http = await openOtlpHttp({ host: '127.0.0.1', port: 0, onPayload });
  const grpc = await openOtlpGrpc({ host: '127.0.0.1', port: 0, onPayload });
  say({ http: http.port, grpc: grpc.port });
} else if (mode === 'full') {
  const directory = mkdtempSync(join(tmpdir(), 'ingest-bench-'));
  const config = defaultConfig();
  const journal = await openLmdbJournal({ directory, maxBytes: config.ingest.journalMb * 1024 * 1024 });
  let reported = 0;
  let settled = 0;
  // As `pipeline.ts` sets it up, with the config's own bounds; only the store is missing.
  const consumer = openDetectConsumer({
    // Nobody was away, so nobody is waited for.
    stage: { ...detectStageOptions(config), graceMs: 0, waitingDirectory: directory },
    clock: systemClock,
    onReport: (report) => {
      reported += report.findings.length;
      settled = Math.max(settled, report.settled);
    },
    settled: () => settled,
    onDeath: (says) => console.error(says),
  });
  const ingest = await startIngest({
    host: '127.0.0.1',
    httpPort: 0,
    grpcPort: 0,
    journal,
    clock: systemClock,
    consumer,
    onFailure: (error) => console.error(error),
  });
  process.on('SIGUSR2', () => {
    process.stdout.write(`${JSON.stringify({ reported, ...ingest.counters(), ...consumer.counts, memory: process.memoryUsage() })}\n`);
  });
  process.on('SIGTERM', () => {
    rmSync(directory, { recursive: true, force: true });
    process.exit(0);
  });
  say({ http: ingest.httpPort ?? 0, grpc: ingest.grpcPort ?? 0 });
} else if (mode === 'baseline') {
  // Only here: what the others do not use is not to be in their memory.
  const { Server, ServerCredentials } = await import('@grpc/grpc-js');
  const { traceRequestType } = await import('../ingest/otlp-proto.ts');
  const server = new Server({ 'grpc.max_receive_message_length': -1 });
  const take = (bytes: Buffer): Buffer => bytes;
  server.addService(
    {
      export: {
        path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
        requestStream: false,
        responseStream: false,
        requestSerialize: take,
        requestDeserialize: (bytes: Buffer) => traceRequestType.decode(bytes),
        responseSerialize: take,
        responseDeserialize: take,
      },
    },
    { export: (_: unknown, done: (error: null, response: Buffer) => void) => done(null, Buffer.alloc(0)) },
  );
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_, port) => say({ grpc: port }));
} else {
  const server = createServer((request, response) => {
    request.on('data', () => undefined);
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
  });
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    say({ http: address !== null && typeof address === 'object' ? address.port : 0 });
  });
}
