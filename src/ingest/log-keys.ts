import { RE2JS } from 're2js';
import type { SpanBatch } from './span-batch.ts';
import { codeOf } from './wanted-attributes.ts';

/** One declared pattern: what the text of a log record says about an object. */
export interface LogKey {
  readonly pattern: string;
  /** The kind of object that the key belongs to. */
  readonly collection: string;
  readonly operation: 'read' | 'write' | 'append' | 'delete' | 'compensate';
}

export type ParsedPattern = { readonly is: 'pattern'; readonly regex: RE2JS } | { readonly is: 'wrong'; readonly says: string };

/**
 * RE2's syntax, whose matching is linear in the text whatever the pattern: log texts come from outside, and a backtracking engine can be
 * held for minutes by one of them. Costs about 1.3 microseconds a record and pattern.
 */
export function parseLogPattern(pattern: string): ParsedPattern {
  try {
    const regex = RE2JS.compile(pattern);
    if (!('key' in regex.namedGroups())) return { is: 'wrong', says: 'has no group (?<key>...); put one around what names the object.' };
    return { is: 'pattern', regex };
  } catch (error) {
    const because = error instanceof Error ? error.message.replace(/^error parsing regexp: /, '') : 'unreadable';
    return { is: 'wrong', says: `is not a regular expression that RE2 can run: ${because}.` };
  }
}

/** Longer texts are looked at up to here: what a record is about stands at its start. */
export const longestLogText = 2048;
const longestKey = 256;

const typeCode = codeOf('consistency.object.type');
const keyCode = codeOf('consistency.object.key');
const operationCode = codeOf('consistency.operation');
const versionCode = codeOf('consistency.version');

/** Patterns at work: gives the open row of a batch the `consistency.*` attributes that its text stands for. */
export class LogKeys {
  readonly #rules: readonly { readonly regex: RE2JS; readonly hasVersion: boolean; readonly literal: string; readonly key: LogKey }[];

  /** Patterns that cannot be read are left out: the config's check has said so. */
  constructor(keys: readonly LogKey[] = []) {
    this.#rules = keys.flatMap((key) => {
      const parsed = parseLogPattern(key.pattern);
      if (parsed.is === 'wrong') return [];
      return [{ regex: parsed.regex, hasVersion: 'version' in parsed.regex.namedGroups(), literal: literalOf(key.pattern), key }];
    });
  }

  get isEmpty(): boolean {
    return this.#rules.length === 0;
  }

  /** The first pattern that matches `text` speaks; `intern` gives a text its number in the batch. */
  describe(text: string, batch: SpanBatch, intern: (text: string) => number): boolean {
    const start = text.length > longestLogText ? text.slice(0, longestLogText) : text;
    for (const { regex, hasVersion, literal, key } of this.#rules) {
      if (literal !== '' && !start.includes(literal)) continue;
      const match = regex.matcher(start);
      if (!match.find()) continue;
      const object = match.group('key') ?? '';
      if (object === '' || object.length > longestKey) continue;
      batch.attributes.add(typeCode, 1, intern(key.collection));
      batch.attributes.add(keyCode, 1, intern(object));
      batch.attributes.add(operationCode, 1, intern(key.operation));
      const version = hasVersion ? (match.group('version') ?? '') : '';
      if (/^\d{1,15}$/.test(version)) batch.attributes.add(versionCode, 2, Number(version));
      else if (version !== '') batch.attributes.add(versionCode, 1, intern(version));
      return true;
    }
    return false;
  }
}

/** A text that every match holds, to skip most records without the engine: the first plain run of a pattern without choices or flags. */
function literalOf(pattern: string): string {
  if (/\||\(\?[^<P]/.test(pattern)) return '';
  const run = /^\^?([\w ,:=#"'/-]{3,})/.exec(pattern)?.[1] ?? '';
  // A quantifier belongs to the last character.
  return run.length < 4 ? '' : run.slice(0, -1);
}
