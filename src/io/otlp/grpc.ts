import { timingSafeEqual } from 'node:crypto';
import {
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { Failure } from '../../base/failure.ts';
import { exportResponse, rpcCode, statusBody, statusWithRetry } from './answer.ts';
import { decompress } from './decompress.ts';
import type { OtlpHttpOptions, OtlpReceiver, RefusedReason } from './http.ts';
import { largestBodyBytes, type Receipt, type Signal } from './payload.ts';

const methods: Readonly<Record<string, Signal>> = {
  '/opentelemetry.proto.collector.trace.v1.TraceService/Export': 'traces',
  '/opentelemetry.proto.collector.logs.v1.LogsService/Export': 'logs',
  '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export': 'metrics',
};

/**
 * OTLP/gRPC: three unary methods over Node's own HTTP/2, which took 1.45 times less CPU a span than `@grpc/grpc-js` in a prototype; that
 * one is the client of the tests. A message is five bytes of prefix (compressed flag, length) and protobuf. What will pass is UNAVAILABLE
 * with RetryInfo; a message over the bound is RESOURCE_EXHAUSTED without it, which exporters do not try again.
 */
export async function openOtlpGrpc(options: OtlpHttpOptions): Promise<OtlpReceiver> {
  const mostInFlight = options.mostInFlight ?? 256;
  const mostBytes = options.mostBytesInFlight ?? 2 * largestBodyBytes;
  const expected = options.token === undefined ? undefined : Buffer.from(`Bearer ${options.token}`);
  let inFlight = 0;
  let bytesInFlight = 0;
  let isClosing = false;
  const sessions = new Set<ServerHttp2Session>();

  const refuse = (stream: ServerHttp2Stream, code: number, reason: RefusedReason, message: string, retryAfterS?: number): void => {
    options.onRefused?.(reason);
    if (stream.destroyed || stream.headersSent) return;
    const details = retryAfterS === undefined ? statusBody('protobuf', code, message) : statusWithRetry(code, message, retryAfterS);
    stream.respond(
      {
        ':status': 200,
        'content-type': 'application/grpc+proto',
        'grpc-status': String(code),
        'grpc-message': percentEncoded(message),
        'grpc-status-details-bin': details.toString('base64'),
      },
      { endStream: true },
    );
    // What is still coming is not wanted; the client has its answer.
    if (!stream.readableEnded) stream.close();
  };

  const receive = async (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> => {
    const type = headers['content-type'] ?? '';
    if (headers[':method'] !== 'POST' || !type.startsWith('application/grpc')) {
      options.onRefused?.('media-type');
      stream.respond({ ':status': 415 }, { endStream: true });
      return;
    }
    if (type !== 'application/grpc' && !type.startsWith('application/grpc+proto')) {
      return refuse(stream, rpcCode.unimplemented, 'media-type', `${type.slice(0, 100)} is not supported; send application/grpc+proto`);
    }
    const signal = methods[headers[':path'] ?? ''];
    if (signal === undefined)
      return refuse(
        stream,
        rpcCode.unimplemented,
        'path',
        `method ${String(headers[':path']).slice(0, 100)} is not known; this is an OTLP receiver`,
      );
    if (expected !== undefined && !isSameToken(headers.authorization, expected))
      return refuse(stream, rpcCode.unauthenticated, 'token', 'the bearer token is missing or wrong');
    const coding = headers['grpc-encoding'];
    if (coding !== undefined && coding !== 'identity' && coding !== 'gzip') {
      return refuse(
        stream,
        rpcCode.unimplemented,
        'content-encoding',
        `grpc-encoding ${String(coding).slice(0, 50)} is not supported; send gzip or identity`,
      );
    }
    if (isClosing) return refuse(stream, rpcCode.unavailable, 'busy', 'shutting down', 5);
    if (inFlight >= mostInFlight || bytesInFlight >= mostBytes)
      return refuse(stream, rpcCode.unavailable, 'busy', 'too many requests are in flight', 1);
    inFlight += 1;
    let held = 0;
    const hold = (bytes: number): void => {
      bytesInFlight += bytes - held;
      held = bytes;
    };
    const tooLarge = `the message is larger than ${largestBodyBytes} bytes (${largestBodyBytes / 1024 / 1024} MiB); export smaller batches`;
    try {
      const framed = await readMessage(stream, hold);
      if (framed.is === 'gone') return;
      if (framed.is === 'too-large') return refuse(stream, rpcCode.resourceExhausted, 'too-large', tooLarge);
      if (framed.is === 'malformed') return refuse(stream, rpcCode.invalidArgument, 'malformed', framed.what);
      let body = framed.bytes;
      if (framed.isCompressed) {
        if (coding !== 'gzip')
          return refuse(
            stream,
            rpcCode.internal,
            'malformed',
            'the message is marked as compressed, but grpc-encoding names no compression',
          );
        const result = await decompress(framed.bytes);
        if (result.is === 'too-large') return refuse(stream, rpcCode.resourceExhausted, 'too-large', tooLarge);
        if (result.is === 'damaged') return refuse(stream, rpcCode.invalidArgument, 'malformed', result.what);
        body = result.body;
        hold(framed.bytes.length + body.length);
      }
      const receipt = await options.onPayload({
        signal,
        encoding: 'protobuf',
        compression: framed.isCompressed ? 'gzip' : 'none',
        bytes: framed.bytes,
        body,
      });
      answer(stream, signal, receipt, refuse);
    } finally {
      inFlight -= 1;
      bytesInFlight -= held;
    }
  };

  const settings = { maxConcurrentStreams: 256, initialWindowSize: 4 * 1024 * 1024, maxFrameSize: 1024 * 1024, enablePush: false };
  const server: Http2Server =
    options.tls === undefined ? createServer({ settings }) : createSecureServer({ settings, key: options.tls.key, cert: options.tls.cert });
  server.on('session', (session: ServerHttp2Session) => {
    if (sessions.size >= mostSessions) {
      session.destroy();
      return;
    }
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => session.destroy());
    // Half-open connections are found by the client's keep-alive; idle ones end here.
    session.setTimeout(10 * 60_000, () => session.close());
    session.setLocalWindowSize(16 * 1024 * 1024);
  });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined);
    stream.setTimeout(60_000, () => stream.close());
    receive(stream, headers).catch(() => refuse(stream, rpcCode.unavailable, 'failed', 'the payload could not be stored', 5));
  });
  await listen(server, options.host, options.port);
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      isClosing = true;
      return new Promise((resolve) => {
        server.close(() => resolve());
        // GOAWAY: streams in flight are answered, then the connection ends.
        for (const session of sessions) session.close();
      });
    },
  };
}

