import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, type IncomingMessage, request as httpRequest } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Client, credentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openOtlpGrpc } from '../../../src/io/otlp/grpc.ts';
import { openOtlpHttp, type OtlpHttpOptions } from '../../../src/io/otlp/http.ts';
import type { Payload, Receipt, Receiver, ReceiverOptions, RefusedReason } from '../../../src/io/otlp/payload.ts';
import { readTls } from '../../../src/io/otlp/tls-files.ts';
import { statusType } from '../../ingest/otlp-proto.ts';
import { call, send } from './exporting.ts';

/** What happens on the connection: kept, slow, split, encrypted, closing. */
const accepted: Receipt = { is: 'accepted', rejected: 0, message: '' };
const host = '127.0.0.1';
const protobuf = { 'content-type': 'application/x-protobuf' };

interface Opened {
  readonly port: number;
  readonly seen: Payload[];
  readonly refused: RefusedReason[];
}

async function opened<T>(
  open: (options: ReceiverOptions) => Promise<Receiver>,
  options: Partial<OtlpHttpOptions>,
  body: (opened: Opened, receiver: Receiver) => Promise<T>,
): Promise<T> {
  const seen: Payload[] = [];
  const refused: RefusedReason[] = [];
  const receiver = await open({
    host,
    port: 0,
    onPayload: (payload) => {
      seen.push(payload);
      return Promise.resolve(accepted);
    },
    onRefused: (reason) => refused.push(reason),
    ...options,
  });
  try {
    return await body({ port: receiver.port, seen, refused }, receiver);
  } finally {
    await receiver.close();
  }
}
const http = <T>(options: Partial<OtlpHttpOptions>, body: (opened: Opened, receiver: Receiver) => Promise<T>): Promise<T> =>
  opened(openOtlpHttp, options, body);
const grpc = <T>(options: Partial<ReceiverOptions>, body: (opened: Opened, receiver: Receiver) => Promise<T>): Promise<T> =>
  opened(openOtlpGrpc, options, body);

