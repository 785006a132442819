import type { CanonicalType, Row, Shape } from '../domain/row.ts';
import { compareDecimals, parseDecimal, subtractDecimals } from './decimal.ts';
import type { Situation } from './strategy.ts';

/** Columns of class `clock`, in the shape's order: `updated_at`, a version counter, a hybrid logical clock as text that sorts. */
export function clockColumns(situation: Situation): readonly string[] {
  return situation.shape.columns.map((column) => column.name).filter((name) => situation.collection.columnClasses[name] === 'clock');
}

export function tombstoneColumn(situation: Situation): string | null {
  return situation.shape.columns.find((column) => situation.collection.columnClasses[column.name] === 'tombstone')?.name ?? null;
}

/** Whether a tombstone is set: a time, a flag or a number of it. `false`, 0 and an empty text say that the row lives, as NULL does. */
export function isTombstone(type: CanonicalType | undefined, value: string | null): boolean {
  if (value === null || value === '') return false;
  if (type === 'bool') return value === 'true';
  return !((type === 'int' || type === 'numeric' || type === 'float') && value === '0');
}

/** Hosts that are further apart refuse each other's tickets (Kerberos), so no fleet lives long with more. */
const aheadLimitMs = 300_000;

/** Whether a clock that measures time is in the future: then it was not the time of a write, and would win over all that come. */
export function isAhead(situation: Situation, column: string, value: string | null): boolean {
  const type = situation.shape.columns.find((each) => each.name === column)?.type;
  if (value === null) return false;
  if (type === 'timestamp' || type === 'timestamptz') {
    const atUs = instantUs(value);
    // A timestamp without a zone may be of any: the furthest is 14 hours ahead of UTC.
    const zoneMs = type === 'timestamp' ? 14 * 3_600_000 : 0;
    return atUs !== null && Number(atUs) / 1000 > situation.nowMs + aheadLimitMs + zoneMs;
  }
  if (type !== 'int') return false;
  const decimal = parseDecimal(value);
  const atMs = decimal === null ? null : epochGapMs(decimal, decimal);
  return atMs !== null && atMs > situation.nowMs + aheadLimitMs;
}

/** Order of two clock values in canonical text; null where they cannot be ordered. `gapMs` is null where the clock does not measure time. */
export function compareClocks(
  shape: Shape,
  column: string,
  a: string,
  b: string,
): { readonly order: number; readonly gapMs: number | null } | null {
  const type = shape.columns.find((each) => each.name === column)?.type;
  if (type === 'timestamp' || type === 'timestamptz') {
    const left = instantUs(a);
    const right = instantUs(b);
    if (left === null || right === null) return null;
    return { order: left < right ? -1 : left > right ? 1 : 0, gapMs: Math.abs(Number(left - right)) / 1000 };
  }
  if (type === 'int' || type === 'numeric') {
    const left = parseDecimal(a);
    const right = parseDecimal(b);
    if (left === null || right === null) return null;
    return { order: compareDecimals(left, right), gapMs: epochGapMs(subtractDecimals(left, right), left) };
  }
  // A hybrid logical clock as text: fixed width, so that code unit order is its order.
  if (type === 'text' && a.length === b.length) return { order: a < b ? -1 : a > b ? 1 : 0, gapMs: null };
  return null;
}

/** The replicas whose row has the newest clock; null where a value is NULL, unreadable or cannot be ordered. */
export function newestRow(
  situation: Situation,
  column: string,
  rows: readonly { readonly replica: string; readonly row: Row }[],
): { readonly row: Row; readonly replica: string; readonly tied: readonly string[]; readonly gapMs: number | null } | null {
  let best: { readonly replica: string; readonly row: Row; readonly clock: string } | null = null;
  let tied: string[] = [];
  for (const { replica, row } of rows) {
    const clock = row[column] ?? null;
    if (clock === null) return null;
    const compared = best === null ? { order: 1 } : compareClocks(situation.shape, column, clock, best.clock);
    if (compared === null) return null;
    if (compared.order > 0) {
      best = { replica, row, clock };
      tied = [replica];
    } else if (compared.order === 0) tied.push(replica);
  }
  if (best === null) return null;
  const winner = best.clock;
  const gaps = rows
    .map(({ row }) => compareClocks(situation.shape, column, winner, row[column] ?? ''))
    .filter((compared) => compared !== null && compared.order !== 0)
    .map((compared) => compared?.gapMs ?? null);
  const measured = gaps.filter((gap) => gap !== null);
  return { row: best.row, replica: best.replica, tied, gapMs: measured.length === 0 ? null : Math.min(...measured) };
}

/** Microseconds since the Unix epoch of canonical timestamp text; a text without a zone is taken as UTC. */
export function instantUs(text: string): bigint | null {
  const match = /^(\d{4,6})-(\d{2})-(\d{2})[ T](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?(Z|[+-]\d{2}(?::?\d{2})?)?$/.exec(text);
  if (match === null) return null;
  const [, year = '', month = '', day = '', time = '', fraction = '', zone = 'Z'] = match;
  const offset = zone === 'Z' || zone.includes(':') ? zone : `${zone.slice(0, 3)}:${zone.slice(3) || '00'}`;
  const ms = Date.parse(`${year.length > 4 ? `+${year.padStart(6, '0')}` : year}-${month}-${day}T${time}${offset}`);
  if (!Number.isFinite(ms)) return null;
  return BigInt(ms) * 1000n + BigInt(fraction.padEnd(6, '0') || '0');
}

/** Integers of this century in milliseconds or microseconds measure time; a version counter does not. */
function epochGapMs(
  difference: { readonly unscaled: bigint; readonly scale: number },
  value: { readonly unscaled: bigint; readonly scale: number },
): number | null {
  if (value.scale !== 0 || difference.scale !== 0) return null;
  const gap = Number(difference.unscaled < 0n ? -difference.unscaled : difference.unscaled);
  if (value.unscaled > 1_000_000_000_000_000n) return gap / 1000;
  return value.unscaled > 1_000_000_000_000n ? gap : null;
}
