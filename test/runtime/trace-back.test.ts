import { describe, expect, test } from 'vitest';
import type { Divergence } from '../../src/domain/divergence.ts';
import type { WriteEvidence } from '../../src/domain/write-evidence.ts';
import { originOfCase, traceBack } from '../../src/runtime/trace-back.ts';

const write = (more: Partial<WriteEvidence>): WriteEvidence => ({
  key: { id: '7' },
  kind: 'write',
  replica: 'eu',
  version: '42',
  outcome: 'committed',
  atUs: 1_000_000,
  service: 'checkout',
  span: { traceId: 'abc', spanId: '1' },
  ...more,
});

const differs = (us: Divergence['replicas'][string], more: Partial<Divergence> = {}): Divergence => ({
  collection: 'orders',
  key: { id: '7' },
  is: us === null ? 'missing' : 'different',
  replicas: { eu: { id: '7', version: '42' }, us },
  columns: [],
  status: 'confirmed',
  seenAt: {},
  firstSeenMs: 0,
  ...more,
});

describe('a divergence is traced back to the write that caused it', () => {
  test('missing on us because the message of the write never left', () => {
    const unsent = write({ kind: 'publish-failed', replica: null, span: { traceId: 'abc', spanId: '2' }, atUs: 1_200_000 });
    const { rows, says } = traceBack([differs(null)], { writes: [write({}), unsent], cause: undefined });
    expect(rows).toEqual([{ key: { id: '7' }, write: write({}), without: ['us'], unsent, by: 'key' }]);
    expect(says).toBe(
      'One row differs because us never got what checkout wrote on eu: it was written as version 42 in trace abc, and no span shows it arrive. The message failed to leave: span 2 of trace abc.',
    );
  });

  test('by version, not by clock: the newest write is the one with the highest version, and us is behind it', () => {
    const older = write({ version: '41', atUs: 9_000_000, span: { traceId: 'old', spanId: '1' } });
    const { rows } = traceBack([differs({ id: '7', version: '41' })], { writes: [older, write({})], cause: undefined });
    expect(rows.map((row) => [row.write.span.traceId, row.without])).toEqual([['abc', ['us']]]);
  });

  test('a write that a span shows on us did arrive: something else changed the row, and nothing is claimed', () => {
    const arrived = write({ replica: 'us', service: 'feed', atUs: 2_000_000, span: { traceId: 'feed', spanId: '1' } });
    expect(traceBack([differs({ id: '7', version: '42', city: 'x' })], { writes: [write({}), arrived], cause: undefined })).toEqual({
      rows: [],
      says: undefined,
    });
  });

  test('a write whose span names no replica is on the one whose clock says so', () => {
    const { version: _, ...unplaced } = write({ replica: null, atUs: Date.parse('2026-01-01T00:00:05Z') * 1000 });
    const eu = { id: '7', status: 'new', updated_at: '2026-01-01 00:00:00+00' };
    const us = { id: '7', status: 'paid', updated_at: '2026-01-01 00:00:05.1+00' };
    const { rows, says } = traceBack([differs(us, { replicas: { eu, us } })], {
      writes: [unplaced],
      cause: undefined,
      clocks: ['updated_at'],
    });
    expect(rows.map(({ without }) => without)).toEqual([['eu']]);
    expect(says).toMatch(/^One row differs because eu never got what checkout wrote: it was written in trace abc/);
  });

  test('where nothing tells who got a write, nobody is said to lack it, and it has no way to be lost on', () => {
    const { version: _, ...unplaced } = write({ replica: null });
    const traced = traceBack([differs({ id: '7', status: 'paid' })], { writes: [unplaced], cause: undefined });
    expect(traced.says).toBe('One row differs since checkout wrote it: it was written in trace abc. Which replicas got it, no span says.');
    expect(traced.rows.map(({ without }) => without)).toEqual([[]]);
    expect(originOfCase(traced)).toBeNull();
  });

  test('a write that was carried from place to place is told by its origin', () => {
    const carried = write({ replica: 'ap', service: 'feed', atUs: 1_500_000, span: { traceId: 'feed', spanId: '1' } });
    const three = differs(null, { replicas: { eu: { id: '7' }, ap: { id: '7' }, us: null } });
    expect(traceBack([three], { writes: [carried, write({})], cause: undefined }).rows[0]?.write.service).toBe('checkout');
  });

  test('aborted writes and writes of other keys explain nothing; rows that none explains are counted apart', () => {
    const other = differs(null, { key: { id: '8' } });
    expect(
      traceBack([differs(null)], { writes: [write({ outcome: 'aborted' }), write({ key: { id: '9' } })], cause: undefined }).says,
    ).toBeUndefined();
    expect(traceBack([differs(null), other], { writes: [write({})], cause: undefined }).says).toMatch(
      /^One row differs \(of 2\) because us never got/,
    );
  });

  test('a case comes from the way on which most of its rows got lost, and from nowhere where no row is traced', () => {
    const row = (id: string, replica: string, without: string): Parameters<typeof originOfCase>[0]['rows'][number] => ({
      key: { id },
      write: write({ key: { id }, replica, span: { traceId: `trace ${id}`, spanId: '1' } }),
      without: [without],
      unsent: undefined,
      by: 'key',
    });
    const rows = [row('1', 'us', 'eu'), row('2', 'eu', 'us'), row('3', 'eu', 'us')];
    expect(originOfCase({ rows, says: undefined })).toEqual({ service: 'checkout', from: 'eu', without: ['us'], traceId: 'trace 2' });
    expect(originOfCase({ rows: [], says: undefined })).toBeNull();
  });
});
