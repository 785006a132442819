import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { Receipt } from '../../../src/io/otlp/payload.ts';
import { accepted, exportPath, grpc, host } from './opened-receivers.ts';

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
