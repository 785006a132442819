/**
 * Values that stay in their region. An agent that may not send them sends a token of each instead: the digest of column and canonical
 * text, 96 bits. Equal values have equal tokens, so the columns that differ are known; where another replica's value may be seen and has
 * the same token, nothing is hidden. Like a row digest, a token of one of few possible values can be found by trying them all.
 */
import { sha256Hex } from '../base/hash.ts';
import type { Row } from './row.ts';

const prefix = '!withheld:';

export function withheldValue(column: string, value: string): string {
  return `${prefix}${sha256Hex(`${column}\u0000${value}`).slice(0, 24)}`;
}

export function isWithheld(value: string | null | undefined): boolean {
  return typeof value === 'string' && value.startsWith(prefix) && /^[0-9a-f]{24}$/.test(value.slice(prefix.length));
}

export function hasWithheld(row: Row | null): boolean {
  return row !== null && Object.values(row).some(isWithheld);
}

/** The rows of one key, with each token replaced by the value of another replica that it is the token of. */
export function reveal(rows: Readonly<Record<string, Row | null>>): Readonly<Record<string, Row | null>> {
  if (!Object.values(rows).some(hasWithheld)) return rows;
  const known = new Map<string, string>();
  for (const row of Object.values(rows))
    for (const [column, value] of Object.entries(row ?? {}))
      if (value !== null && !isWithheld(value)) known.set(withheldValue(column, value), value);
  const revealed = (row: Row): Row =>
    Object.fromEntries(Object.entries(row).map(([column, value]) => [column, value === null ? null : (known.get(value) ?? value)]));
  return Object.fromEntries(Object.entries(rows).map(([id, row]) => [id, row === null ? null : revealed(row)]));
}