describe('OTLP/HTTP', () => {
  test('a connection is kept over success and refusal, whatever of the body was read', async () => {
    await http({}, async ({ port, seen }) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const ports: (number | undefined)[] = [];
      agent.on('free', (socket: Socket) => ports.push(socket.localPort));
      const body = Buffer.alloc(200_000, 1);
      const answers = [
        await send(port, '/v1/traces', protobuf, body, { agent }),
        await send(port, '/v1/nothing', protobuf, body, { agent }),
        await send(port, '/v1/traces', { 'content-type': 'text/plain' }, body, { agent }),
        await send(port, '/v1/traces', { ...protobuf, 'content-encoding': 'zstd' }, body, { agent }),
        await send(port, '/v1/traces', protobuf, Buffer.alloc(0), { agent, method: 'GET' }),
        await send(port, '/v1/logs', protobuf, body, { agent }),
      ];
      agent.destroy();
      expect(answers.map(({ status }) => status)).toEqual([200, 404, 415, 415, 405, 200]);
      expect(answers[4]?.headers['allow']).toBe('POST');
      expect(new Set(ports).size).toBe(1);
      expect(seen).toHaveLength(2);
    });
  });

  test('a body of chunks without a length is taken, and bounded', async () => {
    await http({ largestBodyBytes: 1000 }, async ({ port, seen, refused }) => {
      expect((await send(port, '/v1/traces', protobuf, Buffer.alloc(999, 7), { chunked: true })).status).toBe(200);
      expect(seen[0]?.body).toEqual(Buffer.alloc(999, 7));
      expect((await send(port, '/v1/traces', protobuf, Buffer.alloc(1001, 7), { chunked: true })).status).toBe(413);
      expect(refused).toEqual(['too-large']);
    });
  });

  test('requests that follow each other without waiting are answered in order', async () => {
    await http({}, async ({ port }) => {
      const socket = connect(port, host);
      const request = (path: string): string =>
        `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 2\r\n\r\n\n\0`;
      socket.write(request('/v1/traces') + request('/v1/wrong') + request('/v1/logs'));
      let text = '';
      while ((text.match(/HTTP\/1\.1 \d+/g) ?? []).length < 3) text += String((await once(socket, 'data'))[0]);
      socket.destroy();
      expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200']);
    });
  });

  test('bodies that do not say their length take no more than the bound together; one that is refused may come again', async () => {
    await http({ largestBodyBytes: 80_000, mostBytesInFlight: 100_000 }, async ({ port, seen, refused }) => {
      const upload = (): { readonly request: ReturnType<typeof httpRequest>; readonly answer: Promise<IncomingMessage> } => {
        const request = httpRequest({ host, port, path: '/v1/traces', method: 'POST', headers: protobuf });
        request.on('error', () => undefined);
        const answer = once(request, 'response').then(([response]) => (response as IncomingMessage).resume());
        request.write(Buffer.alloc(60_000));
        return { request, answer };
      };
      const both = [upload(), upload()];
      // Neither has ended: the one that did not fit is answered at once.
      const early = await Promise.race(both.map(({ answer }) => answer));
      expect([early.statusCode, early.headers['retry-after']]).toEqual([429, '1']);
      for (const { request } of both) request.end();
      expect((await Promise.all(both.map(({ answer }) => answer))).map(({ statusCode }) => String(statusCode)).toSorted()).toEqual([
        '200',
        '429',
      ]);
      expect(seen).toHaveLength(1);
      expect(refused).toEqual(['busy']);
      expect((await send(port, '/v1/traces', protobuf, Buffer.alloc(60_000), { chunked: true })).status).toBe(200);
    });
  });

  /** What comes back for bytes that are written as they are, until the connection is closed. */
  const exchangeRaw = async (port: number, text: string): Promise<string> => {
    const socket = connect(port, host);
    socket.write(text);
    let answer = '';
    socket.on('data', (bytes: Buffer) => (answer += bytes.toString('latin1')));
    await once(socket, 'close');
    return answer;
  };
  const head = (more: string, type = 'application/json'): string =>
    `POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\nconnection: close\r\n${more}\r\n`;

  test.each<[string, string, number, string, RefusedReason]>([
    ['garbage', 'hello, world\r\n\r\n', 400, 'application/json', 'protocol'],
    [
      'a chunk without a size',
      `${head('transfer-encoding: chunked\r\n', 'application/x-protobuf')}zz\r\n`,
      400,
      'application/x-protobuf',
      'protocol',
    ],
    ['two lengths', head('content-length: 2\r\ntransfer-encoding: chunked\r\n'), 400, 'application/json', 'protocol'],
    ['headers without end', head(`x-long: ${'a'.repeat(70_000)}\r\n`), 431, 'application/json', 'too-large'],
    ['half a body', `${head('content-length: 9\r\n', 'application/x-protobuf')}123`, 408, 'application/x-protobuf', 'slow'],
    ['an expectation that nobody has', head('content-length: 0\r\nexpect: tea\r\n'), 417, 'application/json', 'protocol'],
  ])('%s is refused with google.rpc.Status as well', async (_, text, code, type, reason) => {
    await http({ slowestBodyMs: 50 }, async ({ port, refused }) => {
      const answer = await exchangeRaw(port, text);
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${code} `));
      const [fields = '', body = ''] = answer.split('\r\n\r\n');
      expect(fields.toLowerCase()).toContain(`content-type: ${type}`);
      const said =
        type === 'application/json'
          ? (JSON.parse(body) as { code: number; message: string })
          : (statusType.toObject(statusType.decode(Buffer.from(body, 'latin1'))) as { code: number; message: string });
      expect(said.code).toBeGreaterThan(0);
      expect(said.message.length).toBeGreaterThan(10);
      expect(refused).toEqual([reason]);
    });
  });

  test('a request that garbage follows keeps the answer that is its own', async () => {
    let finish: ((receipt: Receipt) => void) | undefined;
    await http({ onPayload: () => new Promise((resolve) => (finish = resolve)) }, async ({ port, refused }) => {
      const answer = exchangeRaw(
        port,
        'POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}garbage\r\n\r\n',
      );
      while (finish === undefined || refused.length === 0) await new Promise((resolve) => setImmediate(resolve));
      finish(accepted);
      expect((await answer).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200']);
      expect(refused).toEqual(['protocol']);
    });
  });

  test('who asks before sending is told to go on, or why not, before the body', async () => {
    await http({ token: 'a secret of sixteen' }, async ({ port, seen }) => {
      const ask = async (more: Record<string, string>): Promise<readonly [number | undefined, boolean]> => {
        const request = httpRequest({
          host,
          port,
          path: '/v1/traces',
          method: 'POST',
          headers: { ...protobuf, expect: '100-continue', 'content-length': 3, ...more },
        });
        let isToldToGoOn = false;
        request.on('continue', () => {
          isToldToGoOn = true;
          request.end(Buffer.from([1, 2, 3]));
        });
        request.flushHeaders();
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        response.resume();
        await once(response, 'close');
        request.destroy();
        return [response.statusCode, isToldToGoOn];
      };
      // The scheme's case is the client's.
      expect(await ask({ authorization: 'BEARER a secret of sixteen' })).toEqual([200, true]);
      expect(await ask({})).toEqual([401, false]);
      expect(await ask({ authorization: 'Bearer a secret of sixteen', 'content-length': '99999999999' })).toEqual([413, false]);
      expect(seen.map(({ body }) => body)).toEqual([Buffer.from([1, 2, 3])]);
    });
  });

  test.each([
    ['an absolute address, as it goes through a proxy', 'http://collector.example:4318/v1/traces'],
    ['a query', '/v1/traces?tenant=a'],
    ['a slash at the end', '/v1/traces/'],
  ])('%s is taken', async (_, target) => {
    await http({}, async ({ port, seen }) => {
      expect((await send(port, target, protobuf, Buffer.alloc(0))).status).toBe(200);
      expect(seen).toHaveLength(1);
    });
  });

  test.each<[string, Record<string, string>, number]>([
    ['APPLICATION/X-PROTOBUF', { 'content-type': 'APPLICATION/X-PROTOBUF' }, 200],
    ['parameters', { 'content-type': 'application/json ; charset="UTF-8"; boundary=x' }, 200],
    ['GZIP', { ...protobuf, 'content-encoding': 'GZIP' }, 400],
    ['x-gzip', { ...protobuf, 'content-encoding': 'x-gzip' }, 400],
    ['Identity', { ...protobuf, 'content-encoding': 'Identity' }, 200],
    ['two codings', { ...protobuf, 'content-encoding': 'gzip, gzip' }, 415],
    ['a type that only begins alike', { 'content-type': 'application/json-seq' }, 415],
    ['a type with a suffix', { 'content-type': 'application/vnd.x+json' }, 415],
  ])('spellings of the headers: %s', async (_, headers, expected) => {
    await http({}, async ({ port }) => {
      // Plain bytes: where gzip is understood, they are none.
      expect((await send(port, '/v1/traces', headers, Buffer.from('{}'))).status).toBe(expected);
    });
  });

  test('a body that does not come gives its place back', async () => {
    await http({ slowestBodyMs: 50, mostInFlight: 1 }, async ({ port, refused, seen }) => {
      const socket = connect(port, host);
      socket.write('POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 10\r\n\r\n123');
      const [first] = (await once(socket, 'data')) as [Buffer];
      expect(first.toString()).toMatch(/^HTTP\/1\.1 408 /);
      await once(socket, 'close');
      expect(refused).toEqual(['slow']);
      expect((await send(port, '/v1/traces', protobuf, Buffer.alloc(0))).status).toBe(200);
      expect(seen).toHaveLength(1);
    });
  });

  test('what speaks another protocol is counted and answered', async () => {
    await http({}, async ({ port, refused }) => {
      const session = connectHttp2(`http://${host}:${port}`);
      session.on('error', () => undefined);
      await new Promise((resolve) => session.once('close', resolve));
      const socket = connect(port, host);
      socket.resume();
      socket.write('\x16\x03\x01 this is how TLS begins');
      await once(socket, 'close');
      expect(refused).toEqual(['protocol', 'protocol']);
    });
  });

  test('pages of other origins are let in only where the config says so', async () => {
    const preflight = (port: number, origin: string): ReturnType<typeof send> =>
      send(
        port,
        '/v1/traces',
        { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
        Buffer.alloc(0),
        {
          method: 'OPTIONS',
        },
      );
    await http({}, async ({ port }) => {
      const answer = await preflight(port, 'https://shop.example');
      expect([answer.status, answer.headers['access-control-allow-origin']]).toEqual([405, undefined]);
      const posted = await send(port, '/v1/traces', { ...protobuf, origin: 'https://shop.example' }, Buffer.alloc(0));
      expect([posted.status, posted.headers['access-control-allow-origin']]).toEqual([200, undefined]);
    });
    await http({ corsOrigins: ['https://shop.example'] }, async ({ port }) => {
      const answer = await preflight(port, 'https://shop.example');
      expect(answer.status).toBe(204);
      expect(answer.headers).toMatchObject({
        'access-control-allow-origin': 'https://shop.example',
        'access-control-allow-methods': 'POST',
        'access-control-allow-headers': 'content-type',
      });
      const posted = await send(port, '/v1/traces', { ...protobuf, origin: 'https://shop.example' }, Buffer.alloc(0));
      expect([posted.status, posted.headers['access-control-allow-origin']]).toEqual([200, 'https://shop.example']);
      expect((await preflight(port, 'https://evil.example')).status).toBe(405);
    });
  });

  test('what begins on a connection while the service closes is told to come back', async () => {
    const pending: ((receipt: Receipt) => void)[] = [];
    await http({ onPayload: () => new Promise((resolve) => pending.push(resolve)) }, async ({ port }, receiver) => {
      const socket = connect(port, host);
      const request = 'POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
      let text = '';
      socket.on('data', (bytes: Buffer) => (text += bytes.toString()));
      const other = connect(port, host);
      await once(other, 'connect');
      // Half a request line is no idle connection. It is there when what is sent after it has been read.
      other.write(request.slice(0, 20));
      socket.write(request);
      while (pending.length === 0) await new Promise((resolve) => setImmediate(resolve));
      const closed = receiver.close();
      socket.write(request);
      pending[0]?.(accepted);
      await once(socket, 'close');
      // The first was the last on its connection.
      expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200']);
      let late = '';
      other.on('data', (bytes: Buffer) => (late += bytes.toString()));
      other.write(request.slice(20));
      while (!late.includes('\r\n\r\n')) await once(other, 'data');
      expect(late).toMatch(/^HTTP\/1\.1 503 [\s\S]*retry-after: 5/i);
      other.destroy();
      await closed;
    });
  });

  test('closing answers what is in flight', async () => {
    let finish: ((receipt: Receipt) => void) | undefined;
    await http({ onPayload: () => new Promise((resolve) => (finish = resolve)) }, async ({ port }, receiver) => {
      const answer = send(port, '/v1/traces', protobuf, Buffer.alloc(0));
      while (finish === undefined) await new Promise((resolve) => setImmediate(resolve));
      const closed = receiver.close();
      finish(accepted);
      const { status, headers } = await answer;
      expect([status, headers['connection']]).toEqual([200, 'close']);
      await closed;
    });
  });
});

