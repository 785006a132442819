import { readFileSync } from 'node:fs';
import type { Span } from '@opentelemetry/api';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { classifyKey, firstConsistencyCode, lastConsistencyCode } from '../../src/ingest/wanted-attributes.ts';
import { pgHooks } from '../../src/instrument/instrument.mjs';

const hooks = pgHooks({
  orders: { type: 'order', key: 'id', version: 'version', domain: 'shop' },
  'audit.entries': { type: 'entry', key: 'no' },
});

/** The attributes that a statement's span gets. */
function attributesOf(text: string, values: unknown[], rows: unknown[], rowCount: number = rows.length): Record<string, unknown> {
  const attributes: Record<string, unknown> = {};
  const setAttribute = (key: string, value: unknown): void => void (attributes[key.replace('consistency.', '')] = value);
  const setAttributes = (more: Record<string, unknown>): void => Object.entries(more).forEach(([key, value]) => setAttribute(key, value));
  const span = { setAttribute, setAttributes } as unknown as Span;
  hooks.requestHook(span, { query: { text, values } });
  hooks.responseHook(span, { data: { rows, rowCount } });
  return attributes;
}

const order = (operation: string, more: object): object => ({
  domain: 'shop',
  'object.type': 'order',
  'object.key': 'o-1',
  operation,
  ...more,
});

describe('pgHooks', () => {
  test.each<[string, unknown[], unknown[], number, object]>([
    ['SELECT id, version FROM orders WHERE id = $1', ['o-1'], [{ version: 7 }], 1, order('read', { version: 7 })],
    ['SELECT * FROM public.orders o WHERE o.id = $1', ['o-1'], [], 0, order('read', { version: '' })],
    [
      'UPDATE orders SET total = $1, version = version + 1 WHERE id = $2 AND version = $3',
      [5, 'o-1', 7],
      [],
      1,
      order('write', { 'version.base': 7, version: 8 }),
    ],
    [
      'UPDATE orders SET total = $1, version = version + 1 WHERE id = $2 RETURNING version',
      [5, 'o-1'],
      [{ version: '9' }],
      1,
      order('write', { version: 9 }),
    ],
    [
      'UPDATE orders SET total = $1 WHERE id = $2 AND version = $3',
      [5, 'o-1', 7],
      [],
      0,
      order('write', { 'transaction.outcome': 'aborted' }),
    ],
    [
      'INSERT INTO orders (total, id) VALUES ($1, $2) RETURNING version',
      [5, 'o-1'],
      [{ version: 1 }],
      1,
      order('write', { 'version.base': '', version: 1 }),
    ],
    [
      'INSERT INTO orders (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET total = 1 RETURNING version',
      ['o-1'],
      [{ version: 4 }],
      1,
      order('write', { version: 4 }),
    ],
    ["DELETE FROM orders WHERE id = 'o-1' AND version = $1", [7], [], 1, order('delete', { 'version.base': 7 })],
    ['SELECT 1 FROM audit.entries WHERE no = 5', [], [{}], 1, { 'object.type': 'entry', 'object.key': '5', operation: 'read' }],
  ])('%s', (text, values, rows, rowCount, expected) => {
    expect(attributesOf(text, values, rows, rowCount)).toEqual(expected);
  });

  test.each([
    'SELECT * FROM customers WHERE id = $1',
    'SELECT * FROM orders WHERE total > $1',
    'SELECT * FROM orders WHERE id = $1 OR total = $2',
    'SELECT * FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.id = $1',
    'UPDATE orders SET total = 0',
    'INSERT INTO orders (id) VALUES ($1), ($2)',
    'BEGIN',
  ])('leaves alone what does not name one declared object: %s', (text) => {
    expect(attributesOf(text, ['o-1', 'o-2'], [])).toEqual({});
  });
});

test('the published conventions are exactly the attributes that are read', () => {
  const document = parse(readFileSync(new URL('../../src/instrument/consistency-attributes.yaml', import.meta.url), 'utf8')) as {
    groups: { attributes: { id: string }[] }[];
  };
  const codes = document.groups.flatMap((group) => group.attributes.map((attribute) => classifyKey(attribute.id)));
  expect(codes.toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: lastConsistencyCode - firstConsistencyCode + 1 }, (_, i) => firstConsistencyCode + i),
  );
});
