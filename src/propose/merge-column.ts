import { invariant } from '../base/assert.ts';
import type { ColumnClass } from '../domain/collection.ts';
import type { CanonicalType } from '../domain/row.ts';
import { canonicalText } from '../domain/row-encoding.ts';
import { compareDecimals, parseDecimal } from './decimal.ts';
import { instantUs, isTombstone } from './row-clock.ts';

/**
 * Joins of state-based CRDTs (Shapiro et al. 2011) by column class: commutative, associative and idempotent, so that any order of
 * merging any replicas gives one value. null: these values cannot be joined.
 *
 *   clock, register-max   the larger value            tombstone   the one that is set; both set: the earlier
 *   register-min          the smaller value           counter     PN-counter {"p": {...}, "n": {...}}, per replica the larger
 *   set                   array or JSON array: the union; {"adds": {e: [tags]}, "removes": {e: [tags]}}: an observed-remove set
 */
export function mergeColumn(
  columnClass: ColumnClass,
  type: CanonicalType,
  values: readonly (string | null)[],
): { readonly value: string | null } | null {
  const present = values.filter((value) => value !== null);
  const [first] = present;
  if (first === undefined) return { value: null };
  if (columnClass === 'counter') return joined(type, present, joinCounters);
  if (columnClass === 'set') return joined(type, present, joinSets);
  if (columnClass === 'clock' || columnClass === 'register-max') return extreme(type, present, 1);
  if (columnClass === 'tombstone') {
    const set = present.filter((value) => isTombstone(type, value));
    return set.length === 0 ? { value: first } : extreme(type, set, -1);
  }
  if (columnClass === 'register-min') return extreme(type, present, -1);
  return values.every((value) => value === first) ? { value: first } : null;
}

export const mergedClasses: readonly ColumnClass[] = ['clock', 'register-max', 'register-min', 'tombstone', 'counter', 'set'];

function extreme(type: CanonicalType, values: readonly string[], direction: 1 | -1): { readonly value: string } | null {
  let best: string | null = null;
  for (const value of values) {
    if (best === null) {
      best = value;
      continue;
    }
    const order = compareValues(type, value, best);
    if (order === null) return null;
    if (order * direction > 0) best = value;
  }
  return best === null ? null : { value: best };
}

function compareValues(type: CanonicalType, a: string, b: string): number | null {
  if (a === b) return 0;
  if (type === 'int' || type === 'numeric' || type === 'float') {
    const [left, right] = [parseDecimal(a), parseDecimal(b)];
    return left === null || right === null ? null : compareDecimals(left, right);
  }
  if (type === 'timestamp' || type === 'timestamptz') {
    const [left, right] = [instantUs(a), instantUs(b)];
    return left === null || right === null ? null : left < right ? -1 : left > right ? 1 : 0;
  }
  if (type === 'date' || type === 'time') return a.length === b.length || type === 'time' ? (a < b ? -1 : 1) : null;
  if (type === 'bool') return a === 'true' ? 1 : -1;
  // A hybrid clock as text has a fixed width; other text has no order that means anything to a merge.
  return type === 'text' && a.length === b.length ? (a < b ? -1 : 1) : null;
}

type Join = (values: readonly unknown[]) => unknown;

function joined(type: CanonicalType, values: readonly string[], join: Join): { readonly value: string } | null {
  if (type === 'array') {
    if (join !== joinSets) return null;
    const lists = values.map(parseArray);
    return lists.some((list) => list === null) ? null : { value: arrayText([...new Set(lists.flatMap((list) => list ?? []))].toSorted()) };
  }
  if (type !== 'json') return null;
  // What does not read back as it was is left alone: a number that a double cannot hold, and names that V8 13.6 confuses (it reads
  // {"": 1, "\"": 2} as {"": 1, "\\": 2} after having read the latter).
  if (values.some((value) => canonicalText('json', JSON.stringify(JSON.parse(value))) !== value)) return null;
  const result = join(values.map((value): unknown => JSON.parse(value)));
  return result === null ? null : { value: canonicalText('json', JSON.stringify(result)) };
}

function joinCounters(values: readonly unknown[]): unknown {
  const p: Record<string, number> = {};
  const n: Record<string, number> = {};
  for (const value of values) {
    if (!isRecord(value) || Object.keys(value).some((key) => key !== 'p' && key !== 'n')) return null;
    for (const [side, into] of [
      [value['p'] ?? {}, p],
      [value['n'] ?? {}, n],
    ] as const) {
      if (!isRecord(side)) return null;
      for (const [replica, count] of Object.entries(side)) {
        if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0) return null;
        into[replica] = Math.max(into[replica] ?? 0, count);
      }
    }
  }
  return { p, n };
}

function joinSets(values: readonly unknown[]): unknown {
  if (values.every(Array.isArray)) {
    const members = new Map(values.flat().map((member: unknown) => [canonicalText('json', JSON.stringify(member)), member]));
    return [...members].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, member]) => member);
  }
  const result: Record<'adds' | 'removes', Record<string, string[]>> = { adds: {}, removes: {} };
  for (const value of values) {
    if (!isRecord(value) || Object.keys(value).some((key) => key !== 'adds' && key !== 'removes')) return null;
    for (const side of ['adds', 'removes'] as const) {
      const members = value[side] ?? {};
      if (!isRecord(members)) return null;
      for (const [member, tags] of Object.entries(members)) {
        if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === 'string')) return null;
        result[side][member] = [...new Set([...(result[side][member] ?? []), ...tags])].toSorted();
      }
    }
  }
  return result;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** One-dimensional PostgreSQL array text in canonical form; null for nested arrays and for NULL members, which no set holds. */
function parseArray(text: string): readonly string[] | null {
  if (!text.startsWith('{') || !text.endsWith('}')) return null;
  const members: string[] = [];
  let at = 1;
  while (at < text.length - 1) {
    if (text[at] === '{') return null;
    const match = /^(?:"((?:[^"\\]|\\.)*)"|([^",{}]*))(?:,|\}$)/.exec(text.slice(at));
    if (match === null) return null;
    const [whole, quoted, plain = ''] = match;
    if (quoted === undefined && plain === 'NULL') return null;
    members.push(quoted === undefined ? plain : quoted.replaceAll(/\\(.)/g, '$1'));
    at += whole.length;
  }
  return members;
}

function arrayText(members: readonly string[]): string {
  const text = `{${members.map((member) => (/^$|[\s"\\{},]/.test(member) || member.toUpperCase() === 'NULL' ? `"${member.replaceAll(/(["\\])/g, '\\$1')}"` : member)).join(',')}}`;
  invariant(parseArray(text)?.length === members.length, 'an array reads back as it was written', { members: members.length });
  return text;
}
