import { describe, expect, it } from 'vitest';
import type { CanonicalType, Key, Shape } from '../../../src/domain/row.ts';
import { parseKeyTemplate } from '../../../src/io/replicas/redis/key-template.ts';

function keyOf(template: string, types: Readonly<Record<string, CanonicalType>>, redisKey: string): Key | 'ambiguous' | undefined {
  const key = Object.keys(types);
  const shape: Shape = { key, columns: Object.entries(types).map(([name, type]) => ({ name, type, nullable: false })) };
  return parseKeyTemplate(template, key, 'Replica cache of orders').parse(shape, redisKey);
}

describe('a Redis key of several columns', () => {
  it('is cut where their types allow it, not at the first separator', () => {
    expect(keyOf('order:{shop}:{id}', { shop: 'text', id: 'int' }, 'order:eu:west:7')).toEqual({ shop: 'eu:west', id: '7' });
    expect(keyOf('order:{id}:{shop}', { id: 'int', shop: 'text' }, 'order:7:eu:west')).toEqual({ id: '7', shop: 'eu:west' });
    expect(keyOf('{a}-{b}-{c}', { a: 'int', b: 'text', c: 'int' }, '1-x-y-2')).toEqual({ a: '1', b: 'x-y', c: '2' });
  });

  it('is refused where it can be read in two ways: a guess would be a row that nobody has', () => {
    expect(keyOf('order:{shop}:{item}', { shop: 'text', item: 'text' }, 'order:a:b:c')).toBe('ambiguous');
    expect(keyOf('order:{shop}:{item}', { shop: 'text', item: 'text' }, 'order:a:b')).toEqual({ shop: 'a', item: 'b' });
  });

  it('is of the template as a whole, or not of it', () => {
    const types = { id: 'int', part: 'text' } as const;
    expect(keyOf('o:{id}:p:{part}:end', types, 'o:7:p:x:end')).toEqual({ id: '7', part: 'x' });
    for (const other of ['o:7:p:x', 'x:7:p:x:end', 'o::p:x:end', 'o:7:p::end', 'o:7:p:end', ''])
      expect(keyOf('o:{id}:p:{part}:end', types, other)).toBeUndefined();
  });

  it('shows a value that its column cannot hold, so that it equals none', () => {
    expect(keyOf('account:{id}', { id: 'int' }, 'account:007')).toEqual({ id: '!007' });
    expect(keyOf('account:{id}', { id: 'int' }, 'account:a\nb')).toEqual({ id: '!a\nb' });
  });
});
