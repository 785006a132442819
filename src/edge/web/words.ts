/** Numbers, times and words as the page shows them. */
export function count(value: number, one: string, many = `${one}s`): string {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** Thin spaces between thousands: 1 930. */
export function number(value: number, digits = 0): string {
  return value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits }).replaceAll(',', '\u202f');
}

export function span(ms: number): string {
  const absolute = Math.abs(ms);
  if (absolute < 1_000) return `${Math.round(absolute)} ms`;
  if (absolute < 90_000) return `${Math.round(absolute / 1_000)} s`;
  if (absolute < 5_400_000) return `${Math.round(absolute / 60_000)} min`;
  if (absolute < 172_800_000) return `${Math.round(absolute / 3_600_000)} h`;
  return `${Math.round(absolute / 86_400_000)} d`;
}

export function ago(ms: number, nowMs: number): string {
  return nowMs - ms < 1_500 ? 'just now' : `${span(nowMs - ms)} ago`;
}

export function absolute(ms: number): string {
  return new Date(ms).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

export function clock(ms: number): string {
  const date = new Date(ms);
  const pad = (value: number, digits = 2): string => String(value).padStart(digits, '0');
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

/** A key as a person says it: the value alone where there is one column. */
export function keyWords(key: Readonly<Record<string, string>>): string {
  const entries = Object.entries(key);
  return entries.length === 1 ? (entries[0]?.[1] ?? '') : entries.map(([column, value]) => `${column} ${value}`).join(', ');
}

export function shortDigest(digest: string): string {
  return `${digest.slice(0, 8)}…${digest.slice(-4)}`;
}

export function list(words: readonly string[]): string {
  return words.length < 2 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