const exportPath = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';

interface Trailers {
  readonly status: string;
  readonly message: string;
  readonly accepts: string;
  readonly body: Buffer;
}

/** One call by hand: what grpc-js would never send. */
async function rawCall(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  write: (stream: ClientHttp2Stream) => void,
): Promise<Trailers> {
  const stream = session.request({
    ':method': 'POST',
    ':path': exportPath,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const chunks: Buffer[] = [];
  let grpcStatus = '';
  let message = '';
  let accepts = '';
  stream.on('error', () => undefined);
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  for (const event of ['response', 'trailers'])
    stream.on(event, (fields: IncomingHttpHeaders & IncomingHttpStatusHeader) => {
      message = [fields['grpc-message'] ?? message].flat().join();
      accepts = [fields['grpc-accept-encoding'] ?? accepts].flat().join();
      if (fields['grpc-status'] !== undefined) grpcStatus = [fields['grpc-status']].flat().join();
      else if (fields[':status'] !== undefined && fields[':status'] !== 200) grpcStatus = `http ${fields[':status']}`;
    });
  write(stream);
  await once(stream, 'close');
  return { status: grpcStatus, message, accepts, body: Buffer.concat(chunks) };
}

function frame(bytes: Buffer, flag = 0, length = bytes.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, bytes]);
}

