import { describe, expect, test } from 'vitest';
import type { Row } from '../../src/domain/row.ts';
import { rowDigest } from '../../src/domain/row-encoding.ts';
import type { WriteEvidence } from '../../src/domain/write-evidence.ts';
import { exampleSituation } from '../../src/propose/example-situation.ts';
import { findStrategy } from '../../src/propose/registry.ts';
import type { Situation } from '../../src/propose/strategy.ts';

/** What a strategy wants for the one key: the row, `null` for absent, or the reason why it is not its business. */
function wants(id: string, situation: Situation, options?: unknown): Row | null | string {
  const proposed = (findStrategy(id) ?? expect.fail(`no strategy ${id}`)).propose(situation, options);
  if (proposed.is === 'not-mine') return proposed.because;
  return proposed.decisions[0]?.wanted ?? null;
}
const marginOf = (id: string, situation: Situation): number => {
  const proposed = (findStrategy(id) ?? expect.fail(`no strategy ${id}`)).propose(situation);
  return proposed.is === 'draft' ? proposed.margin : 0;
};
const ada = { id: '1', name: 'Ada' };
const eda = { id: '1', name: 'Eda' };
const at = (row: Row, clock: string | null): Row => ({ ...row, at: clock });
const clocked = (rows: Record<string, Row | null>, more: object = {}): Situation =>
  exampleSituation({ classes: { at: 'clock' }, types: { at: 'timestamptz' }, rows, ...more });
let spans = 0;
const write = (over: Partial<WriteEvidence>): WriteEvidence => ({
  key: { id: '1' },
  kind: 'write',
  replica: null,
  outcome: 'committed',
  atUs: 1,
  service: 'accounts',
  span: { traceId: 'a'.repeat(32), spanId: (spans += 1).toString(16).padStart(16, '0') },
  ...over,
});

describe('last-writer-wins', () => {
  const [noon, later, much] = ['2026-01-01 12:00:00+00', '2026-01-01 12:00:00.2+00', '2026-01-01 13:00:00+00'];
  test('the newest clock wins, less surely within the skew of clocks', () => {
    expect(wants('last-writer-wins', clocked({ eu: at(ada, noon), us: at(eda, much) }))).toEqual(at(eda, much));
    expect(marginOf('last-writer-wins', clocked({ eu: at(ada, noon), us: at(eda, much) }))).toBeGreaterThan(0.9);
    expect(marginOf('last-writer-wins', clocked({ eu: at(ada, noon), us: at(eda, later) }))).toBeLessThan(0.9);
  });
  test('a tie, a NULL clock and a missing row are not its business', () => {
    expect(wants('last-writer-wins', clocked({ eu: at(ada, noon), us: at(eda, noon) }))).toMatch(/same at/);
    expect(wants('last-writer-wins', clocked({ eu: at(ada, noon), us: at(eda, null) }))).toMatch(/NULL/);
    expect(wants('last-writer-wins', clocked({ eu: at(ada, noon), us: null }))).toMatch(/missing row/);
  });
  test('where deletes leave tombstones, a missing row has not arrived', () => {
    const row = { ...at(ada, noon), gone: null };
    expect(wants('last-writer-wins', clocked({ eu: row, us: null }, { classes: { at: 'clock', gone: 'tombstone' } }))).toEqual(row);
  });
  test('a clock in the future wins over nothing', () => {
    const types = { at: 'timestamptz' } as const;
    const rows = { eu: at(ada, '2099-01-01 00:00:00+00'), us: at(eda, '2026-01-01 00:00:00+00') };
    const now = { nowMs: Date.parse('2026-01-02T00:00:00Z') };
    expect(wants('last-writer-wins', { ...clocked(rows, { types }), ...now })).toMatch(/at on eu is in the future/);
    const close = { ...rows, eu: at(ada, '2026-01-02 00:04:00+00') };
    expect(wants('last-writer-wins', { ...clocked(close, { types }), ...now })).toEqual(close.eu);
  });
  test('a committed write that an older clock holds makes it unsure', () => {
    const situation = clocked({ eu: at(ada, noon), us: at(eda, much) });
    const contradicted = { ...situation, writes: [write({ atUs: 9, valueDigest: rowDigest(situation.shape, at(ada, noon)) })] };
    expect(marginOf('last-writer-wins', contradicted)).toBeLessThan(0.5);
  });
});

