import type { Encoding, Signal } from './payload.ts';

/** google.rpc.Code values that OTLP uses. */
export const rpcCode = {
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

export const mediaType: Readonly<Record<Encoding, string>> = { protobuf: 'application/x-protobuf', json: 'application/json' };

const rejectedField: Readonly<Record<Signal, string>> = {
  traces: 'rejectedSpans',
  logs: 'rejectedLogRecords',
  metrics: 'rejectedDataPoints',
};

/**
 * `Export*ServiceResponse`. Without `partial_success` where all was taken; with it where something was rejected, or nothing was but there
 * is a warning (the specification's use of the message with a count of 0).
 */
export function exportResponse(signal: Signal, encoding: Encoding, rejected: number, message: string): Buffer {
  if (encoding === 'json') {
    if (rejected === 0 && message === '') return emptyJson;
    return Buffer.from(JSON.stringify({ partialSuccess: { [rejectedField[signal]]: String(rejected), errorMessage: message } }));
  }
  if (rejected === 0 && message === '') return nothing;
  const partial = Buffer.concat([
    ...(rejected === 0 ? [] : [Buffer.from([0x08]), varint(rejected)]),
    lengthDelimited(0x12, Buffer.from(message)),
  ]);
  return lengthDelimited(0x0a, partial);
}

/** `google.rpc.Status`, in the request's encoding. */
export function statusBody(encoding: Encoding, code: number, message: string): Buffer {
  if (encoding === 'json') return Buffer.from(JSON.stringify({ code, message }));
  return Buffer.concat([Buffer.from([0x08]), varint(code), lengthDelimited(0x12, Buffer.from(message))]);
}

/** `google.rpc.Status` with a `google.rpc.RetryInfo` detail: how gRPC says when to come back. */
export function statusWithRetry(code: number, message: string, retryAfterS: number): Buffer {
  const delay = lengthDelimited(0x0a, Buffer.concat([Buffer.from([0x08]), varint(retryAfterS)]));
  const any = Buffer.concat([lengthDelimited(0x0a, Buffer.from('type.googleapis.com/google.rpc.RetryInfo')), lengthDelimited(0x12, delay)]);
  return Buffer.concat([statusBody('protobuf', code, message), lengthDelimited(0x1a, any)]);
}

const nothing: Buffer = Buffer.alloc(0);
const emptyJson: Buffer = Buffer.from('{}');

function lengthDelimited(tag: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([tag]), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
