/**
 * Zeroed 32-bit words, of which every sixteenth begins a line of the processor's cache in large tables, so that a row of sixteen is one miss
 * and not two. Where memory begins cannot be asked for: glibc puts 16 bytes before what it maps, and where another allocator does not,
 * nothing but that is lost.
 */
export function lineWords(length: number): Int32Array<ArrayBuffer> {
  return new Int32Array(new ArrayBuffer(lineBytes + length * 4), lineBytes - headerBytes, length);
}

const lineBytes = 64;
const headerBytes = 16;