describe('OTLP/gRPC', () => {
  const cases: readonly (readonly [string, Record<string, string>, (stream: ClientHttp2Stream) => void, string])[] = [
    [
      'a message split over frames, byte by byte',
      {},
      (stream) => {
        for (const byte of frame(Buffer.from([1, 2, 3]))) stream.write(Buffer.from([byte]));
        stream.end();
      },
      '0',
    ],
    ['identity named as the encoding', { 'grpc-encoding': 'identity' }, (stream) => stream.end(frame(Buffer.alloc(3))), '0'],
    ['a plain message though gzip is named', { 'grpc-encoding': 'gzip' }, (stream) => stream.end(frame(Buffer.alloc(3))), '0'],
    ['gzip', { 'grpc-encoding': 'gzip' }, (stream) => stream.end(frame(gzipSync(Buffer.alloc(3)), 1)), '0'],
    ['application/grpc+proto', { 'content-type': 'application/grpc+proto' }, (stream) => stream.end(frame(Buffer.alloc(0))), '0'],
    ['APPLICATION/GRPC', { 'content-type': 'APPLICATION/GRPC' }, (stream) => stream.end(frame(Buffer.alloc(0))), '0'],
    ['unknown metadata', { 'x-tenant': 'a', 'grpc-trace-bin': 'AAAA' }, (stream) => stream.end(frame(Buffer.alloc(0))), '0'],
    ['a deadline that is kept', { 'grpc-timeout': '10S' }, (stream) => stream.end(frame(Buffer.alloc(0))), '0'],
    ['no message', {}, (stream) => stream.end(), '3'],
    ['half a prefix', {}, (stream) => stream.end(Buffer.alloc(3)), '3'],
    ['two messages', {}, (stream) => stream.end(Buffer.concat([frame(Buffer.alloc(2)), frame(Buffer.alloc(2))])), '3'],
    ['a message shorter than it says', {}, (stream) => stream.end(frame(Buffer.alloc(2), 0, 9)), '3'],
    ['a message said to be 4 GiB', {}, (stream) => stream.write(frame(Buffer.alloc(2), 0, 0xffff_ffff)), '8'],
    ['a flag that is not known', {}, (stream) => stream.end(frame(Buffer.alloc(2), 2)), '3'],
    ['compression without a name', {}, (stream) => stream.end(frame(gzipSync(Buffer.alloc(2)), 1)), '13'],
    ['damaged gzip', { 'grpc-encoding': 'gzip' }, (stream) => stream.end(frame(Buffer.alloc(40), 1)), '3'],
    ['snappy', { 'grpc-encoding': 'snappy' }, (stream) => stream.end(frame(Buffer.alloc(2), 1)), '12'],
    ['JSON in gRPC', { 'content-type': 'application/grpc+json' }, (stream) => stream.end(frame(Buffer.alloc(2))), '12'],
    ['another service', { ':path': '/grpc.health.v1.Health/Check' }, (stream) => stream.end(frame(Buffer.alloc(0))), '12'],
    ['a deadline that passes before the message', { 'grpc-timeout': '30m' }, (stream) => stream.write(Buffer.alloc(1)), '4'],
    ['what is no gRPC', { 'content-type': 'application/json' }, (stream) => stream.end('{}'), 'http 415'],
  ];
  test.each(cases)('%s', async (_, headers, write, expected) => {
    await grpc({}, async ({ port, seen }) => {
      const session = connectHttp2(`http://${host}:${port}`);
      const { status: said, body, accepts } = await rawCall(session, headers, write);
      expect(said).toBe(expected);
      expect(seen).toHaveLength(expected === '0' ? 1 : 0);
      if (expected === '0') {
        expect(body).toEqual(frame(Buffer.alloc(0)));
        // "Servers ... should report what they accept": with every answer, not only with a refusal.
        expect(accepts).toBe('identity,gzip');
      }
      // The connection outlives a call that went wrong.
      expect((await rawCall(session, {}, (stream) => stream.end(frame(Buffer.alloc(0))))).status).toBe('0');
      session.close();
      await once(session, 'close');
    });
  });

  test('messages that are on their way take no more than the bound together', async () => {
    await grpc({ largestBodyBytes: 80_000, mostBytesInFlight: 100_000 }, async ({ port, seen, refused }) => {
      const session = connectHttp2(`http://${host}:${port}`);
      const message = frame(Buffer.alloc(60_000));
      const open: ClientHttp2Stream[] = [];
      const begin = (): Promise<Trailers> =>
        rawCall(session, {}, (stream) => {
          open.push(stream);
          stream.write(message.subarray(0, 10));
        });
      const both = [begin(), begin()];
      // What a message says of its length counts before it has come.
      expect((await Promise.race(both)).status).toBe('14');
      for (const stream of open) if (!stream.destroyed) stream.end(message.subarray(10));
      expect((await Promise.all(both)).map(({ status: said }) => said).toSorted()).toEqual(['0', '14']);
      expect(seen).toHaveLength(1);
      expect(refused).toEqual(['busy']);
      session.close();
      await once(session, 'close');
    });
  });

  /** HTTP/2 frames by hand, on a connection that reads nothing. */
  const http2Frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
    const header = Buffer.alloc(9);
    header.writeUIntBE(payload.length, 0, 3);
    header[3] = type;
    header[4] = flags;
    header.writeUInt32BE(stream, 5);
    return Buffer.concat([header, payload]);
  };
  const preface = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), http2Frame(4, 0, 0, Buffer.alloc(0))]);

  test.each<[string, (nth: number) => Buffer]>([
    ['of pings', () => http2Frame(6, 0, 0, Buffer.alloc(8))],
    ['of settings', () => http2Frame(4, 0, 0, Buffer.alloc(0))],
    // ":method: POST" and ":scheme: http" of the static table, then RST_STREAM: calls that are given up as they begin.
    [
      'of calls that are given up as they begin',
      (nth) => {
        const stream = 2 * nth + 1;
        return Buffer.concat([
          http2Frame(1, 4, stream, Buffer.from([0x83, 0x86, 0x84])),
          http2Frame(3, 0, stream, Buffer.from([0, 0, 0, 8])),
        ]);
      },
    ],
  ])('a flood %s ends its connection, and no other', async (_, piece) => {
    await grpc({}, async ({ port }) => {
      const other = connectHttp2(`http://${host}:${port}`);
      await once(other, 'connect');
      const socket = connect(port, host);
      socket.on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.write(preface);
      let sent = 0;
      const flood = (): void => {
        while (sent < 200_000 && !socket.destroyed) {
          sent += 1;
          if (!socket.write(piece(sent))) return void socket.once('drain', flood);
        }
        socket.resume();
      };
      flood();
      await closed;
      expect((await rawCall(other, {}, (stream) => stream.end(frame(Buffer.alloc(0))))).status).toBe('0');
      other.close();
      await once(other, 'close');
    });
  });

  test('many calls at once on one connection, pings between them', async () => {
    await grpc({}, async ({ port, seen }) => {
      const session = connectHttp2(`http://${host}:${port}`);
      await once(session, 'connect');
      const calls = Array.from({ length: 200 }, (_, i) => rawCall(session, {}, (stream) => stream.end(frame(Buffer.alloc(i)))));
      const roundTrip = await new Promise<number>((resolve, reject) =>
        session.ping((error, ms) => (error === null ? resolve(ms) : reject(error))),
      );
      expect(roundTrip).toBeGreaterThanOrEqual(0);
      expect(new Set((await Promise.all(calls)).map(({ status: said }) => said))).toEqual(new Set(['0']));
      expect(seen.map(({ body }) => body.length).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => i));
      session.close();
      await once(session, 'close');
    });
  });

  test('a message of what is wrong is percent-encoded', async () => {
    await grpc({}, async ({ port }) => {
      const session = connectHttp2(`http://${host}:${port}`);
      const { status: said, message } = await rawCall(session, { ':path': '/50%/\u00e9' }, (stream) => stream.end(frame(Buffer.alloc(0))));
      expect(said).toBe('12');
      expect(message).toMatch(/^method \/50%25\/%C3%[0-9A-F]{2}/);
      expect(message).toMatch(/^[\x20-\x7e]+$/);
      session.close();
      await once(session, 'close');
    });
  });

  test('closing says GOAWAY, and answers what is in flight', async () => {
    let finish: ((receipt: Receipt) => void) | undefined;
    await grpc({ onPayload: () => new Promise((resolve) => (finish = resolve)) }, async ({ port }, receiver) => {
      const session = connectHttp2(`http://${host}:${port}`);
      const goaway = once(session, 'goaway');
      const answer = rawCall(session, {}, (stream) => stream.end(frame(Buffer.alloc(0))));
      while (finish === undefined) await new Promise((resolve) => setImmediate(resolve));
      const closed = receiver.close();
      await goaway;
      finish(accepted);
      expect((await answer).status).toBe('0');
      await closed;
    });
  });

  test('HTTP/1.1 on the gRPC port is counted', async () => {
    await grpc({}, async ({ port, refused }) => {
      await new Promise<void>((resolve) => {
        const request = httpRequest({ host, port, path: '/v1/traces', method: 'POST' }, () => resolve());
        request.on('error', () => resolve());
        request.end('{}');
      });
      while (refused.length === 0) await new Promise((resolve) => setImmediate(resolve));
      expect(refused).toEqual(['protocol']);
    });
  });
});

