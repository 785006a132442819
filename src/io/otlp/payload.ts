export type Signal = 'traces' | 'logs' | 'metrics';
export type Encoding = 'protobuf' | 'json';
export type Compression = 'none' | 'gzip';

/** One export request, whatever it came over. */
export interface Payload {
  readonly signal: Signal;
  readonly encoding: Encoding;
  readonly compression: Compression;
  /** As received: what the journal keeps. */
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

/** 64 MiB after decompression, as the Collector's confighttp has it by default of the same order; beyond it an exporter is at fault. */
export const largestBodyBytes = 64 * 1024 * 1024;
