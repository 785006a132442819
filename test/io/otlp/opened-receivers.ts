import { openOtlpGrpc } from '../../../src/io/otlp/grpc.ts';
import { openOtlpHttp, type OtlpHttpOptions } from '../../../src/io/otlp/http.ts';
import type { Payload, Receipt, Receiver, ReceiverOptions, RefusedReason } from '../../../src/io/otlp/payload.ts';

export const accepted: Receipt = { is: 'accepted', rejected: 0, message: '' };
export const host = '127.0.0.1';
export const protobuf = { 'content-type': 'application/x-protobuf' };

export interface Opened {
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
/** An OTLP/HTTP receiver on a free port for as long as `body` takes. */
export const http = <T>(options: Partial<OtlpHttpOptions>, body: (opened: Opened, receiver: Receiver) => Promise<T>): Promise<T> =>
  opened(openOtlpHttp, options, body);
export const grpc = <T>(options: Partial<ReceiverOptions>, body: (opened: Opened, receiver: Receiver) => Promise<T>): Promise<T> =>
  opened(openOtlpGrpc, options, body);

export const exportPath = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
