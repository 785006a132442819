/**
 * The shape in which replicas are compared: one canonical type a column, to which each replica can bring its own type without losing
 * or inventing a difference. What cannot be agreed is said by name, with the way out.
 */
import type { CanonicalType, Column, Shape } from './row.ts';

export interface DescribedReplica {
  readonly replica: string;
  readonly shape: Shape;
}

export type Agreement = { readonly is: 'agreed'; readonly shape: Shape } | { readonly is: 'disagreed'; readonly says: string };

/** `described` in any order; the answer does not depend on it. */
export function agreeShape(collection: string, described: readonly DescribedReplica[]): Agreement {
  const typed = described.filter((one) => one.shape.open === undefined);
  const sources = typed.length > 0 ? typed : described;
  const first = sources[0];
  if (first === undefined) return { is: 'disagreed', says: `Collection ${collection} has no replicas to compare.` };
  const names = new Set(sources.flatMap((one) => one.shape.columns.map((column) => column.name)));
  const columns: Column[] = [];
  for (const name of names) {
    const found = sources.map((one) => ({ replica: one.replica, column: one.shape.columns.find((column) => column.name === name) }));
    const lacking = found.find((one) => one.column === undefined);
    if (lacking !== undefined) {
      const holder = found.find((one) => one.column !== undefined);
      return {
        is: 'disagreed',
        says: `Column ${name} of ${collection} is on ${holder?.replica ?? '?'} but not on ${lacking.replica}: add it there, map its name under the replica's columns, or set columns.${name}.compare: false.`,
      };
    }
    const held = found.flatMap((one) => (one.column === undefined ? [] : [{ replica: one.replica, column: one.column }]));
    const agreed = agreeColumn(held.map((one) => one.column));
    if (agreed === undefined) {
      const types = held.map((one) => `${one.column.engineType ?? one.column.type} on ${one.replica}`).join(', ');
      return {
        is: 'disagreed',
        says: `Column ${name} of ${collection} cannot be compared exactly (${types}): set columns.${name}.compare: false.`,
      };
    }
    columns.push(agreed);
  }
  const key = first.shape.key;
  const keyAt = (column: Column): number => {
    const at = key.indexOf(column.name);
    return at < 0 ? key.length : at;
  };
  columns.sort((a, b) => keyAt(a) - keyAt(b) || (a.name < b.name ? -1 : 1));
  const open = typed.length === 0 ? { open: true as const } : {};
  return { is: 'agreed', shape: { key, columns, ...open } };
}

/** Pairs of types that have one exact meaning in common; both orders are tried. */
const meetings: readonly (readonly [CanonicalType, CanonicalType, CanonicalType])[] = [
  ['int', 'numeric', 'numeric'],
  ['int', 'bool', 'bool'],
  ['bits', 'bool', 'bool'],
  ['text', 'uuid', 'uuid'],
  ['bytes', 'uuid', 'uuid'],
  ['text', 'json', 'json'],
  ['text', 'inet', 'inet'],
  ['timestamp', 'timestamptz', 'timestamptz'],
];

function agreeColumn(columns: readonly Column[]): Column | undefined {
  const [first, ...rest] = columns;
  if (first === undefined) return undefined;
  let type: CanonicalType = first.type;
  for (const column of rest) {
    const other = column.type;
    if (other === type) continue;
    const meeting = meetings.find(([a, b]) => (a === type && b === other) || (a === other && b === type));
    if (meeting === undefined) return undefined;
    type = meeting[2];
  }
  return {
    name: first.name,
    type,
    nullable: columns.some((column) => column.nullable),
    ...(columns.some((column) => column.generated) ? { generated: true as const } : {}),
    ...(type === 'float' && columns.every((column) => column.single) ? { single: true as const } : {}),
  };
}
