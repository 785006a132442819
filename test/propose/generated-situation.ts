import fc from 'fast-check';
import type { ColumnClass } from '../../src/domain/collection.ts';
import type { Divergence } from '../../src/domain/divergence.ts';
import type { CanonicalType, Row } from '../../src/domain/row.ts';
import { rowDigest } from '../../src/domain/row-encoding.ts';
import type { WriteEvidence } from '../../src/domain/write-evidence.ts';
import { exampleSituation } from '../../src/propose/example-situation.ts';
import type { Situation } from '../../src/propose/strategy.ts';

/** Columns that every generated collection has; classes vary. */
const types: Readonly<Record<string, CanonicalType>> = {
  name: 'text',
  clock: 'int',
  high: 'int',
  low: 'int',
  hits: 'json',
  tags: 'array',
  vector: 'json',
  deleted_at: 'timestamptz',
  balance: 'numeric',
};

const smallRow = fc.record({
  id: fc.constant('1'),
  name: fc.constantFrom('Ada', 'Eda', '', 'p|q'),
  clock: fc.constantFrom('1', '2', '3', null),
  high: fc.constantFrom('1', '5', '9'),
  low: fc.constantFrom('1', '5', '9'),
  hits: fc.constantFrom('{"n": {}, "p": {"eu": 2}}', '{"n": {"us": 1}, "p": {"eu": 1, "us": 4}}', '{"n": {}, "p": {}}', '[1]'),
  tags: fc.constantFrom('{}', '{a}', '{a,b}', '{b,c}'),
  vector: fc.constantFrom('{"eu": 1}', '{"eu": 2}', '{"eu": 1, "us": 1}', '{}'),
  deleted_at: fc.constantFrom(null, '2026-01-01 00:00:00+00'),
  balance: fc.constantFrom('1', '2.5', '-3', null),
});

const classes: Readonly<Record<string, readonly ColumnClass[]>> = {
  name: ['plain', 'pii'],
  clock: ['clock', 'plain'],
  high: ['register-max', 'plain'],
  low: ['register-min', 'plain'],
  hits: ['counter', 'plain'],
  tags: ['set', 'plain'],
  vector: ['plain'],
  deleted_at: ['tombstone', 'plain'],
  balance: ['money', 'plain'],
};

const chosenClasses = fc.record(Object.fromEntries(Object.entries(classes).map(([name, options]) => [name, fc.constantFrom(...options)])));

/** Any situation that a comparison could hand over: two to four replicas of any role, missing rows, clocks or none, some writes. */
export const situations: fc.Arbitrary<Situation> = fc
  .record({
    ids: fc.constantFrom(['eu', 'us'], ['eu', 'us', 'ap'], ['ap', 'eu', 'sa', 'us']),
    roles: fc.oneof(
      fc.constant([]),
      fc.array(fc.constantFrom('leader' as const, 'follower' as const, 'peer' as const, 'cache' as const), { minLength: 4, maxLength: 4 }),
    ),
    classes: chosenClasses,
    authority: fc.option(fc.constantFrom('eu', 'us'), { nil: undefined }),
    keys: fc.array(fc.array(fc.option(smallRow, { nil: null, freq: 4 }), { minLength: 4, maxLength: 4 }), { minLength: 1, maxLength: 4 }),
    columns: fc.subarray(Object.keys(types), { minLength: 1 }),
    writes: fc.array(
      fc.record({
        key: fc.nat(3),
        replica: fc.nat(3),
        kind: fc.constantFrom('write' as const, 'delete' as const, 'publish-failed' as const),
        version: fc.option(fc.nat(4).map(String), { nil: undefined }),
        versionBase: fc.option(fc.nat(4).map(String), { nil: undefined }),
        outcome: fc.constantFrom('committed' as const, 'aborted' as const, 'unknown' as const),
        hasDigest: fc.boolean(),
        hasReplica: fc.boolean(),
        atUs: fc.nat(9),
      }),
      { maxLength: 6 },
    ),
    hasOptions: fc.boolean(),
  })
  .map((given) => {
    const kept = (row: Row): Row =>
      Object.fromEntries(Object.entries(row).filter(([name]) => name === 'id' || given.columns.includes(name)));
    const used = Object.fromEntries(given.ids.map((id, index) => [id, given.roles[index] ?? 'peer']));
    const base = exampleSituation({
      rows: Object.fromEntries(
        given.ids.map((id) => [id, kept({ id: '1', ...Object.fromEntries(given.columns.map((name) => [name, null])) })]),
      ),
      roles: used,
      types,
      classes: Object.fromEntries(Object.entries(given.classes).filter(([name]) => given.columns.includes(name))),
      ...(given.authority === undefined ? {} : { authority: given.authority }),
      strategyOptions: {
        ...(given.hasOptions && given.columns.includes('vector') ? { 'version-vector': { column: 'vector' } } : {}),
        ...(given.hasOptions && given.columns.includes('clock')
          ? {
              'field-wise-merge': {
                clocks: Object.fromEntries(given.columns.filter((name) => name !== 'clock').map((name) => [name, 'clock'])),
              },
            }
          : {}),
        ...(given.hasOptions && given.columns.includes('clock') ? { 'trace-evidence': { versionColumn: 'clock' } } : {}),
      },
    });
    const divergences: readonly Divergence[] = given.keys.map((rows, index) => {
      const replicas = Object.fromEntries(
        given.ids.map((id, position) => {
          const row = rows[position] ?? null;
          return [id, row === null ? null : kept({ ...row, id: String(index) })];
        }),
      );
      return {
        collection: base.collection.name,
        key: { id: String(index) },
        is: 'different',
        replicas,
        columns: [],
        status: 'confirmed',
        seenAt: {},
        firstSeenMs: 0,
      };
    });
    const writes: readonly WriteEvidence[] = given.writes.flatMap((write, index) => {
      const divergence = divergences[write.key % divergences.length];
      const replica = given.ids[write.replica % given.ids.length];
      if (divergence === undefined || replica === undefined) return [];
      const row = divergence.replicas[replica] ?? null;
      return [
        {
          key: divergence.key,
          kind: write.kind,
          replica: write.hasReplica ? replica : null,
          ...(write.version === undefined ? {} : { version: write.version }),
          ...(write.versionBase === undefined ? {} : { versionBase: write.versionBase }),
          ...(write.hasDigest && row !== null ? { valueDigest: rowDigest(base.shape, row) } : {}),
          outcome: write.outcome,
          atUs: write.atUs,
          service: 'shop',
          span: { traceId: 'a'.repeat(32), spanId: index.toString(16).padStart(16, '0') },
        },
      ];
    });
    return { ...base, divergences, writes };
  });
