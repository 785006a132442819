import { describe, expect, it } from 'vitest';
// @ts-expect-error It is plain JavaScript, and only its public part has types.
import { planOf } from '../../src/instrument/statement-plan.mjs';

const tables = { orders: { type: 'order', key: 'id', version: 'version' } };

describe('what a statement says of one object', () => {
  it.each(['DELETE FROM orders WHERE customer = $1', 'DELETE FROM orders', 'UPDATE orders SET state = $1 WHERE customer = $2'])(
    'is nothing where it does not compare the key: %s',
    (text) => expect(planOf(text, tables)).toBeNull(),
  );

  it('is the key that a DELETE compares, and the version that it was derived from', () => {
    expect(planOf('DELETE FROM orders WHERE id = $1 AND version = $2', tables)).toMatchObject({
      operation: 'delete',
      key: { parameter: 0 },
      base: { parameter: 1 },
    });
  });
});
