/**
 * Internet addresses as PostgreSQL prints them (row encoding v1): dotted quads; IPv6 in lower case with the longest run of zero groups
 * compressed, an embedded IPv4 address as such; a prefix length unless it covers the whole address.
 */
export function canonicalInet(value: string): string {
  const [address = '', length] = value.trim().toLowerCase().split('/');
  if (length !== undefined && !/^\d{1,3}$/.test(length)) throw refused();
  const isV6 = address.includes(':');
  const full = isV6 ? 128 : 32;
  const prefix = length === undefined ? full : Number(length);
  if (prefix > full) throw refused();
  const text = isV6 ? writeV6(readV6(address)) : readV4(address).join('.');
  return prefix === full ? text : `${text}/${prefix}`;
}

function readV4(text: string): readonly number[] {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) throw refused();
  return parts.map(Number);
}

function readV6(text: string): readonly number[] {
  const halves = text.split('::');
  if (halves.length > 2) throw refused();
  const groups = halves.map((half) => (half === '' ? [] : half.split(':').flatMap(readGroup)));
  const [head = [], tail = []] = groups;
  const gap = 8 - head.length - tail.length;
  if (halves.length === 1 ? gap !== 0 : gap < 1) throw refused();
  return [...head, ...Array.from({ length: gap }, () => 0), ...tail];
}

function readGroup(text: string): readonly number[] {
  if (text.includes('.')) {
    const [a = 0, b = 0, c = 0, d = 0] = readV4(text);
    return [a * 256 + b, c * 256 + d];
  }
  if (!/^[0-9a-f]{1,4}$/.test(text)) throw refused();
  return [Number.parseInt(text, 16)];
}

function writeV6(groups: readonly number[]): string {
  let bestAt = -1;
  let bestLength = 1; // A single zero group is not compressed.
  for (let at = 0; at < 8; at += 1) {
    let end = at;
    while (end < 8 && groups[end] === 0) end += 1;
    if (end - at > bestLength) {
      bestAt = at;
      bestLength = end - at;
    }
  }
  const embedsV4 =
    bestAt === 0 && (bestLength === 6 || (bestLength === 5 && groups[5] === 0xffff) || (bestLength === 7 && groups[7] !== 1));
  if (embedsV4) {
    const [high = 0, low = 0] = groups.slice(6);
    return `${bestLength === 5 ? '::ffff:' : '::'}${[high >> 8, high & 255, low >> 8, low & 255].join('.')}`;
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  return bestAt < 0 ? hex(groups) : `${hex(groups.slice(0, bestAt))}::${hex(groups.slice(bestAt + bestLength))}`;
}

function refused(): RangeError {
  return new RangeError('not an internet address');
}
