import { gunzip } from 'node:zlib';
import { largestBodyBytes } from './payload.ts';

export type Decompressed =
  | { readonly is: 'whole'; readonly body: Buffer }
  | { readonly is: 'too-large' }
  | { readonly is: 'damaged'; readonly what: string };

/**
 * Gunzips off the event loop, never to more than `largestBodyBytes`. The trailer's claim of the size picks the output buffer, so that an
 * honest payload is one trip to the thread pool; a lying one costs at most the bound.
 */
export function decompress(bytes: Buffer): Promise<Decompressed> {
  if (bytes.length < 18 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return Promise.resolve({ is: 'damaged', what: 'the body is not gzip' });
  const claimed = bytes.readUInt32LE(bytes.length - 4);
  // Deflate reaches 1032:1 at most; a larger claim is a lie or another member follows.
  const chunkSize = Math.max(1024, Math.min(claimed + 64, largestChunkBytes, bytes.length * 1032 + 1024));
  return new Promise((resolve) => {
    gunzip(bytes, { chunkSize, maxOutputLength: largestBodyBytes }, (error, body) => {
      if (error === null) resolve({ is: 'whole', body });
      else if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') resolve({ is: 'too-large' });
      else resolve({ is: 'damaged', what: `the gzip body is damaged: ${error.message}` });
    });
  });
}

const largestChunkBytes = 4 * 1024 * 1024;
