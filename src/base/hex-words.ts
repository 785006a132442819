/** Values of hexadecimal digits by character code; others count as 0. */
const digitValues: Uint8Array<ArrayBuffer> = new Uint8Array(256);
for (let value = 0; value < 16; value += 1) {
  digitValues[value.toString(16).charCodeAt(0)] = value;
  digitValues[value.toString(16).toUpperCase().charCodeAt(0)] = value;
}

/**
 * Writes `count` words of eight hexadecimal digits each, bytes in the order of the text, so that {@link hexOf} gives it back. An id of a
 * span is a third of its text that way, and no object that a collector has to look at.
 */
export function packHex(text: string, words: Int32Array, at: number, count: number): void {
  for (let word = 0, i = 0; word < count; word += 1, i += 8) {
    const one = ((digitValues[text.charCodeAt(i) & 255] as number) << 4) | (digitValues[text.charCodeAt(i + 1) & 255] as number);
    const two = ((digitValues[text.charCodeAt(i + 2) & 255] as number) << 4) | (digitValues[text.charCodeAt(i + 3) & 255] as number);
    const three = ((digitValues[text.charCodeAt(i + 4) & 255] as number) << 4) | (digitValues[text.charCodeAt(i + 5) & 255] as number);
    const four = ((digitValues[text.charCodeAt(i + 6) & 255] as number) << 4) | (digitValues[text.charCodeAt(i + 7) & 255] as number);
    words[at + word] = one | (two << 8) | (three << 16) | (four << 24);
  }
}

/** The text of `count` words. */
export function hexOf(words: Int32Array, at: number, count: number): string {
  return Buffer.from(words.buffer, words.byteOffset + at * 4, count * 4).toString('hex');
}
