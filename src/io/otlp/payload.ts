export type Signal = 'traces' | 'logs' | 'metrics';
export type Encoding = 'protobuf' | 'json';
export type Compression = 'none' | 'gzip';

/** One export request, whatever it came over. */
export interface Payload {
  readonly signal: Signal;
  readonly encoding: Encoding;
  readonly compression: Compression;
  /** As received: what the journal keeps. Its memory is used again once the receipt says `accepted`. */
  readonly bytes: Buffer;
  /** Decompressed. */
  readonly body: Buffer;
}

/** What the receiver answers. `accepted` only once the bytes are where they survive a crash. */
export type Receipt =
  | { readonly is: 'accepted'; readonly rejected: number; readonly message: string }
  | { readonly is: 'malformed'; readonly message: string }
  /** Full or shutting down: the exporter is to send the same again later. */
  | { readonly is: 'busy'; readonly message: string; readonly retryAfterS: number };

/** How a receiver listens and what it takes; the same for HTTP and gRPC. */
export interface ReceiverOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Answers once the payload is safe; must not throw for anything that a client can send. */
  readonly onPayload: (payload: Payload) => Promise<Receipt>;
  /** Counts what was refused before `onPayload` saw it. */
  readonly onRefused?: (reason: RefusedReason) => void;
  /** Bearer token that exporters must send; absent: none. */
  readonly token?: string;
  /** PEM texts. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Largest request after decompression, bytes. */
  readonly largestBodyBytes?: number;
  /** Requests held at once; more are told to come back. */
  readonly mostInFlight?: number;
  /** Body bytes held at once, decompressed; more are told to come back. */
  readonly mostBytesInFlight?: number;
  /** A body that has not come whole after this is not waited for. */
  readonly slowestBodyMs?: number;
}

export type RefusedReason =
  | 'path'
  | 'method'
  | 'media-type'
  | 'content-encoding'
  | 'too-large'
  | 'malformed'
  | 'busy'
  | 'token'
  | 'failed'
  | 'slow'
  /** Another protocol than this port speaks: TLS on a plain port, HTTP/2 where HTTP/1.1 is spoken. */
  | 'protocol';

export interface Receiver {
  readonly port: number;
  /** Stops taking connections, answers what is in flight, closes. */
  close(): Promise<void>;
}

/** 64 MiB after decompression, as the Collector's confighttp has it by default of the same order; beyond it an exporter is at fault. */
export const largestBodyBytes = 64 * 1024 * 1024;
export const mostRequestsInFlight = 256;
export const slowestBodyMs = 60_000;

export const inMebibytes = (bytes: number): string => `${bytes} bytes (${Number((bytes / 1024 / 1024).toFixed(2))} MiB)`;
