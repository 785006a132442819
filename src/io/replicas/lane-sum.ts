/** The sum of a range digest from two sums of signed 64-bit integers, as engines print them (any number of digits). */
export function laneSum(high: string, low: string): string {
  return lane(high) + lane(low);
}

function lane(sum: string): string {
  return BigInt.asUintN(64, BigInt(sum)).toString(16).padStart(16, '0');
}

/** Adds row digests lane by lane, for stores whose rows are hashed here. */
export class DigestSum {
  #count = 0;
  #high = 0n;
  #low = 0n;

  add(digest: string): void {
    this.#count += 1;
    this.#high += BigInt(`0x${digest.slice(0, 16)}`);
    this.#low += BigInt(`0x${digest.slice(16)}`);
  }

  result(): { readonly count: number; readonly sum: string } {
    return { count: this.#count, sum: laneSum(this.#high.toString(), this.#low.toString()) };
  }
}

/** The bucket of a key: the low bits of the first 64 of its digest. `buckets` is a power of two, at most 2^32. */
export function bucketOfDigest(keyDigest: string, buckets: number): number {
  return Number.parseInt(keyDigest.slice(8, 16), 16) % buckets;
}