describe('TLS', () => {
  let folder: string;
  let ca: Buffer;
  const files = (): { cert: string; key: string } => ({ cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') });
  const certificate = (name: string): void => {
    execFileSync(
      'openssl',
      `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout ${name}key.pem -out ${name}cert.pem`.split(
        ' ',
      ),
      { cwd: folder, stdio: 'ignore' },
    );
  };
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'homeostat-tls-'));
    certificate('');
    certificate('other-');
    ca = readFileSync(files().cert);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('over HTTP', async () => {
    await http({ tls: readTls(files()) }, async ({ port, seen, refused }) => {
      const status = await new Promise((resolve, reject) => {
        const request = httpsRequest(
          { host, port, path: '/v1/traces', method: 'POST', ca, agent: false, headers: protobuf },
          (response) => {
            response.resume();
            resolve(response.statusCode);
          },
        );
        request.on('error', reject);
        request.end(Buffer.alloc(0));
      });
      expect(status).toBe(200);
      expect(seen).toHaveLength(1);
      const plain = connect(port, host);
      plain.on('error', () => undefined);
      plain.write('POST /v1/traces HTTP/1.1\r\n\r\n');
      await once(plain, 'close');
      expect(refused).toEqual(['protocol']);
    });
  });

  test('over gRPC', async () => {
    await grpc({ tls: readTls(files()) }, async ({ port, seen }) => {
      const client = new Client(`localhost:${port}`, credentials.createSsl(ca));
      expect((await call(client, exportPath, Buffer.alloc(0))).error).toBeNull();
      client.close();
      expect(seen).toHaveLength(1);
    });
  });

  test.each([
    ['a certificate that is not there', () => ({ ...files(), cert: join(folder, 'gone.pem') }), /certificate .*gone\.pem cannot be read/],
    ['a key of another certificate', () => ({ ...files(), key: join(folder, 'other-key.pem') }), /other-key\.pem is not the key of/],
    ['a key in place of the certificate', () => ({ ...files(), cert: files().key }), /holds no certificate/],
    ['a certificate in place of the key', () => ({ ...files(), key: files().cert }), /holds no private key/],
  ])('%s is said in one sentence', (_, wrong, says) => {
    expect(() => readTls(wrong())).toThrow(says);
  });
});
