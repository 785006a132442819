import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { Admission, isSameToken, listenOn } from './admission.ts';
import { exportResponse, mediaType, rpcCode, statusBody } from './answer.ts';
import { BodyBuffers } from './body-buffers.ts';
import { claimedBytes, decompress } from './decompress.ts';
import {
  type Compression,
  type Encoding,
  inMebibytes,
  largestBodyBytes,
  mostRequestsInFlight,
  type Receiver,
  type ReceiverOptions,
  type RefusedReason,
  type Signal,
  slowestBodyMs,
} from './payload.ts';

export interface OtlpHttpOptions extends ReceiverOptions {
  /** Origins of pages that may post from a browser; none by default, and then no answer has a CORS header. */
  readonly corsOrigins?: readonly string[];
}

const signals: Readonly<Record<string, Signal>> = { '/v1/traces': 'traces', '/v1/logs': 'logs', '/v1/metrics': 'metrics' };

/** What a request is refused with. */
interface Refusal {
  readonly status: number;
  readonly code: number;
  readonly reason: RefusedReason;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * OTLP/HTTP 1.11. Every answer is in the request's encoding; errors are `google.rpc.Status`. What a client did wrong for good is 4xx;
 * what will pass is 429 or 503 with `Retry-After`, the only codes on which exporters try again.
 */
export async function openOtlpHttp(options: OtlpHttpOptions): Promise<Receiver> {
  const largest = options.largestBodyBytes ?? largestBodyBytes;
  const admission = new Admission(options.mostInFlight ?? mostRequestsInFlight, options.mostBytesInFlight ?? 2 * largest);
  const expected = options.token === undefined ? undefined : Buffer.from(`Bearer ${options.token}`);
  const slowest = options.slowestBodyMs ?? slowestBodyMs;
  let isClosing = false;
  const tooLarge: Refusal = {
    status: 413,
    code: rpcCode.invalidArgument,
    reason: 'too-large',
    message: `the body is larger than ${inMebibytes(largest)}; export smaller batches`,
  };

  const refuse = (request: IncomingMessage, response: ServerResponse, encoding: Encoding, refusal: Refusal): void => {
    options.onRefused?.(refusal.reason);
    answer(request, response, refusal.status, encoding, statusBody(encoding, refusal.code, refusal.message), refusal.headers);
  };

  /** What is wrong with a request before its body is read. */
  const refusalOf = (request: IncomingMessage, signal: Signal | undefined, encoding: Encoding | undefined): Refusal | undefined => {
    if (signal === undefined) {
      const path = (request.url ?? '').slice(0, 100);
      const message = `${path} is no OTLP path; post to /v1/traces, /v1/logs or /v1/metrics`;
      return { status: 404, code: rpcCode.notFound, reason: 'path', message };
    }
    if (request.method !== 'POST') {
      const message = `${request.method} is not allowed here; use POST`;
      return { status: 405, code: rpcCode.unimplemented, reason: 'method', message, headers: { allow: 'POST' } };
    }
    if (expected !== undefined && !isSameToken(request.headers.authorization, expected)) {
      const message = 'the bearer token is missing or wrong; set OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20..."';
      return { status: 401, code: rpcCode.unauthenticated, reason: 'token', message, headers: { 'www-authenticate': 'Bearer' } };
    }
    if (encoding === undefined) {
      const type = request.headers['content-type'] ?? '';
      const message = `Content-Type ${type === '' ? 'is missing' : `"${type.slice(0, 100)}" is not supported`}; send application/x-protobuf or application/json`;
      return { status: 415, code: rpcCode.invalidArgument, reason: 'media-type', message };
    }
    if (compressionOf(request.headers['content-encoding']) === undefined) {
      const message = `Content-Encoding "${String(request.headers['content-encoding']).slice(0, 100)}" is not supported; send gzip or none`;
      return { status: 415, code: rpcCode.invalidArgument, reason: 'content-encoding', message, headers: { 'accept-encoding': 'gzip' } };
    }
    return declaredLength(request) > largest ? tooLarge : undefined;
  };

  const receive = async (request: IncomingMessage, response: ServerResponse, encoding: Encoding | undefined): Promise<void> => {
    const path = pathOf(request.url ?? '');
    const signal = signals[path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path];
    const origin = request.headers.origin ?? '';
    if (origin !== '' && options.corsOrigins?.some((allowed) => allowed === '*' || allowed === origin) === true) {
      response.setHeader('access-control-allow-origin', origin);
      response.setHeader('vary', 'origin');
      if (request.method === 'OPTIONS' && signal !== undefined) return preflight(request, response);
    }
    const refusal = refusalOf(request, signal, encoding);
    if (refusal !== undefined || signal === undefined || encoding === undefined)
      return refuse(request, response, encoding ?? 'json', refusal ?? tooLarge);
    if (isClosing) return refuse(request, response, encoding, unavailable('shutting down', 5));
    const declared = declaredLength(request);
    const admitted = admission.enter(declared);
    if (admitted === undefined) return refuse(request, response, encoding, tooMany);
    try {
      // Only now: what is refused before need not be sent.
      if (expectsContinue(request)) response.writeContinue();
      const bytes = await readBody(request, largest, (length) => length <= declared || admitted.holdIfRoom(length));
      if (bytes === 'no-room') return refuse(request, response, encoding, tooMany);
      if (bytes === 'too-large') return refuse(request, response, encoding, tooLarge);
      if (bytes === 'gone') return;
      const compression = compressionOf(request.headers['content-encoding']) ?? 'none';
      let body = bytes;
      if (compression === 'gzip') {
        if (!admitted.holdIfRoom(bytes.length + Math.min(claimedBytes(bytes), largest)))
          return refuse(request, response, encoding, tooMany);
        const result = await decompress(bytes, largest);
        if (result.is === 'too-large') return refuse(request, response, encoding, tooLarge);
        if (result.is === 'damaged') return refuse(request, response, encoding, malformed(result.what));
        body = result.body;
        admitted.hold(bytes.length + body.length);
      }
      const receipt = await options.onPayload({ signal, encoding, compression, bytes, body });
      // A connection that is kept would hold the shutdown up until somebody looks for idle ones.
      if (isClosing) response.setHeader('connection', 'close');
      // Refused, it may still be somewhere: then it is left to the collector.
      if (receipt.is === 'accepted') bodies.giveBack(bytes);
      if (receipt.is === 'malformed') refuse(request, response, encoding, malformed(receipt.message));
      else if (receipt.is === 'busy') refuse(request, response, encoding, unavailable(receipt.message, receipt.retryAfterS));
      else answer(request, response, 200, encoding, exportResponse(signal, encoding, receipt.rejected, receipt.message));
    } finally {
      admitted.leave();
    }
  };

  const last = new WeakMap<Socket, { readonly request: IncomingMessage; readonly response: ServerResponse }>();
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const encoding = encodingOf(request.headers['content-type']);
    last.set(request.socket, { request, response });
    receive(request, response, encoding).catch(() => {
      // Nothing that a client sends comes here: the journal failed. The exporter keeps the data and tries again.
      if (response.headersSent) response.destroy();
      else refuse(request, response, encoding ?? 'json', { ...unavailable('the payload could not be stored', 5), reason: 'failed' });
    });
  };
  // A client that trickles its body holds a slot for `slowest` at most.
  const limits = {
    requestTimeout: slowest,
    headersTimeout: Math.min(20_000, slowest),
    connectionsCheckingInterval: Math.min(5_000, slowest),
  };
  const server: Server =
    options.tls === undefined
      ? createServer(limits, onRequest)
      : createTlsServer({ ...limits, key: options.tls.key, cert: options.tls.cert }, onRequest);
  server.keepAliveTimeout = 75_000;
  server.maxConnections = 4096;
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const [reason, status, code, message] = clientFault(error.code ?? '');
    options.onRefused?.(reason);
    const before = last.get(socket);
    // What came after a whole request is at fault, not the request: its own answer goes first, and is the last.
    if (before?.request.complete === true && !before.response.writableEnded)
      return void before.response.once('finish', () => socket.destroySoon());
    const encoding = before === undefined || before.request.complete ? undefined : encodingOf(before.request.headers['content-type']);
    const body = statusBody(encoding ?? 'json', code, message);
    socket.write(
      `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: ${mediaType[encoding ?? 'json']}\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.end(body);
  });
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    const message = `Expect "${String(request.headers.expect).slice(0, 100)}" is not supported; send 100-continue or nothing`;
    const refusal: Refusal = { status: 417, code: rpcCode.invalidArgument, reason: 'protocol', message };
    refuse(request, response, encodingOf(request.headers['content-type']) ?? 'json', refusal);
  });
  server.on('tlsClientError', () => options.onRefused?.('protocol'));
  await listenOn(server, 'OTLP/HTTP', options.host, options.port);
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      isClosing = true;
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      });
    },
  };
}

const malformed = (message: string): Refusal => ({ status: 400, code: rpcCode.invalidArgument, reason: 'malformed', message });
const unavailable = (message: string, retryAfterS: number): Refusal => ({
  status: 503,
  code: rpcCode.unavailable,
  reason: 'busy',
  message,
  headers: { 'retry-after': String(retryAfterS) },
});
const tooMany: Refusal = {
  status: 429,
  code: rpcCode.resourceExhausted,
  reason: 'busy',
  message: 'too many requests are in flight',
  headers: { 'retry-after': '1' },
};

/** Of what is no whole request: reason, status, code and message. */
function clientFault(code: string): readonly [RefusedReason, string, number, string] {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return ['slow', '408 Request Timeout', rpcCode.deadlineExceeded, 'the request did not come whole in time'];
  if (code === 'HPE_HEADER_OVERFLOW')
    return ['too-large', '431 Request Header Fields Too Large', rpcCode.invalidArgument, 'the headers are too large'];
  return ['protocol', '400 Bad Request', rpcCode.invalidArgument, 'this is no HTTP/1.1 request, or it is damaged'];
}

/** Without the query; of an absolute address, which is what goes through a proxy, without scheme and host. */
const pathOf = (url: string): string => url.replace(/^https?:\/\/[^/?]*/i, '').split('?', 1)[0] ?? '';
const expectsContinue = (request: IncomingMessage): boolean => /^100-continue$/i.test(request.headers.expect ?? '');

function encodingOf(contentType: string | undefined): Encoding | undefined {
  const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  return type === 'application/x-protobuf' ? 'protobuf' : type === 'application/json' ? 'json' : undefined;
}

function compressionOf(header: string | undefined): Compression | undefined {
  const value = (header ?? '').trim().toLowerCase();
  if (value === '' || value === 'identity' || value === 'none') return 'none';
  return value === 'gzip' || value === 'x-gzip' ? 'gzip' : undefined;
}

const declaredLength = (request: IncomingMessage): number => Number(request.headers['content-length'] ?? 0);

function preflight(request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  response.writeHead(204, {
    'access-control-allow-methods': 'POST',
    'access-control-allow-headers': request.headers['access-control-request-headers'] ?? 'content-type, content-encoding, authorization',
    'access-control-max-age': '7200',
  });
  response.end();
}

const bodies = new BodyBuffers();
/** Memory that is taken for a body before all of it has come. */
const mostTakenAhead = 1024 * 1024;

/** The whole body; `gone` where the client hung up, `no-room` where `hasRoom` says so of the bytes that have come. */
function readBody(
  request: IncomingMessage,
  largest: number,
  hasRoom: (length: number) => boolean,
): Promise<Buffer | 'too-large' | 'no-room' | 'gone'> {
  return new Promise((resolve) => {
    const chunks: Buffer<ArrayBuffer>[] = [];
    // Each chunk is copied while the caches hold it, where the sender has said how much there will be.
    const declared = declaredLength(request);
    let whole: Buffer | undefined;
    let length = 0;
    let isOver = false;
    const giveUp = (reason: 'too-large' | 'no-room' | 'gone'): void => {
      if (whole !== undefined) bodies.giveBack(whole);
      whole = undefined;
      chunks.length = 0;
      resolve(reason);
    };
    request.on('data', (chunk: Buffer<ArrayBuffer>) => {
      if (isOver) return;
      length += chunk.length;
      if (length > largest || !hasRoom(length)) {
        isOver = true;
        request.removeAllListeners('data');
        giveUp(length > largest ? 'too-large' : 'no-room');
        return;
      }
      if (chunk.length < declared && declared <= mostTakenAhead) whole ??= bodies.take(declared);
      if (whole === undefined) chunks.push(chunk);
      else bodies.move(chunk, whole, length - chunk.length);
    });
    request.on('end', () => {
      if (isOver) return;
      isOver = true;
      resolve(whole ?? bodies.gather(chunks, length));
    });
    const hangUp = (): void => {
      if (isOver) return;
      isOver = true;
      giveUp('gone');
    };
    request.on('close', hangUp);
    request.on('error', hangUp);
  });
}

/** What is read and thrown away of a body that was refused, so that its sender reads the answer instead of a reset. */
const mostDiscardedBytes = 8 * 1024 * 1024;
const longestDiscardMs = 2_000;

/**
 * Answers; where the body has not been read, the connection stays for the next request if the rest of it is short, and is closed in its
 * own time otherwise: closing with unread bytes resets it, and a client that still writes would never see what was wrong.
 */
function answer(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  encoding: Encoding,
  body: Buffer,
  headers: Readonly<Record<string, string>> = {},
): void {
  const head = { 'content-type': mediaType[encoding], 'content-length': body.length, ...headers };
  // Who waits to be told to go on has sent no body, and may or may not do so now.
  const isWaiting = expectsContinue(request) && !request.readableDidRead;
  if (request.readableEnded || isWaiting) {
    response.writeHead(status, isWaiting ? { ...head, connection: 'close' } : head);
    response.end(body);
    return;
  }
  const isShort = request.headers['transfer-encoding'] === undefined && declaredLength(request) <= mostDiscardedBytes;
  response.writeHead(status, isShort ? head : { ...head, connection: 'close' });
  response.write(body);
  let left = mostDiscardedBytes;
  const timer = setTimeout(() => request.destroy(), longestDiscardMs);
  const end = (): void => {
    clearTimeout(timer);
    response.end();
  };
  request.on('data', (chunk: Buffer<ArrayBuffer>) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  request.once('end', end);
  request.once('close', end);
  request.resume();
}