const mostSessions = 1024;

type Refuse = (stream: ServerHttp2Stream, code: number, reason: RefusedReason, message: string, retryAfterS?: number) => void;

function answer(stream: ServerHttp2Stream, signal: Signal, receipt: Receipt, refuse: Refuse): void {
  if (stream.destroyed) return;
  if (receipt.is === 'malformed') return refuse(stream, rpcCode.invalidArgument, 'malformed', receipt.message);
  if (receipt.is === 'busy') return refuse(stream, rpcCode.unavailable, 'busy', receipt.message, receipt.retryAfterS);
  const message = exportResponse(signal, 'protobuf', receipt.rejected, receipt.message);
  const framed = Buffer.alloc(5 + message.length);
  framed.writeUInt32BE(message.length, 1);
  message.copy(framed, 5);
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc+proto', 'grpc-accept-encoding': 'identity,gzip' },
    { waitForTrailers: true },
  );
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(framed);
}

type Framed =
  | { readonly is: 'message'; readonly isCompressed: boolean; readonly bytes: Buffer }
  | { readonly is: 'malformed'; readonly what: string }
  | { readonly is: 'too-large' }
  | { readonly is: 'gone' };

/** The one message of a unary call. */
function readMessage(stream: ServerHttp2Stream, hold: (bytes: number) => void): Promise<Framed> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length;
      hold(length);
      if (length > largestBodyBytes + 5) {
        stream.removeAllListeners('data');
        stream.pause();
        resolve({ is: 'too-large' });
        return;
      }
      chunks.push(chunk);
    });
    stream.on('end', () => {
      const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length);
      if (length < 5) return resolve({ is: 'malformed', what: 'the call has no message' });
      const flag = bytes[0] as number;
      const declared = bytes.readUInt32BE(1);
      if (declared > largestBodyBytes) return resolve({ is: 'too-large' });
      if (declared !== length - 5)
        return resolve({
          is: 'malformed',
          what: `the message is said to have ${declared} bytes, but ${length - 5} came; one message is expected`,
        });
      if (flag > 1) return resolve({ is: 'malformed', what: `compressed flag ${flag} is not known` });
      resolve({ is: 'message', isCompressed: flag === 1, bytes: bytes.subarray(5) });
    });
    stream.on('close', () => resolve({ is: 'gone' }));
    stream.on('aborted', () => resolve({ is: 'gone' }));
  });
}

function listen(server: Http2Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const what =
        error.code === 'EADDRINUSE'
          ? 'is in use; stop what listens there or choose another with --port-base'
          : `cannot be opened (${error.code ?? error.message})`;
      reject(new Failure('port', `OTLP/gRPC port ${port} on ${host} ${what}`, 'never', error));
    });
    server.listen(port, host, () => resolve());
  });
}

/** As gRPC asks for `grpc-message`: printable ASCII but %, the rest percent-encoded. */
function percentEncoded(message: string): string {
  let text = '';
  for (const byte of Buffer.from(message))
    text +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return text;
}

function isSameToken(header: string | undefined, expected: Buffer): boolean {
  const given = Buffer.from(header ?? '');
  return given.length === expected.length && timingSafeEqual(given, expected);
}
