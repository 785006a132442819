import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Span } from '@opentelemetry/api';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
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
    [
      "INSERT INTO orders (id, note, at, version) VALUES ($1, 'a, (b', now(), $2) RETURNING id",
      ['o-1', 3],
      [{ id: 'o-1' }],
      1,
      order('write', { 'version.base': '', version: 3 }),
    ],
    // The database makes the key.
    [
      'INSERT INTO orders (total) VALUES ($1) RETURNING *',
      [5],
      [{ id: 'o-1', version: 1 }],
      1,
      order('write', { 'version.base': '', version: 1 }),
    ],
    [
      'UPDATE orders SET total = $1, version = $2 WHERE id = $3 AND version = $4',
      [5, 8, 'o-1', 7],
      [],
      1,
      order('write', { 'version.base': 7, version: 8 }),
    ],
    [
      "SELECT version FROM orders WHERE (status = 'or; not' AND ('o-1' = id)) AND total BETWEEN $1 AND $2 ORDER BY id FOR UPDATE",
      [1, 2],
      [{ version: 7 }],
      1,
      order('read', { version: 7 }),
    ],
    ['SELECT * FROM orders WHERE id = $1 AND paid_at IS NOT NULL', ['o-1'], [{ version: 7 }], 1, order('read', { version: 7 })],
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
    'SELECT * FROM orders WHERE NOT id = $1',
    'UPDATE orders SET total = 0',
    'INSERT INTO orders (id) VALUES ($1), ($2)',
    'INSERT INTO orders (total) VALUES ($1)',
    "INSERT INTO orders (id) VALUES (concat('o-', $1))",
    'INSERT INTO orders (id) SELECT id FROM customers WHERE id = $1',
    'SELECT * FROM orders WHERE id = $1 || total',
    'SELECT * FROM orders WHERE (id = $1) = false',
    'SELECT * FROM orders WHERE coalesce(id = $1, true)',
    'SELECT * FROM orders WHERE total BETWEEN 1 AND id = $1',
    'SELECT * FROM orders WHERE total = 5 + id AND 1 + id = $1',
    'SELECT (SELECT total FROM orders WHERE id = $1) FROM customers',
    'SELECT * FROM orders WHERE id = $1; DELETE FROM orders',
    "SELECT * FROM orders WHERE status = 'x AND id = 5'",
    'BEGIN',
  ])('leaves alone what does not name one declared object: %s', (text) => {
    expect(attributesOf(text, ['o-1', 'o-2'], [])).toEqual({});
  });
});

/** Weaver's schema of a registry's attribute group, as far as it is used: what is missing or unknown here, its tools refuse. */
const stability = z.enum(['stable', 'development', 'alpha', 'beta', 'release_candidate']);
const example = z.union([z.string(), z.number()]);
const conventions = z.strictObject({
  groups: z.array(
    z.strictObject({
      id: z.string().regex(/^registry\.[a-z.]+$/),
      type: z.literal('attribute_group'),
      display_name: z.string(),
      brief: z.string(),
      attributes: z.array(
        z.strictObject({
          id: z.string().regex(/^consistency(?:\.[a-z]+)+$/),
          type: z.union([
            z.enum(['string', 'any']),
            z.strictObject({
              members: z.array(z.strictObject({ id: z.string(), value: z.string(), stability, brief: z.string() })).min(2),
            }),
          ]),
          stability,
          brief: z.string().regex(/^[A-Z].*\.$/),
          note: z.string().optional(),
          examples: z.array(example).min(1),
        }),
      ),
    }),
  ),
});

test('the published conventions have the registry’s format and are exactly the attributes that are read', () => {
  const text = readFileSync(new URL('../../src/instrument/consistency-attributes.yaml', import.meta.url), 'utf8');
  const document = conventions.parse(parse(text));
  const codes = document.groups.flatMap((group) => group.attributes.map((attribute) => classifyKey(attribute.id)));
  expect(codes.toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: lastConsistencyCode - firstConsistencyCode + 1 }, (_, i) => firstConsistencyCode + i),
  );
  for (const { type, examples, id } of document.groups.flatMap((group) => group.attributes)) {
    if (type === 'string') for (const one of examples) expect(typeof one, id).toBe('string');
    if (typeof type === 'object')
      for (const one of examples)
        expect(
          type.members.map(({ value }) => value),
          id,
        ).toContain(one);
  }
});

test('the package loads with import and with require, as plain JavaScript', async () => {
  const names = Object.keys(await import('homeostat/instrument')).toSorted();
  expect(names).toEqual(['ConsistencySpanProcessor', 'pgHooks', 'redisHooks', 'withConsistency', 'wrapMysql', 'wrapPg', 'wrapRedis']);
  const required = spawnSync(process.execPath, ['-p', "Object.keys(require('homeostat/instrument')).sort().join()"], { encoding: 'utf8' });
  expect(required.stdout.trim()).toBe(names.join());
});
