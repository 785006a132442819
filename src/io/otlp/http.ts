import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Failure } from '../../base/failure.ts';
import { exportResponse, mediaType, rpcCode, statusBody } from './answer.ts';
import { decompress } from './decompress.ts';
import { type Compression, type Encoding, largestBodyBytes, type Payload, type Receipt, type Signal } from './payload.ts';

export interface OtlpHttpOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Answers once the payload is safe; must not throw for anything that a client can send. */
  readonly onPayload: (payload: Payload) => Promise<Receipt>;
  /** Counts what was refused before `onPayload` saw it. */
  readonly onRefused?: (reason: RefusedReason) => void;
  /** Bearer token that exporters must send; absent: none. */
  readonly token?: string;
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Requests held at once; more are answered 429. */
  readonly mostInFlight?: number;
  /** Body bytes held at once, decompressed; more are answered 429. */
  readonly mostBytesInFlight?: number;
}

export type RefusedReason = 'path' | 'method' | 'media-type' | 'content-encoding' | 'too-large' | 'malformed' | 'busy' | 'token' | 'failed';

export interface OtlpReceiver {
  readonly port: number;
  /** Stops taking connections, answers what is in flight, closes. */
  close(): Promise<void>;
}

const signals: Readonly<Record<string, Signal>> = { '/v1/traces': 'traces', '/v1/logs': 'logs', '/v1/metrics': 'metrics' };

/**
 * OTLP/HTTP 1.11. Every answer is in the request's encoding; errors are `google.rpc.Status`. What a client did wrong for good is 4xx;
 * what will pass is 429 or 503 with `Retry-After`, the only codes on which exporters try again.
 */
