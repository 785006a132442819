import { request as httpRequest } from 'node:http';
import { gzipSync } from 'node:zlib';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { openMemoryJournal } from '../../../src/io/journal/memory.ts';
import { openOtlpGrpc } from '../../../src/io/otlp/grpc.ts';
import { openOtlpHttp } from '../../../src/io/otlp/http.ts';
import { largestBodyBytes, type Receipt } from '../../../src/io/otlp/payload.ts';
import { type Ingest, startIngest } from '../../../src/runtime/ingest-loop.ts';
import { encodeTraces, retryInfoType, statusType, traceResponseType } from '../../ingest/otlp-proto.ts';

/** What OTLP 1.11 asks of a server, as a table: each row is a request and what must come back, over HTTP and over gRPC. */

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

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

function send(port: number, path: string, headers: Record<string, string>, body: Buffer, method = 'POST'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port, path, method, headers: { ...headers, 'content-length': body.length } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }));
        response.on('error', reject);
      },
    );
    // A server may answer and close before it has read a body that it refuses.
    request.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EPIPE' || error.code === 'ECONNRESET' ? undefined : reject(error),
    );
    request.end(method === 'GET' ? undefined : body);
  });
}

const protobuf = 'application/x-protobuf';
const json = 'application/json';

const statusMessage = (answer: Answer): { readonly code: number; readonly message: string } => {
  if (String(answer.headers['content-type']).startsWith(json))
    return JSON.parse(answer.body.toString()) as { code: number; message: string };
  const decoded = statusType.toObject(statusType.decode(answer.body)) as { code?: number; message?: string };
  return { code: decoded.code ?? 0, message: decoded.message ?? '' };
};

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

  test.each(['/v1/traces', '/v1/logs', '/v1/metrics', '/v1/traces/'])('takes an empty request at %s', async (path) => {
    expect((await send(ingest.httpPort ?? 0, path, { 'content-type': protobuf }, Buffer.alloc(0))).status).toBe(200);
    expect((await send(ingest.httpPort ?? 0, path, { 'content-type': json }, Buffer.from('{}'))).status).toBe(200);
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
    const answer = await send(ingest.httpPort ?? 0, path, headers, body(), method);
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
    const before = process.memoryUsage().rss;
    let peak = before;
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 2);
    const answer = await send(ingest.httpPort ?? 0, '/v1/traces', { 'content-type': protobuf, 'content-encoding': 'gzip' }, body);
    clearInterval(timer);
    expect([400, 413]).toContain(answer.status);
    expect((peak - before) / 1024 / 1024).toBeLessThan(mebibytes);
  });

  test.each([
    ['protobuf', protobuf, (...spans: object[]) => protobufOf(...spans)],
    ['JSON', json, (...spans: object[]) => jsonOf(...spans)],
  ])('answers partial_success where spans are rejected: %s', async (_, type, encode) => {
    const answer = await send(
      ingest.httpPort ?? 0,
      '/v1/traces',
      { 'content-type': type },
      encode(span(), { ...span(), traceId: Buffer.alloc(16) }, { ...span(), spanId: Buffer.alloc(3, 1) }),
    );
    expect(answer.status).toBe(200);
    const said = (
      type === json
        ? JSON.parse(answer.body.toString())
        : traceResponseType.toObject(traceResponseType.decode(answer.body), { longs: String })
    ) as { partialSuccess: { rejectedSpans: string; errorMessage: string } };
    expect(said.partialSuccess.rejectedSpans).toBe('2');
    expect(said.partialSuccess.errorMessage).toMatch(/1 with a trace id.*1 with a span id/);
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

  test('a token is asked for where one is set', async () => {
    const receiver = await openOtlpHttp({
      host: '127.0.0.1',
      port: 0,
      token: 'secret',
      onPayload: () => Promise.resolve({ is: 'accepted', rejected: 0, message: '' }),
    });
    const attempt = (authorization: string): Promise<Answer> =>
      send(receiver.port, '/v1/traces', { 'content-type': json, ...(authorization === '' ? {} : { authorization }) }, Buffer.from('{}'));
    expect((await attempt('')).status).toBe(401);
    expect((await attempt('Bearer wrong!')).status).toBe(401);
    expect((await attempt('Bearer secret')).status).toBe(200);
    await receiver.close();
  });

  test('under pressure: 429 beyond the requests in flight, 503 where the journal is full, both with Retry-After', async () => {
    let finish: ((receipt: Receipt) => void) | undefined;
    const receiver = await openOtlpHttp({
      host: '127.0.0.1',
      port: 0,
      mostInFlight: 1,
      onPayload: () => new Promise((resolve) => (finish = resolve)),
    });
    const first = send(receiver.port, '/v1/traces', { 'content-type': protobuf }, Buffer.alloc(0));
    while (finish === undefined) await new Promise((resolve) => setImmediate(resolve));
    const second = await send(receiver.port, '/v1/traces', { 'content-type': protobuf }, Buffer.alloc(0));
    expect(second.status).toBe(429);
    expect(Number(second.headers['retry-after'])).toBeGreaterThan(0);
    finish({ is: 'busy', message: 'the journal is full', retryAfterS: 5 });
    const answer = await first;
    expect([answer.status, answer.headers['retry-after'], statusMessage(answer).message]).toEqual([503, '5', 'the journal is full']);
    await receiver.close();
  });

  test('a failing journal is a 503, not a lie and not a hang', async () => {
    const receiver = await openOtlpHttp({ host: '127.0.0.1', port: 0, onPayload: () => Promise.reject(new Error('disk')) });
    const answer = await send(receiver.port, '/v1/traces', { 'content-type': protobuf }, Buffer.alloc(0));
    expect([answer.status, answer.headers['retry-after']]).toEqual([503, '5']);
    await receiver.close();
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

interface Called {
  readonly error: ServiceError | null;
  readonly response: Buffer | undefined;
}

function call(client: Client, method: string, body: Buffer, metadata = new Metadata(), compressed = false): Promise<Called> {
  const bytes = (value: Buffer): Buffer => value;
  if (compressed) metadata.set('grpc-internal-encoding-request', 'gzip');
  return new Promise((resolve) => {
    client.makeUnaryRequest(method, bytes, bytes, body, metadata, { deadline: Date.now() + 10_000 }, (error, response) =>
      resolve({ error, response }),
    );
  });
}

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

  test.each(['logs.v1.LogsService', 'metrics.v1.MetricsService', 'trace.v1.TraceService'])(
    'takes an empty request of %s',
    async (service) => {
      expect((await call(client, `/opentelemetry.proto.collector.${service}/Export`, Buffer.alloc(0))).error).toBeNull();
    },
  );

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

  test('answers partial_success where spans are rejected', async () => {
    const { error, response } = await call(client, exportTraces, protobufOf(span(), { ...span(), traceId: Buffer.alloc(2) }));
    expect(error).toBeNull();
    expect(traceResponseType.toObject(traceResponseType.decode(response ?? Buffer.alloc(0)), { longs: String })).toMatchObject({
      partialSuccess: { rejectedSpans: '1' },
    });
  });

  test('under pressure: UNAVAILABLE with RetryInfo', async () => {
    const receiver = await openOtlpGrpc({
      host: '127.0.0.1',
      port: 0,
      onPayload: () => Promise.resolve({ is: 'busy', message: 'the journal is full', retryAfterS: 5 }),
    });
    const speaking = new Client(`127.0.0.1:${receiver.port}`, credentials.createInsecure());
    const { error } = await call(speaking, exportTraces, Buffer.alloc(0));
    expect(error?.code).toBe(status.UNAVAILABLE);
    const details = error?.metadata.get('grpc-status-details-bin')[0];
    const decoded = statusType.toObject(statusType.decode(details as Buffer)) as {
      message: string;
      details: { typeUrl: string; value: Uint8Array }[];
    };
    expect(decoded.message).toBe('the journal is full');
    expect(decoded.details[0]?.typeUrl).toBe('type.googleapis.com/google.rpc.RetryInfo');
    expect(retryInfoType.toObject(retryInfoType.decode(decoded.details[0]?.value ?? new Uint8Array()), { longs: Number })).toEqual({
      retryDelay: { seconds: 5 },
    });
    speaking.close();
    await receiver.close();
  });

  test('a token is asked for where one is set', async () => {
    const receiver = await openOtlpGrpc({
      host: '127.0.0.1',
      port: 0,
      token: 'secret',
      onPayload: () => Promise.resolve({ is: 'accepted', rejected: 0, message: '' }),
    });
    const speaking = new Client(`127.0.0.1:${receiver.port}`, credentials.createInsecure());
    expect((await call(speaking, exportTraces, Buffer.alloc(0))).error?.code).toBe(status.UNAUTHENTICATED);
    const metadata = new Metadata();
    metadata.set('authorization', 'Bearer secret');
    expect((await call(speaking, exportTraces, Buffer.alloc(0), metadata)).error).toBeNull();
    speaking.close();
    await receiver.close();
  });
});
