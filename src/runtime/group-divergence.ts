import { canonicalJson, type Json, sha256Hex } from '../base/hash.ts';
import type { Divergence } from '../domain/divergence.ts';

/**
 * Divergences share a case when they share a shape: the same kind, the same columns, and the same replicas that agree and
 * disagree. A feed that dropped a thousand events makes one case, not a thousand. The pattern holds no values: `ap=A eu=A us=B`.
 */
export interface CaseShape {
  readonly fingerprint: string;
  readonly pattern: Readonly<Record<string, string>>;
  readonly is: Divergence['is'];
  readonly columns: readonly string[];
}

const absent = '-';

export function shapeOf(divergence: Divergence): CaseShape {
  const letters = new Map<string, string>();
  const pattern: Record<string, string> = {};
  for (const replica of Object.keys(divergence.replicas).toSorted()) {
    const row = divergence.replicas[replica] ?? null;
    if (row === null) {
      pattern[replica] = absent;
      continue;
    }
    const text = canonicalJson(row as Json);
    const letter = letters.get(text) ?? String.fromCodePoint(65 + letters.size);
    letters.set(text, letter);
    pattern[replica] = letter;
  }
  const columns = divergence.columns.toSorted();
  const fingerprint = sha256Hex(canonicalJson({ collection: divergence.collection, is: divergence.is, columns, pattern })).slice(0, 32);
  return { fingerprint, pattern, is: divergence.is, columns };
}

/** Verdict first: `3 rows of profiles are missing on us`. */
export function titleOf(collection: string, shape: CaseShape, rows: number): string {
  const what = `${rows} ${rows === 1 ? 'row' : 'rows'} of ${collection}`;
  const replicas = Object.entries(shape.pattern);
  const without = replicas.filter(([, letter]) => letter === absent).map(([replica]) => replica);
  const having = replicas.filter(([, letter]) => letter !== absent).map(([replica]) => replica);
  const are = rows === 1 ? 'is' : 'are';
  if (shape.is === 'extra') return `${what} ${are} only on ${list(having)}, not on the authority`;
  if (without.length > 0) return `${what} ${are} missing on ${list(without)}, present on ${list(having)}`;
  const groups = Map.groupBy(replicas, ([, letter]) => letter);
  const sides = [...groups.values()].map((side) => side.map(([replica]) => replica)).toSorted((a, b) => b.length - a.length);
  const columns = shape.columns.length === 0 ? '' : ` in ${list(shape.columns)}`;
  const [first = [], second = [], ...more] = sides;
  if (more.length > 0 || (first.length === second.length && first.length > 1))
    return `${what} ${rows === 1 ? 'differs' : 'differ'}${columns} between ${sides.map(list).join(' / ')}`;
  return `${what} ${rows === 1 ? 'differs' : 'differ'}${columns}: ${list(second)} against ${list(first)}`;
}

function list(names: readonly string[]): string {
  return names.length <= 1 ? (names[0] ?? '') : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`;
}
