/** Redis keys from a template such as `account:{id}`, and back. */
import { Failure } from '../../../base/failure.ts';
import { canonicalText } from '../../../domain/row-encoding.ts';
import type { Key, Shape } from '../../../domain/row.ts';
import { unreadable } from './values.ts';

export interface KeyTemplate {
  /** For SCAN MATCH. */
  readonly glob: string;
  readonly format: (key: Key) => string;
  /** undefined: the Redis key is not of this collection. Values are brought to canonical text where that keeps them findable. */
  readonly parse: (shape: Shape, redisKey: string) => Key | undefined;
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
  const escaped = parts.map((part, at) => (at % 2 === 1 ? '(.+?)' : part.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')));
  const pattern = new RegExp(`^${escaped.join('')}$`, 's');
  return {
    glob: parts.map((part, at) => (at % 2 === 1 ? '*' : part.replace(/[\\*?[\]]/g, '\\$&'))).join(''),
    format: (key) => parts.map((part, at) => (at % 2 === 1 ? (key[part] ?? '') : part)).join(''),
    parse: (shape, redisKey) => {
      const match = pattern.exec(redisKey);
      if (match === null) return undefined;
      return Object.fromEntries(
        shape.key.map((name) => {
          const text = match[placeholders.indexOf(name) + 1] ?? '';
          const type = shape.columns.find((column) => column.name === name)?.type ?? 'text';
          try {
            // `account:007` is no other way to write `account:7`: nobody who looks for 7 finds it.
            return [name, canonicalText(type, text) === text ? text : unreadable(text)];
          } catch {
            return [name, unreadable(text)];
          }
        }),
      );
    },
  };
}
