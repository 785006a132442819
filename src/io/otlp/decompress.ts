import { gunzip } from 'node:zlib';
import { largestBodyBytes } from './payload.ts';

export type Decompressed =
  | { readonly is: 'whole'; readonly body: Buffer }
  | { readonly is: 'too-large' }
  | { readonly is: 'damaged'; readonly what: string };

/**
 * Gunzips off the event loop, never to more than `largestBodyBytes`. The trailer's claim of the size picks the output buffer, so that an
 * honest payload is one trip to the thread pool and an honest bomb is refused unopened. Output beyond the claim is a second member (which
 * gzip allows) or a lie (which its check finds): only then is the whole bound given.
 */
export async function decompress(bytes: Buffer): Promise<Decompressed> {
  if (bytes.length < 18 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return { is: 'damaged', what: 'the body is not gzip' };
  const claimed = bytes.readUInt32LE(bytes.length - 4);
  // Deflate reaches 1032:1 at most; a larger claim is not of this body.
  if (claimed > largestBodyBytes && claimed <= bytes.length * 1032) return { is: 'too-large' };
  const first = await unzip(bytes, Math.min(claimed + 64, largestBodyBytes));
  return first.is === 'too-large' && claimed + 64 < largestBodyBytes ? unzip(bytes, largestBodyBytes) : first;
}

function unzip(bytes: Buffer, most: number): Promise<Decompressed> {
  return new Promise((resolve) => {
    gunzip(bytes, { chunkSize: Math.max(1024, Math.min(most, largestChunkBytes)), maxOutputLength: most }, (error, body) => {
      if (error === null) resolve({ is: 'whole', body });
      else if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') resolve({ is: 'too-large' });
      else resolve({ is: 'damaged', what: `the gzip body is damaged: ${error.message}` });
    });
  });
}

const largestChunkBytes = 4 * 1024 * 1024;
