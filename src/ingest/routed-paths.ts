import type { AttributeColumns } from './span-batch.ts';
import { type AttributeKey, codeOf } from './wanted-attributes.ts';

/*
 * The path of a call says what the call is only where no route does, and each differs from the next: kept beside a route, it would be a text
 * of its own for every request, made, handed over and held for nothing.
 */

const paths: readonly AttributeKey[] = ['http.target', 'http.url', 'url.path', 'url.full'];
const routes: readonly AttributeKey[] = ['http.route', 'url.template'];

const isPath = new Uint8Array(256);
for (const key of paths) isPath[codeOf(key)] = 1;

export const isPathCode = (code: number): boolean => isPath[code] === 1;
export const isRouteCode = (code: number): boolean => routes.some((key) => codeOf(key) === code);

/** Takes the paths from the attributes of the open row, which begin at `from`, where a route is among them; false where none is. */
export function dropRoutedPaths(columns: AttributeColumns, from: number): boolean {
  if (!routes.some((key) => isRoute(columns, from, codeOf(key)))) return false;
  let to = from;
  for (let at = from; at < columns.count; at += 1) {
    if (isPathCode(columns.code[at] as number)) continue;
    columns.code[to] = columns.code[at] as number;
    columns.kind[to] = columns.kind[at] as number;
    columns.value[to] = columns.value[at] as number;
    to += 1;
  }
  columns.count = to;
  return true;
}

/** Of a key that comes twice the last counts, as for whoever reads the row. Text 0 is the empty one. */
function isRoute(columns: AttributeColumns, from: number, code: number): boolean {
  for (let at = columns.count - 1; at >= from; at -= 1)
    if (columns.code[at] === code) return columns.kind[at] === 1 && columns.value[at] !== 0;
  return false;
}