describe('majority', () => {
  test('needs more than half, of at least three, and not against a newer clock', () => {
    expect(wants('majority', exampleSituation({ rows: { a: ada, b: ada, c: eda } }))).toEqual(ada);
    expect(wants('majority', exampleSituation({ rows: { a: ada, b: ada, c: eda, d: eda } }))).toMatch(/more than half/);
    expect(wants('majority', exampleSituation({ rows: { a: ada, b: eda } }))).toMatch(/three/);
    const [old, young] = ['2026-01-01 12:00:00+00', '2026-01-01 12:00:01+00'];
    expect(wants('majority', clocked({ a: at(ada, old), b: at(ada, old), c: at(eda, young) }))).toMatch(/minority/);
    expect(wants('majority', clocked({ a: at(ada, young), b: at(ada, young), c: at(eda, old) }))).toEqual(at(ada, young));
  });
  test('absence is no vote: a row that one replica has may be new', () => {
    const rows = { a: null, b: null, c: eda };
    expect(wants('majority', exampleSituation({ rows }))).toMatch(/no trace shows that it was deleted/);
    expect(wants('majority', exampleSituation({ rows, writes: [write({ kind: 'delete' })] }))).toBe(null);
    expect(wants('majority', exampleSituation({ rows: { a: eda, b: eda, c: null } }))).toEqual(eda);
  });
  test('columns that are to be joined are not copied over', () => {
    const rows = { a: { id: '1', n: '1' }, b: { id: '1', n: '1' }, c: { id: '1', n: '5' } };
    expect(wants('majority', exampleSituation({ classes: { n: 'register-max' }, rows }))).toMatch(/n is to be joined/);
    const clocks = { eu: { id: '1', at: '1', n: '5' }, us: { id: '1', at: '2', n: '1' } };
    expect(
      wants('last-writer-wins', exampleSituation({ classes: { n: 'counter', at: 'clock' }, types: { at: 'int' }, rows: clocks })),
    ).toMatch(/n is to be joined/);
  });
  test('caches have no vote', () => {
    expect(wants('majority', exampleSituation({ roles: { c1: 'cache', c2: 'cache' }, rows: { a: ada, c1: eda, c2: eda } }))).toMatch(
      /three replicas that take writes/,
    );
  });
});

describe('trace-evidence', () => {
  const rows = { eu: ada, us: eda };
  test('causality before versions before clocks', () => {
    const older = write({ replica: 'us', version: 'x', atUs: 99 });
    const newer = write({ replica: 'eu', version: 'y', versionBase: 'x', atUs: 1 });
    expect(wants('trace-evidence', exampleSituation({ rows, writes: [newer, older] }))).toEqual(ada);
  });
  test('a fork, an unknown later write and an aborted one', () => {
    const fork = [
      write({ replica: 'us', version: 'x', versionBase: 'w', atUs: 1 }),
      write({ replica: 'eu', version: 'y', versionBase: 'w', atUs: 2 }),
    ];
    expect(wants('trace-evidence', exampleSituation({ rows, writes: fork }))).toMatch(/newest/);
    expect(
      wants(
        'trace-evidence',
        exampleSituation({ rows, writes: [write({ replica: 'eu' }), write({ replica: 'us', atUs: 2, outcome: 'unknown' })] }),
      ),
    ).toMatch(/may or may not/);
    expect(
      wants(
        'trace-evidence',
        exampleSituation({ rows, writes: [write({ replica: 'eu' }), write({ replica: 'us', atUs: 2, outcome: 'aborted' })] }),
      ),
    ).toEqual(ada);
  });
  test('a digest names the row; one that no replica holds says that something wrote since', () => {
    const situation = exampleSituation({ rows });
    const named = { ...situation, writes: [write({ replica: 'eu', valueDigest: rowDigest(situation.shape, eda) })] };
    expect(wants('trace-evidence', named)).toEqual(eda);
    expect(wants('trace-evidence', { ...situation, writes: [write({ replica: 'eu', valueDigest: 'f'.repeat(32) })] })).toMatch(
      /no replica holds/,
    );
  });
  test('one write seen on several replicas is one write: a new row whose change events were lost is copied', () => {
    const row = { ...ada, version: '1' };
    const insert = write({ replica: 'ap', version: '1', versionBase: '', service: 'profiles' });
    expect(wants('trace-evidence', exampleSituation({ rows: { ap: row, eu: null, us: null }, writes: [insert] }))).toEqual(row);
    const fed = write({ replica: 'eu', version: '1', service: 'change-feed', atUs: 7 });
    expect(wants('trace-evidence', exampleSituation({ rows: { ap: row, eu: row, us: null }, writes: [insert, fed] }))).toEqual(row);
    expect(marginOf('trace-evidence', exampleSituation({ rows: { ap: row, eu: null, us: null }, writes: [insert] }))).toBeGreaterThan(0.9);
  });
  test('what a trace shows as newest contradicts others, by version too', () => {
    const [old, young] = [
      { ...ada, version: '1' },
      { ...eda, version: '2' },
    ];
    const writes = [write({ replica: 'ap', version: '2', versionBase: '1' })];
    expect(wants('majority', exampleSituation({ rows: { ap: young, eu: old, us: old }, writes }))).toMatch(
      /committed write is held by a minority/,
    );
    expect(marginOf('authority', exampleSituation({ authority: 'eu', rows: { ap: young, eu: old, us: old }, writes }))).toBeLessThan(0.9);
    expect(
      marginOf('authority', exampleSituation({ authority: 'eu', rows: { ap: young, eu: { ...ada, version: '3' }, us: old }, writes })),
    ).toBeGreaterThan(0.9);
  });
  test('a digest of the service’s own form says nothing: the version column decides', () => {
    const versioned = { eu: { ...ada, version: '4' }, us: { ...eda, version: '5' } };
    expect(
      wants('trace-evidence', exampleSituation({ rows: versioned, writes: [write({ version: '5', valueDigest: '0123456789abcdef' })] })),
    ).toEqual(versioned.us);
    const fork = ['aaaa', 'bbbb'].map((valueDigest) => write({ version: '5', valueDigest }));
    expect(wants('trace-evidence', exampleSituation({ rows: versioned, writes: fork }))).toMatch(/newest/);
  });
  test('a version column', () => {
    const versioned = { eu: { ...ada, v: '4' }, us: { ...eda, v: '5' } };
    expect(
      wants('trace-evidence', exampleSituation({ rows: versioned, writes: [write({ version: '5' })] }), { versionColumn: 'v' }),
    ).toEqual(versioned.us);
    expect(
      wants('trace-evidence', exampleSituation({ rows: versioned, writes: [write({ version: '6' })] }), { versionColumn: 'v' }),
    ).toMatch(/no replica holds version 6/);
  });
});

