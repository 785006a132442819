/** Redis keys from a template such as `account:{id}`, and back. */
import { Failure } from '../../../base/failure.ts';
import { isCanonical } from '../../../domain/row-encoding.ts';
import type { CanonicalType, Key, Shape } from '../../../domain/row.ts';
import { unreadable } from './values.ts';

export interface KeyTemplate {
  /** For SCAN MATCH. */
  readonly glob: string;
  readonly format: (key: Key) => string;
  /**
   * undefined: the Redis key is not of this collection; `ambiguous`: it can be read in more than one way, and a guess may name a row that
   * nobody has. Values are brought to canonical text where that keeps them findable.
   */
  readonly parse: (shape: Shape, redisKey: string) => Key | 'ambiguous' | undefined;
}

/** `names`: the key columns; each must stand once in the template. */
export function parseKeyTemplate(template: string, names: readonly string[], who: string): KeyTemplate {
  const parts = template.split(/\{([^{}]+)\}/);
  const placeholders = parts.filter((_part, at) => at % 2 === 1);
  const isComplete = placeholders.length === names.length && names.every((name) => placeholders.includes(name));
  if (!isComplete) {
    throw new Failure(
      'bad-key-template',
      `The key template ${template} of ${who} must name each key column (${names.join(', ')}) once, as in thing:{id}.`,
      'never',
    );
  }
  const touching = parts.some((part, at) => at % 2 === 0 && at > 0 && at < parts.length - 1 && part === '');
  if (touching)
    throw new Failure(
      'bad-key-template',
      `The key template ${template} of ${who} has two columns without anything between them: separate them.`,
      'never',
    );
  const literals = parts.filter((_part, at) => at % 2 === 0);
  return {
    glob: parts.map((part, at) => (at % 2 === 1 ? '*' : part.replace(/[\\*?[\]]/g, '\\$&'))).join(''),
    format: (key) => parts.map((part, at) => (at % 2 === 1 ? (key[part] ?? '') : part)).join(''),
    parse: (shape, redisKey) => {
      const ways = readings(literals, redisKey);
      const [first] = ways;
      if (first === undefined) return undefined;
      const typeOf = (name: string): CanonicalType => shape.columns.find((column) => column.name === name)?.type ?? 'text';
      const fitting = ways.filter((values) => values.every((text, at) => isCanonical(typeOf(placeholders[at] ?? ''), text)));
      // Where nobody has types, all read it alike, and a wrong cut stands for the same key.
      if (fitting.length > 1 && shape.open !== true) return 'ambiguous';
      const values = fitting[0] ?? first;
      return Object.fromEntries(
        shape.key.map((name) => {
          const text = values[placeholders.indexOf(name)] ?? '';
          // `account:007` is no other way to write `account:7`: nobody who looks for 7 finds it.
          return [name, isCanonical(typeOf(name), text) ? text : unreadable(text)];
        }),
      );
    },
  };
}

/** More ways to read a key than this are not told apart: two are enough to know that it is ambiguous. */
const mostReadings = 64;

/** The values between the literals, shortest first, in each way in which the text can be cut; none where it is not of the template. */
function readings(literals: readonly string[], text: string): readonly (readonly string[])[] {
  const [before = '', ...rest] = literals;
  if (!text.startsWith(before)) return [];
  let open: readonly { readonly values: readonly string[]; readonly at: number }[] = [{ values: [], at: before.length }];
  for (const [nth, literal] of rest.entries()) {
    const isLast = nth === rest.length - 1;
    open = open
      .flatMap(({ values, at }) =>
        endsOf(text, at, literal, isLast).map((end) => ({ values: [...values, text.slice(at, end)], at: end + literal.length })),
      )
      .slice(0, mostReadings);
  }
  return open.map(({ values }) => values);
}

/** Where a value that begins at `from` can end: before each of the literals that follow, or before the one at the text's end. */
function endsOf(text: string, from: number, literal: string, isLast: boolean): readonly number[] {
  const last = text.length - literal.length;
  if (isLast) return last > from && text.endsWith(literal) ? [last] : [];
  const ends: number[] = [];
  for (let at = text.indexOf(literal, from + 1); at !== -1 && ends.length < mostReadings; at = text.indexOf(literal, at + 1)) ends.push(at);
  return ends;
}
