import { expect, it } from 'vitest';
import { isolation } from '../../src/detect/detectors/isolation.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { isAlive, isNamed, IsolationTables, t, transactionStride } from '../../src/detect/isolation-tables.ts';
import { createDetection } from '../../src/detect/run.ts';

it('a row that is given out again says nothing of whose it was', () => {
  const tables = new IsolationTables();
  const version = tables.takeVersion('opaque');
  tables.noteWrite(version, 'eu', 'aa');
  expect([tables.toldOf(version), tables.replicaOf(version), tables.digestOf(version)]).toEqual(['opaque', 'eu', 'aa']);
  tables.noteWrite(version, '', 'bb');
  expect([tables.replicaOf(version), tables.digestOf(version)]).toEqual(['', 'bb']);
  tables.versions.give(version);
  expect(tables.takeVersion(undefined)).toBe(version);
  expect([tables.toldOf(version), tables.replicaOf(version), tables.digestOf(version)]).toEqual([undefined, '', '']);

  const transaction = tables.takeTransaction('t1');
  tables.transactions.words[transaction * transactionStride + t.state] = isAlive | isNamed;
  expect(tables.idOf(transaction)).toBe('t1');
  tables.transactions.give(transaction);
  expect(tables.takeTransaction('')).toBe(transaction);
  tables.transactions.words[transaction * transactionStride + t.state] = isAlive;
  expect(tables.idOf(transaction)).toBe('');
});

it('objects keep their types, more of them than have numbers, too', () => {
  const tables = new IsolationTables();
  const types = Array.from({ length: 10_050 }, (_, nth) => `type ${nth}`);
  const rows = types.map((type, nth) => tables.takeObject(type, `${nth}`, nth % 2 === 0 ? '' : 'shop'));
  rows.forEach((row, nth) =>
    expect(tables.objectAt(row)).toEqual({ type: types[nth], key: `${nth}`, domain: nth % 2 === 0 ? '' : 'shop' }),
  );
  const last = rows.at(-1) ?? -1;
  tables.giveObject(last);
  expect(tables.takeObject('type 3', 'k', 'shop')).toBe(last);
  expect(tables.objectAt(last)).toEqual({ type: 'type 3', key: 'k', domain: 'shop' });
});

it('objects of two domains are two, though their type comes for the first time', () => {
  const skew = (domains: readonly [string, string]): readonly Step[] =>
    domains.flatMap((domain, nth): readonly Step[] => {
      const own = { objectType: 'doctor', domain, transactionId: `t${nth}` };
      const trace = `t${nth}`;
      return [
        { kind: 'read', trace, at: nth, facts: { ...own, objectKey: nth === 0 ? 'bob' : 'alice', version: 1n } },
        { kind: 'write', trace, at: 9 + nth, facts: { ...own, objectKey: nth === 0 ? 'alice' : 'bob', version: 2n, versionBase: 1n } },
      ];
    });
  const kinds = (steps: readonly Step[]): readonly string[] => {
    const detection = createDetection({ only: [isolation] });
    detection.add(exampleOperations(steps.map((step, nth) => ({ ...step, span: `s${nth}` }))));
    return detection.finish().map(({ facts }) => String(facts['model']));
  };
  expect(kinds(skew(['wards', 'wards']))).toEqual(['G2-item']);
  expect(kinds(skew(['wards', 'clinics']))).toEqual([]);
});
