import { once } from 'node:events';
import { Agent, type IncomingMessage, request as httpRequest } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { Receipt, RefusedReason } from '../../../src/io/otlp/payload.ts';
import { statusType } from '../../ingest/otlp-proto.ts';
import { send } from './exporting.ts';
import { accepted, host, http, protobuf } from './opened-receivers.ts';

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
