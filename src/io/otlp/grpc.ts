import {
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { Admission, isSameToken, listenOn } from './admission.ts';
import { exportResponse, rpcCode, statusBody, statusWithRetry } from './answer.ts';
import { BodyBuffers } from './body-buffers.ts';
import { claimedBytes, decompress } from './decompress.ts';
import {
  inMebibytes,
  largestBodyBytes,
  mostRequestsInFlight,
  type Receiver,
  type ReceiverOptions,
  type RefusedReason,
  type Signal,
  slowestBodyMs,
} from './payload.ts';

const methods: Readonly<Record<string, Signal>> = {
  '/opentelemetry.proto.collector.trace.v1.TraceService/Export': 'traces',
  '/opentelemetry.proto.collector.logs.v1.LogsService/Export': 'logs',
  '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export': 'metrics',
};

/** What a call is refused with. */
interface Refusal {
  readonly code: number;
  readonly reason: RefusedReason;
  readonly message: string;
  /** Present: the same may be sent again after so many seconds. */
  readonly retryAfterS?: number;
}

/**
 * OTLP/gRPC: three unary methods over Node's own HTTP/2, which took 1.45 times less CPU a span than `@grpc/grpc-js` in a prototype; that
 * one is the client of the tests. A message is five bytes of prefix (compressed flag, length) and protobuf. What will pass is UNAVAILABLE
 * with RetryInfo; a message over the bound is RESOURCE_EXHAUSTED without it, which exporters do not try again.
 */
export async function openOtlpGrpc(options: ReceiverOptions): Promise<Receiver> {
  const largest = options.largestBodyBytes ?? largestBodyBytes;
  const admission = new Admission(options.mostInFlight ?? mostRequestsInFlight, options.mostBytesInFlight ?? 2 * largest);
  const expected = options.token === undefined ? undefined : Buffer.from(`Bearer ${options.token}`);
  const slowest = options.slowestBodyMs ?? slowestBodyMs;
  const tooLarge: Refusal = {
    code: rpcCode.resourceExhausted,
    reason: 'too-large',
    message: `the message is larger than ${inMebibytes(largest)}; export smaller batches`,
  };
  let isClosing = false;
  const sessions = new Set<ServerHttp2Session>();

  const refuse = (stream: ServerHttp2Stream, refusal: Refusal): void => {
    options.onRefused?.(refusal.reason);
    respondStatus(stream, refusal);
  };

  /** What is wrong with a call before its message is read. */
  const refusalOf = (headers: IncomingHttpHeaders, signal: Signal | undefined): Refusal | undefined => {
    const type = (headers['content-type'] ?? '').toLowerCase();
    if (!isProtobuf(type)) {
      const message = `${type.slice(0, 100)} is not supported; send application/grpc+proto`;
      return { code: rpcCode.unimplemented, reason: 'media-type', message };
    }
    if (signal === undefined) {
      const message = `method ${String(headers[':path']).slice(0, 100)} is not known; this is an OTLP receiver of traces, logs and metrics`;
      return { code: rpcCode.unimplemented, reason: 'path', message };
    }
    if (expected !== undefined && !isSameToken(headers.authorization, expected)) {
      const message = 'the bearer token is missing or wrong; set OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20..."';
      return { code: rpcCode.unauthenticated, reason: 'token', message };
    }
    const coding = codingOf(headers);
    if (coding !== '' && coding !== 'identity' && coding !== 'gzip') {
      const message = `grpc-encoding ${coding.slice(0, 50)} is not supported; send gzip or identity`;
      return { code: rpcCode.unimplemented, reason: 'content-encoding', message };
    }
    return isClosing ? unavailable('shutting down', 5) : undefined;
  };

  const receive = async (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> => {
    if (headers[':method'] !== 'POST' || !/^application\/grpc/i.test(headers['content-type'] ?? '')) {
      options.onRefused?.('media-type');
      stream.respond({ ':status': 415 }, { endStream: true });
      return;
    }
    const signal = methods[headers[':path'] ?? ''];
    const refusal = refusalOf(headers, signal);
    if (refusal !== undefined || signal === undefined) return refuse(stream, refusal ?? tooLarge);
    const admitted = admission.enter(0);
    if (admitted === undefined) return refuse(stream, unavailable('too many requests are in flight', 1));
    try {
      const waitMs = Math.min(slowest, timeoutMs(headers['grpc-timeout']));
      const framed = await readMessage(stream, largest, waitMs, (bytes) => admitted.holdIfRoom(bytes));
      if (framed.is === 'gone') return;
      if (framed.is === 'no-room') return refuse(stream, unavailable('too many requests are in flight', 1));
      if (framed.is === 'too-large') return refuse(stream, tooLarge);
      if (framed.is === 'slow')
        return refuse(stream, { code: rpcCode.deadlineExceeded, reason: 'slow', message: `no message within ${waitMs} ms` });
      if (framed.is === 'malformed') return refuse(stream, malformed(framed.what));
      let body = framed.bytes;
      if (framed.isCompressed) {
        if (codingOf(headers) !== 'gzip') {
          const message = 'the message is marked as compressed, but grpc-encoding names no compression';
          return refuse(stream, { code: rpcCode.internal, reason: 'malformed', message });
        }
        if (!admitted.holdIfRoom(framed.bytes.length + Math.min(claimedBytes(framed.bytes), largest)))
          return refuse(stream, unavailable('too many requests are in flight', 1));
        const result = await decompress(framed.bytes, largest);
        if (result.is === 'too-large') return refuse(stream, tooLarge);
        if (result.is === 'damaged') return refuse(stream, malformed(result.what));
        body = result.body;
        admitted.hold(framed.bytes.length + body.length);
      }
      const receipt = await options.onPayload({
        signal,
        encoding: 'protobuf',
        compression: framed.isCompressed ? 'gzip' : 'none',
        bytes: framed.bytes,
        body,
      });
      // Refused, it may still be somewhere: then it is left to the collector.
      if (receipt.is === 'accepted') bodies.giveBack(framed.bytes);
      if (receipt.is === 'malformed') refuse(stream, malformed(receipt.message));
      else if (receipt.is === 'busy') refuse(stream, unavailable(receipt.message, receipt.retryAfterS));
      else respond(stream, exportResponse(signal, 'protobuf', receipt.rejected, receipt.message));
    } finally {
      admitted.leave();
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
  // HTTP/1.1 or TLS where neither is spoken: an exporter of the other protocol points here.
  server.on('sessionError', () => options.onRefused?.('protocol'));
  server.on('tlsClientError', () => options.onRefused?.('protocol'));
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined);
    receive(stream, headers).catch(() => refuse(stream, { ...unavailable('the payload could not be stored', 5), reason: 'failed' }));
  });
  await listenOn(server, 'OTLP/gRPC', options.host, options.port);
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

const malformed = (message: string): Refusal => ({ code: rpcCode.invalidArgument, reason: 'malformed', message });
const unavailable = (message: string, retryAfterS: number): Refusal => ({
  code: rpcCode.unavailable,
  reason: 'busy',
  message,
  retryAfterS,
});

const isProtobuf = (type: string): boolean => /^application\/grpc(?:\+proto)?(?:$|[; ])/.test(type);
const codingOf = (headers: IncomingHttpHeaders): string => String(headers['grpc-encoding'] ?? '');

const timeoutUnitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** `grpc-timeout`: at most eight digits and a unit. */
function timeoutMs(header: string | string[] | undefined): number {
  const match = /^(\d{1,8})([HMSmun])$/.exec(String(header ?? ''));
  return match === null ? Number.POSITIVE_INFINITY : Math.max(1, Number(match[1]) * (timeoutUnitMs[match[2] ?? ''] ?? 1));
}

/** Trailers only: what a call gets that has no response. */
function respondStatus(stream: ServerHttp2Stream, { code, message, retryAfterS }: Refusal): void {
  if (stream.destroyed || stream.headersSent) return;
  const details = retryAfterS === undefined ? statusBody('protobuf', code, message) : statusWithRetry(code, message, retryAfterS);
  stream.respond(
    {
      ':status': 200,
      'content-type': 'application/grpc+proto',
      'grpc-accept-encoding': 'identity,gzip',
      'grpc-status': String(code),
      'grpc-message': percentEncoded(message),
      'grpc-status-details-bin': details.toString('base64'),
    },
    { endStream: true },
  );
  // What is still coming is not wanted; the client has its answer.
  if (stream.readableEnded) return;
  stream.close();
  stream.resume();
}

function respond(stream: ServerHttp2Stream, message: Buffer): void {
  if (stream.destroyed) return;
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
  | { readonly is: 'no-room' }
  | { readonly is: 'slow' }
  | { readonly is: 'gone' };

const bodies = new BodyBuffers();

/** The one message of a unary call, which must be whole within `waitMs`. `hasRoom` is asked for what it says of its length beforehand. */
function readMessage(stream: ServerHttp2Stream, largest: number, waitMs: number, hasRoom: (bytes: number) => boolean): Promise<Framed> {
  return new Promise((settle) => {
    const chunks: Buffer<ArrayBuffer>[] = [];
    let length = 0;
    let reserved = 0;
    let isOver = false;
    const timer = setTimeout(() => resolve({ is: 'slow' }), waitMs);
    const resolve = (framed: Framed): void => {
      clearTimeout(timer);
      settle(framed);
    };
    stream.on('data', (chunk: Buffer<ArrayBuffer>) => {
      length += chunk.length;
      // The prefix says how long the message is before it has come.
      const announced = chunks.length === 0 && chunk.length >= 5 ? chunk.readUInt32BE(1) : 0;
      const isTooLarge = length > largest + 5 || announced > largest;
      const needed = Math.max(length, announced + 5);
      if (isTooLarge || (needed > reserved && !hasRoom(needed))) {
        chunks.length = 0;
        isOver = true;
        // The refusal reads the rest of it away.
        stream.removeAllListeners('data');
        resolve({ is: isTooLarge ? 'too-large' : 'no-room' });
        return;
      }
      reserved = Math.max(reserved, needed);
      chunks.push(chunk);
    });
    stream.on('end', () => {
      if (isOver) return;
      const bytes = bodies.gather(chunks, length);
      if (length < 5) return resolve({ is: 'malformed', what: 'the call has no message' });
      const flag = bytes[0] as number;
      const declared = bytes.readUInt32BE(1);
      if (declared > largest) return resolve({ is: 'too-large' });
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

/** As gRPC asks for `grpc-message`: printable ASCII but %, the rest percent-encoded. */
function percentEncoded(message: string): string {
  let text = '';
  for (const byte of Buffer.from(message))
    text +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return text;
}