describe('a tombstone that is a flag', () => {
  const types = { at: 'int', gone: 'bool' } as const;
  const classes = { gone: 'tombstone', at: 'clock' } as const;
  const alive = { ...ada, at: '1', gone: 'false' };
  const dead = { ...ada, at: '2', gone: 'true' };
  test('says by its value, not by being there, that the row was deleted', () => {
    expect(wants('tombstone', exampleSituation({ classes, types, rows: { eu: alive, us: dead } }))).toEqual(dead);
    expect(wants('tombstone', exampleSituation({ classes, types, rows: { eu: alive, us: { ...alive, name: 'Eda' } } }))).toMatch(
      /no replica holds a tombstone/,
    );
  });
  test('is not lost when rows are joined', () => {
    expect(wants('crdt-merge', exampleSituation({ classes, types, rows: { eu: alive, us: dead } }))).toEqual(dead);
    const counted = { ...types, gone: 'int' } as const;
    const rows = { eu: { ...alive, gone: '0' }, us: { ...dead, gone: '1' } };
    expect(wants('crdt-merge', exampleSituation({ classes, types: counted, rows }))).toEqual(rows.us);
  });
});

describe('tombstone', () => {
  const deleted = write({ kind: 'delete', replica: 'eu', atUs: 5 });
  test('a delete that is the last word is finished, a later insert is restored', () => {
    expect(wants('tombstone', exampleSituation({ rows: { eu: null, us: ada }, writes: [write({ atUs: 1 }), deleted] }))).toBe(null);
    expect(wants('tombstone', exampleSituation({ rows: { eu: null, us: ada }, writes: [deleted, write({ atUs: 9 })] }))).toEqual(ada);
  });
  test('without a delete it cannot tell', () => {
    expect(wants('tombstone', exampleSituation({ rows: { eu: null, us: ada }, writes: [write({})] }))).toMatch(/no trace shows a delete/);
    expect(
      wants('tombstone', exampleSituation({ rows: { eu: null, us: ada }, writes: [write({ kind: 'delete', outcome: 'aborted' })] })),
    ).toMatch(/last word/);
  });
  test('a soft delete wins over the row that it deleted only by a clock', () => {
    const alive = { ...ada, at: '1', gone: null };
    const dead = { ...ada, at: '2', gone: 'x' };
    const classes = { gone: 'tombstone', at: 'clock' } as const;
    expect(wants('tombstone', exampleSituation({ classes, types: { at: 'int' }, rows: { eu: alive, us: dead } }))).toEqual(dead);
    expect(wants('tombstone', exampleSituation({ classes, types: { at: 'int' }, rows: { eu: { ...alive, at: '3' }, us: dead } }))).toEqual({
      ...alive,
      at: '3',
    });
    expect(wants('tombstone', exampleSituation({ classes: { gone: 'tombstone' }, rows: { eu: alive, us: dead } }))).toMatch(
      /cannot be ordered/,
    );
  });
});

