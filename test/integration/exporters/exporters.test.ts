import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { openMemoryJournal } from '../../../src/io/journal/memory.ts';
import { type Ingest, startIngest } from '../../../src/runtime/ingest-loop.ts';
import { prepareGo, preparePython } from './prepared-senders.ts';
import { runAside } from './run-aside.ts';
import { sendWithJavaScript } from './send-js.ts';

/**
 * The exporters that people have: the real SDKs of JavaScript, Python and Go send a known number of spans; all must come out. Python's and Go's
 * are fetched from their registries once, into node_modules/.cache; where that cannot be done their tests are skipped, by name.
 */
const here = dirname(fileURLToPath(import.meta.url));
const count = 1_500;

const [python, go] = await Promise.all([preparePython(), prepareGo()]);

let ingest: Ingest;
const seen = new Map<string, Set<string>>();

beforeAll(async () => {
  ingest = await startIngest({
    host: '127.0.0.1',
    httpPort: 0,
    grpcPort: 0,
    journal: openMemoryJournal(),
    clock: systemClock,
    onOperations: (operations) => operations.forEach(remember),
    onFailure: (error) => {
      throw error;
    },
  });
});

afterAll(async () => {
  await ingest.close();
});

function remember(operation: Operation): void {
  const spans = seen.get(operation.service) ?? new Set<string>();
  if (operation.kind === 'append' || operation.kind === 'write') spans.add(`${operation.traceId}/${operation.spanId}`);
  seen.set(operation.service, spans);
}

/** Spans of a service that came out while `send` ran and until all of it was processed. */
async function spansFrom(service: string, send: () => Promise<unknown>): Promise<number> {
  seen.delete(service);
  await send();
  await ingest.idle();
  return seen.get(service)?.size ?? 0;
}

const http = (): string => `http://127.0.0.1:${ingest.httpPort}`;
const grpc = (): string => `127.0.0.1:${ingest.grpcPort}`;

describe.each(['gzip', 'none'] as const)('with compression %s, every span arrives that', (compression) => {
  test.each(['http-proto', 'http-json'] as const)('the JavaScript SDK sends by %s', async (protocol) => {
    expect(await spansFrom('javascript-shop', () => sendWithJavaScript(protocol, http(), compression, count))).toBe(count);
  });

  test('the JavaScript SDK sends by grpc', async () => {
    expect(await spansFrom('javascript-shop', () => sendWithJavaScript('grpc', `http://${grpc()}`, compression, count))).toBe(count);
  });

  test.skipIf(python === null)('the Python SDK sends by http (python)', async () => {
    expect(
      await spansFrom('python-shop', () => runAside(python ?? '', [join(here, 'send.py'), 'http', http(), compression, String(count)])),
    ).toBe(count);
  });

  test.skipIf(python === null)('the Python SDK sends by grpc (python)', async () => {
    expect(
      await spansFrom('python-shop', () => runAside(python ?? '', [join(here, 'send.py'), 'grpc', grpc(), compression, String(count)])),
    ).toBe(count);
  });

  test.skipIf(go === null)('the Go SDK sends by http (go)', async () => {
    expect(await spansFrom('go-shop', () => runAside(go ?? '', ['http', `127.0.0.1:${ingest.httpPort}`, compression, String(count)]))).toBe(
      count,
    );
  });

  test.skipIf(go === null)('the Go SDK sends by grpc (go)', async () => {
    expect(await spansFrom('go-shop', () => runAside(go ?? '', ['grpc', grpc(), compression, String(count)]))).toBe(count);
  });
});
