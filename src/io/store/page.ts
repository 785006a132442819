/** Lists are read newest first, in pages; a cursor names the last row of the page before. */
export interface PageRequest {
  readonly cursor?: string | undefined;
  /** 1 to 1,000; 100 by default. */
  readonly limit?: number | undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** null: this was the last page. */
  readonly nextCursor: string | null;
}

const defaultLimit = 100;
const maximumLimit = 1_000;

/** The bounds of a keyset query: rows with `seq < before`, one more than the page so that the end is known. Throws RangeError on a cursor that is not ours. */
export function pageBounds(request: PageRequest): { readonly before: number; readonly limit: number; readonly fetch: number } {
  const limit = Math.min(maximumLimit, Math.max(1, Math.trunc(request.limit ?? defaultLimit)));
  if (request.cursor === undefined || request.cursor === '') return { before: Number.MAX_SAFE_INTEGER, limit, fetch: limit + 1 };
  const match = /^s(\d{1,15})$/.exec(request.cursor);
  if (match === null) throw new RangeError('cursor: pass back `nextCursor` of the page before, unchanged');
  return { before: Number(match[1]), limit, fetch: limit + 1 };
}

export function toPage<R extends { readonly seq: number }, T>(rows: readonly R[], limit: number, parse: (row: R) => T): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { items: shown.map(parse), nextCursor: rows.length > limit && last !== undefined ? `s${last.seq}` : null };
}