describe('version-vector', () => {
  const rows = (eu: string, us: string): Situation =>
    exampleSituation({ types: { v: 'json' }, rows: { eu: { ...ada, v: eu }, us: { ...eda, v: us } } });
  const options = { column: 'v' };
  test('dominance wins, concurrency and forks do not', () => {
    expect(wants('version-vector', rows('{"a": 2}', '{"a": 1, "b": 0}'), options)).toEqual({ ...ada, v: '{"a": 2}' });
    expect(wants('version-vector', rows('{"a": 2}', '{"b": 1}'), options)).toMatch(/concurrently/);
    expect(wants('version-vector', rows('{"a": 2}', '{"a": 2}'), options)).toMatch(/same version vector/);
    expect(wants('version-vector', rows('{"a": 90071992547409931}', '{"a": 90071992547409930}'), options)).toMatchObject(ada);
  });
  test.each(['[1]', '{"a": -1}', '{"a": "2"}', '{"a": 1.5}', '{"a": {"b": 1}}'])('%s is not a version vector', (text) => {
    expect(wants('version-vector', rows('{"a": 1}', text), options)).toMatch(/not a version vector/);
  });
});

describe('field-wise-merge', () => {
  test('each column by its own clock', () => {
    const rows = {
      eu: { id: '1', city: 'Rome', city_at: '5', name: 'Ada', name_at: '9' },
      us: { id: '1', city: 'Oslo', city_at: '6', name: 'Eda', name_at: '8' },
    };
    const situation = exampleSituation({ types: { city_at: 'int', name_at: 'int' }, rows });
    expect(wants('field-wise-merge', situation, { clocks: { city: 'city_at', name: 'name_at' } })).toEqual({
      id: '1',
      city: 'Oslo',
      city_at: '6',
      name: 'Ada',
      name_at: '9',
    });
    expect(wants('field-wise-merge', situation, { clocks: { city: 'city_at' } })).toMatch(/name differs/);
  });
  test('three ways: a column changed twice is a conflict', () => {
    const row = (city: string, clock: string): Row => ({ id: '1', city, name: clock, clock });
    const situation = exampleSituation({
      classes: { clock: 'clock' },
      types: { clock: 'int' },
      rows: { a: row('Rome', '1'), b: row('Oslo', '2'), c: row('Bern', '3') },
    });
    expect(wants('field-wise-merge', situation)).toMatch(/two different values/);
  });
});

describe('outbox-replay, resync-follower, cache-invalidate', () => {
  const lost = write({ kind: 'publish-failed', replica: 'eu', outcome: 'aborted', atUs: 2 });
  test('what a lost change event would have brought', () => {
    expect(wants('outbox-replay', exampleSituation({ rows: { eu: ada, us: eda }, writes: [write({ replica: 'eu' }), lost] }))).toEqual(ada);
    expect(
      wants('outbox-replay', exampleSituation({ rows: { eu: null, us: eda }, writes: [write({ replica: 'eu', kind: 'delete' }), lost] })),
    ).toBe(null);
    expect(
      wants(
        'outbox-replay',
        exampleSituation({ rows: { eu: ada, us: eda }, writes: [write({ replica: 'eu' }), lost, write({ replica: 'us', atUs: 9 })] }),
      ),
    ).toMatch(/another replica/);
  });
  test('followers are resynced, peers are not', () => {
    expect(wants('resync-follower', exampleSituation({ roles: { eu: 'leader', us: 'follower' }, rows: { eu: ada, us: eda } }))).toEqual(
      ada,
    );
    expect(wants('resync-follower', exampleSituation({ roles: { eu: 'leader' }, rows: { eu: ada, us: eda } }))).toMatch(/peer/);
    expect(wants('resync-follower', exampleSituation({ roles: { eu: 'leader', us: 'leader' }, rows: { eu: ada, us: eda } }))).toMatch(
      /several/,
    );
  });
  test('a cache is emptied only where its sources agree', () => {
    expect(wants('cache-invalidate', exampleSituation({ roles: { cache: 'cache' }, rows: { cache: eda, eu: ada, us: ada } }))).toEqual(ada);
    expect(wants('cache-invalidate', exampleSituation({ roles: { cache: 'cache' }, rows: { cache: eda, eu: ada, us: eda } }))).toMatch(
      /differ/,
    );
  });
});
