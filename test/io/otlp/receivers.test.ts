import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { gzipSync } from 'node:zlib';
import { Client, credentials, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { openMemoryJournal } from '../../../src/io/journal/memory.ts';
import { openOtlpGrpc } from '../../../src/io/otlp/grpc.ts';
import { openOtlpHttp } from '../../../src/io/otlp/http.ts';
import { largestBodyBytes } from '../../../src/io/otlp/payload.ts';
import { type Ingest, startIngest } from '../../../src/runtime/ingest-loop.ts';
import { encodeTraces, statusType } from '../../ingest/otlp-proto.ts';
import { type Answer, call, send } from './exporting.ts';

/** The receivers of a whole ingest: spans come out as operations; what cannot be taken is refused within its bound. */

let ingest: Ingest;
const operations: Operation[] = [];
beforeAll(async () => {
  ingest = await startIngest({
    host: '127.0.0.1',
    httpPort: 0,
    grpcPort: 0,
    journal: openMemoryJournal(),
    clock: systemClock,
    onOperations: (more) => void operations.push(...more),
    onFailure: () => undefined,
  });
});
afterAll(() => ingest.close());

let spanNumber = 0;
const span = (): object => {
  spanNumber += 1;
  const spanId = Buffer.alloc(8);
  spanId.writeUInt32BE(spanNumber, 4);
  return {
    traceId: Buffer.alloc(16, 7),
    spanId,
    name: 'work',
    startTimeUnixNano: '1700000000000000000',
    endTimeUnixNano: '1700000000000000001',
  };
};
const traces = (...spans: object[]): object => ({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
const protobufOf = (...spans: object[]): Buffer => encodeTraces(traces(...spans));
const jsonOf = (...spans: object[]): Buffer =>
  Buffer.from(JSON.stringify(traces(...spans), (_, value: unknown) => (isBytes(value) ? Buffer.from(value.data).toString('hex') : value)));
const isBytes = (value: unknown): value is { data: number[] } =>
  typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer';

const protobuf = 'application/x-protobuf';
const json = 'application/json';

const statusMessage = (answer: Answer): { readonly code: number; readonly message: string } => {
  if (String(answer.headers['content-type']).startsWith(json))
    return JSON.parse(answer.body.toString()) as { code: number; message: string };
  const decoded = statusType.toObject(statusType.decode(answer.body)) as { code?: number; message?: string };
  return { code: decoded.code ?? 0, message: decoded.message ?? '' };
};

/** What a piece of work adds to the memory of this process at its highest. */
async function watchingMemory<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly grownMib: number }> {
  const before = process.memoryUsage().rss;
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 2);
  const result = await work();
  clearInterval(timer);
  return { result, grownMib: (peak - before) / 1024 / 1024 };
}

const bomb = (mebibytes: number): Buffer => gzipSync(Buffer.alloc(mebibytes * 1024 * 1024));

describe('OTLP/HTTP', () => {
  test.each([
    ['protobuf', protobuf, '', () => protobufOf(span())],
    ['protobuf with parameters in the type', `${protobuf}; charset=utf-8`, '', () => protobufOf(span())],
    ['protobuf, gzip', protobuf, 'gzip', () => gzipSync(protobufOf(span()))],
    ['JSON', json, '', () => jsonOf(span())],
    ['JSON with charset', `${json}; charset=UTF-8`, '', () => jsonOf(span())],
    ['JSON, gzip', json, 'gzip', () => gzipSync(jsonOf(span()))],
    ['JSON, identity', json, 'identity', () => jsonOf(span())],
    ['gzip of two members', protobuf, 'gzip', () => Buffer.concat([gzipSync(protobufOf(span())), gzipSync(Buffer.alloc(0))])],
  ])('takes %s: 200 in the same encoding, no partial_success', async (_, type, coding, body) => {
    const answer = await send(
      ingest.httpPort ?? 0,
      '/v1/traces',
      { 'content-type': type, ...(coding === '' ? {} : { 'content-encoding': coding }) },
      body(),
    );
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe(type.split(';')[0]);
    expect(answer.body.toString()).toBe(type.startsWith(json) ? '{}' : '');
    await ingest.idle();
    expect(operations.at(-1)?.spanId).toBe(spanNumber.toString(16).padStart(16, '0'));
  });

  test.each<[string, string, string, Record<string, string>, () => Buffer, number, RegExp]>([
    ['another path', 'POST', '/v1/profiles', { 'content-type': protobuf }, () => protobufOf(span()), 404, /no OTLP path/],
    ['GET', 'GET', '/v1/traces', { 'content-type': protobuf }, () => Buffer.alloc(0), 405, /use POST/],
    ['text/plain', 'POST', '/v1/traces', { 'content-type': 'text/plain' }, () => Buffer.from('x'), 415, /text\/plain/],
    ['no Content-Type', 'POST', '/v1/traces', {}, () => Buffer.from('x'), 415, /missing/],
    [
      'Content-Encoding br',
      'POST',
      '/v1/traces',
      { 'content-type': protobuf, 'content-encoding': 'br' },
      () => Buffer.from('x'),
      415,
      /"br"/,
    ],
    ['protobuf that is none', 'POST', '/v1/traces', { 'content-type': protobuf }, () => Buffer.from('hello, world'), 400, /./],
    ['JSON that is none', 'POST', '/v1/traces', { 'content-type': json }, () => Buffer.from('{"resourceSpans": ['), 400, /not JSON/],
    [
      'JSON of a wrong type',
      'POST',
      '/v1/traces',
      { 'content-type': json },
      () => Buffer.from('{"resourceSpans": {}}'),
      400,
      /resourceSpans is not a list/,
    ],
    [
      'gzip that is none',
      'POST',
      '/v1/traces',
      { 'content-type': protobuf, 'content-encoding': 'gzip' },
      () => protobufOf(span()),
      400,
      /gzip/,
    ],
    [
      'gzip that is cut off',
      'POST',
      '/v1/traces',
      { 'content-type': json, 'content-encoding': 'gzip' },
      () => gzipSync(jsonOf(span())).subarray(0, -9),
      400,
      /gzip/,
    ],
    ['a gzip bomb', 'POST', '/v1/traces', { 'content-type': protobuf, 'content-encoding': 'gzip' }, () => bomb(65), 413, /64 MiB/],
  ])('refuses %s with google.rpc.Status', async (_, method, path, headers, body, expected, why) => {
    const answer = await send(ingest.httpPort ?? 0, path, headers, body(), { method });
    expect(answer.status).toBe(expected);
    const said = statusMessage(answer);
    expect(said.code).toBeGreaterThan(0);
    expect(said.message).toMatch(why);
    if (expected === 405) expect(answer.headers['allow']).toBe('POST');
    // What will not pass must not be tried again.
    expect(answer.headers['retry-after']).toBeUndefined();
  });

  test('refuses a body over 64 MiB by its declared length', async () => {
    const answer = await send(ingest.httpPort ?? 0, '/v1/traces', { 'content-type': protobuf }, Buffer.alloc(largestBodyBytes + 1));
    expect(answer.status).toBe(413);
  });

  test.each([
    ['with its true size in the trailer', (body: Buffer) => body, 16],
    [
      'that lies about its size',
      (body: Buffer) => {
        body.writeUInt32LE(1000, body.length - 4);
        return body;
      },
      64 * 1.1,
    ],
  ])('I7: a gzip bomb of 500 MiB %s does not take more than its bound', async (_, disguise, mebibytes) => {
    const body = disguise(bomb(500));
    const { result, grownMib } = await watchingMemory(() =>
      send(ingest.httpPort ?? 0, '/v1/traces', { 'content-type': protobuf, 'content-encoding': 'gzip' }, body),
    );
    expect([400, 413]).toContain(result.status);
    expect(grownMib).toBeLessThan(mebibytes);
  });

  test('I7: twelve bombs at once, over HTTP and gRPC, take no more than two', async () => {
    const body = bomb(500);
    // The trailer lies, so that only unpacking finds out.
    body.writeUInt32LE(1000, body.length - 4);
    const session = connectHttp2(`http://127.0.0.1:${ingest.grpcPort}`);
    await once(session, 'connect');
    const framed = Buffer.concat([Buffer.from([1, 0, 0, 0, 0]), body]);
    framed.writeUInt32BE(body.length, 1);
    const callByHand = async (): Promise<string> => {
      const headers = { ':method': 'POST', ':path': exportTraces, 'content-type': 'application/grpc', 'grpc-encoding': 'gzip' };
      const stream = session.request(headers);
      stream.end(framed);
      const [fields] = (await once(stream, 'response')) as [Record<string, unknown>];
      return String(fields['grpc-status']);
    };
    const { result, grownMib } = await watchingMemory(() =>
      Promise.all(
        Array.from({ length: 6 }, () => [
          callByHand(),
          send(ingest.httpPort ?? 0, '/v1/traces', { 'content-type': protobuf, 'content-encoding': 'gzip' }, body).then(
            ({ status: code }) => String(code),
          ),
        ]).flat(),
      ),
    );
    session.close();
    expect(new Set(result)).toEqual(new Set([String(status.RESOURCE_EXHAUSTED), '413']));
    // They are unpacked one at a time; what one leaves behind is collected while the next is counted.
    expect(grownMib).toBeLessThan(2 * 64 * 1.1);
  });

  test('warns of a shape that nobody reads, naming the field, and rejects nothing', async () => {
    const answer = await send(
      ingest.httpPort ?? 0,
      '/v1/traces',
      { 'content-type': json },
      Buffer.from('{"resource_spans": [{"scope_spans": []}]}'),
    );
    expect(answer.status).toBe(200);
    const said = JSON.parse(answer.body.toString()) as { partialSuccess: { rejectedSpans: string; errorMessage: string } };
    expect(said.partialSuccess.rejectedSpans).toBe('0');
    expect(said.partialSuccess.errorMessage).toContain('"resource_spans"');
  });

  test('a port in use is one sentence', async () => {
    await expect(
      openOtlpHttp({ host: '127.0.0.1', port: ingest.httpPort ?? 0, onPayload: () => Promise.reject(new Error('unused')) }),
    ).rejects.toThrow(/port \d+ on 127.0.0.1 is in use/);
    await expect(
      openOtlpGrpc({ host: '127.0.0.1', port: ingest.grpcPort ?? 0, onPayload: () => Promise.reject(new Error('unused')) }),
    ).rejects.toThrow(/port \d+ on 127.0.0.1 is in use/);
  });
});

const exportTraces = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';

describe('OTLP/gRPC', () => {
  let client: Client;
  beforeAll(() => {
    client = new Client(`127.0.0.1:${ingest.grpcPort}`, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
  });
  afterAll(() => client.close());

  test.each([
    ['none', 0],
    ['gzip', 2],
  ])('takes a request, compression %s', async (_, algorithm) => {
    const speaking = new Client(`127.0.0.1:${ingest.grpcPort}`, credentials.createInsecure(), {
      'grpc.default_compression_algorithm': algorithm,
    });
    const { error, response } = await call(speaking, exportTraces, protobufOf(span()));
    speaking.close();
    expect(error).toBeNull();
    expect(response).toHaveLength(0);
    await ingest.idle();
    expect(operations.at(-1)?.spanId).toBe(spanNumber.toString(16).padStart(16, '0'));
  });

  test.each<[string, string, () => Buffer, number]>([
    ['an unknown method', '/opentelemetry.proto.collector.trace.v1.TraceService/Import', () => protobufOf(span()), status.UNIMPLEMENTED],
    ['a message that is no protobuf', exportTraces, () => Buffer.from('hello, world'), status.INVALID_ARGUMENT],
    ['a message over 64 MiB', exportTraces, () => Buffer.alloc(largestBodyBytes + 1), status.RESOURCE_EXHAUSTED],
  ])('refuses %s', async (_, method, body, code) => {
    const { error } = await call(client, method, body());
    expect(error?.code).toBe(code);
    expect(error?.details).not.toBe('');
  });

  test('refuses a gzip bomb', async () => {
    const speaking = new Client(`127.0.0.1:${ingest.grpcPort}`, credentials.createInsecure(), {
      'grpc.default_compression_algorithm': 2,
      'grpc.max_send_message_length': -1,
    });
    const { error } = await call(speaking, exportTraces, Buffer.alloc(65 * 1024 * 1024));
    speaking.close();
    expect(error?.code).toBe(status.RESOURCE_EXHAUSTED);
  });
});