export async function openOtlpHttp(options: OtlpHttpOptions): Promise<OtlpReceiver> {
  const mostInFlight = options.mostInFlight ?? 256;
  const mostBytes = options.mostBytesInFlight ?? 2 * largestBodyBytes;
  const expected = options.token === undefined ? undefined : Buffer.from(`Bearer ${options.token}`);
  let inFlight = 0;
  let bytesInFlight = 0;
  let isClosing = false;

  const refuse = (
    response: ServerResponse,
    encoding: Encoding,
    status: number,
    code: number,
    reason: RefusedReason,
    message: string,
    headers: Readonly<Record<string, string>> = {},
  ): void => {
    options.onRefused?.(reason);
    answer(response, status, encoding, statusBody(encoding, code, message), headers);
  };

  const receive = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
    const encoding: Encoding | undefined =
      type === 'application/x-protobuf' ? 'protobuf' : type === 'application/json' ? 'json' : undefined;
    const spoken = encoding ?? 'json';
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    const signal = signals[path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path];
    // The body of a refused request is not read: the connection is closed after the answer, unless it has none.
    const close = { connection: 'close' };
    if (signal === undefined)
      return refuse(
        response,
        spoken,
        404,
        rpcCode.notFound,
        'path',
        `${path.slice(0, 100)} is no OTLP path; post to /v1/traces, /v1/logs or /v1/metrics`,
        close,
      );
    if (request.method !== 'POST')
      return refuse(response, spoken, 405, rpcCode.unimplemented, 'method', `${request.method} is not allowed here; use POST`, {
        ...close,
        allow: 'POST',
      });
    if (expected !== undefined && !isSameToken(request.headers.authorization, expected)) {
      return refuse(response, spoken, 401, rpcCode.unauthenticated, 'token', 'the bearer token is missing or wrong', {
        ...close,
        'www-authenticate': 'Bearer',
      });
    }
    if (encoding === undefined) {
      return refuse(
        response,
        spoken,
        415,
        rpcCode.invalidArgument,
        'media-type',
        `Content-Type ${type === '' ? 'is missing' : `"${type.slice(0, 100)}" is not supported`}; send application/x-protobuf or application/json`,
        close,
      );
    }
    const compression = compressionOf(request.headers['content-encoding']);
    if (compression === undefined) {
      return refuse(
        response,
        encoding,
        415,
        rpcCode.invalidArgument,
        'content-encoding',
        `Content-Encoding "${String(request.headers['content-encoding']).slice(0, 100)}" is not supported; send gzip or none`,
        {
          ...close,
          'accept-encoding': 'gzip',
        },
      );
    }
    const tooLarge = `the body is larger than ${largestBodyBytes} bytes (${largestBodyBytes / 1024 / 1024} MiB); export smaller batches`;
    const declared = Number(request.headers['content-length'] ?? 0);
    if (declared > largestBodyBytes) return refuse(response, encoding, 413, rpcCode.invalidArgument, 'too-large', tooLarge, close);
    if (isClosing) return refuse(response, encoding, 503, rpcCode.unavailable, 'busy', 'shutting down', { ...close, 'retry-after': '5' });
    if (inFlight >= mostInFlight || bytesInFlight + declared > mostBytes) {
      return refuse(response, encoding, 429, rpcCode.resourceExhausted, 'busy', 'too many requests are in flight', {
        ...close,
        'retry-after': '1',
      });
    }
    inFlight += 1;
    let held = declared;
    bytesInFlight += held;
    const hold = (bytes: number): void => {
      bytesInFlight += bytes - held;
      held = bytes;
    };
    try {
      const bytes = await readBody(request, (length) => length > held && hold(length));
      if (bytes === 'too-large') return refuse(response, encoding, 413, rpcCode.invalidArgument, 'too-large', tooLarge, close);
      if (bytes === 'gone') return;
      let body = bytes;
      if (compression === 'gzip') {
        const result = await decompress(bytes);
        if (result.is === 'too-large') return refuse(response, encoding, 413, rpcCode.invalidArgument, 'too-large', tooLarge);
        if (result.is === 'damaged') return refuse(response, encoding, 400, rpcCode.invalidArgument, 'malformed', result.what);
        body = result.body;
        hold(bytes.length + body.length);
      }
      const receipt = await options.onPayload({ signal, encoding, compression, bytes, body });
      if (receipt.is === 'accepted') answer(response, 200, encoding, exportResponse(signal, encoding, receipt.rejected, receipt.message));
      else if (receipt.is === 'malformed') refuse(response, encoding, 400, rpcCode.invalidArgument, 'malformed', receipt.message);
      else refuse(response, encoding, 503, rpcCode.unavailable, 'busy', receipt.message, { 'retry-after': String(receipt.retryAfterS) });
    } finally {
      inFlight -= 1;
      bytesInFlight -= held;
    }
  };

  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    receive(request, response).catch(() => {
      // Nothing that a client sends comes here: the journal failed. The exporter keeps the data and tries again.
      if (!response.headersSent)
        refuse(response, 'json', 503, rpcCode.unavailable, 'failed', 'the payload could not be stored', { 'retry-after': '5' });
      else response.destroy();
    });
  };
  const server: Server =
    options.tls === undefined ? createServer(onRequest) : createTlsServer({ key: options.tls.key, cert: options.tls.cert }, onRequest);
  server.keepAliveTimeout = 75_000;
  // A client that trickles its body holds a slot for this long at most.
  server.requestTimeout = 60_000;
  server.headersTimeout = 20_000;
  server.maxConnections = 4096;
  await listen(server, options.host, options.port);
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

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const what =
        error.code === 'EADDRINUSE'
          ? 'is in use; stop what listens there or choose another with --port-base'
          : `cannot be opened (${error.code ?? error.message})`;
      reject(new Failure('port', `OTLP/HTTP port ${port} on ${host} ${what}`, 'never', error));
    });
    server.listen(port, host, () => resolve());
  });
}

function compressionOf(header: string | undefined): Compression | undefined {
  const value = (header ?? '').trim().toLowerCase();
  if (value === '' || value === 'identity' || value === 'none') return 'none';
  return value === 'gzip' || value === 'x-gzip' ? 'gzip' : undefined;
}

function isSameToken(header: string | undefined, expected: Buffer): boolean {
  const given = Buffer.from(header ?? '');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** The whole body; `gone` where the client hung up. */
function readBody(request: IncomingMessage, onLength: (length: number) => void): Promise<Buffer | 'too-large' | 'gone'> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      onLength(length);
      if (length > largestBodyBytes) {
        request.removeAllListeners('data');
        request.pause();
        resolve('too-large');
        return;
      }
      chunks.push(chunk);
    });
    request.on('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length)));
    request.on('close', () => resolve('gone'));
    request.on('error', () => resolve('gone'));
  });
}

function answer(
  response: ServerResponse,
  status: number,
  encoding: Encoding,
  body: Buffer,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': mediaType[encoding], 'content-length': body.length, ...headers });
  response.end(body);
}
