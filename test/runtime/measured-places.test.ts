import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config.ts';
import type { Measurement } from '../../src/domain/measurement.ts';
import { measuredPlaces } from '../../src/runtime/measured-places.ts';

const parsed = parseConfig(
  `
domains: { d: { consistency: eventual } }
collections:
  orders:
    domain: d
    key: [id]
    replicas:
      eu: { url: "postgres://u@db-eu/shop", table: public.orders, role: leader }
      us: { url: "postgres://u@10.0.0.7:6432/shop", table: public.orders }
  carts:
    domain: d
    key: [id]
    replicas:
      eu: { url: "postgres://u@db-eu/carts" }
      asia: { url: "mysql://u@db-ap/carts", region: ap }
`,
  '/homeostat.yaml',
  {},
);
if (parsed.is !== 'config') throw new Error(JSON.stringify(parsed.problems));
const placesOf = measuredPlaces(Object.values(parsed.config.collections));

const one = (more: Partial<Measurement>): Measurement => ({
  kind: 'replication-lag-ms',
  metric: 'm',
  system: '',
  instance: '',
  subject: '',
  replica: '',
  value: 1,
  isCumulative: false,
  atUs: 1,
  ...more,
});

describe('what a measurement speaks for', () => {
  test.each<[string, Partial<Measurement>, string[]]>([
    ['lag is the standby’s, not the leader’s that reports it', { instance: 'db-eu:5432', subject: '10.0.0.7' }, ['orders us']],
    ['lag of a standby that is not compared', { instance: 'db-eu:5432', subject: '10.9.9.9' }, []],
    ['lag that the replica itself reports', { instance: 'DB-AP:3306' }, ['carts ap']],
    ['lag reported by an exporter on the replica’s host', { instance: 'db-ap:9104' }, ['carts ap']],
    ['lag by the replica’s id', { replica: 'us', subject: 'x' }, ['orders us']],
    ['locks of a database with one collection', { kind: 'deadlocks', instance: 'db-eu:5432', subject: 'shop' }, ['orders eu']],
    ['locks of a server with several', { kind: 'deadlocks', instance: 'db-eu' }, []],
    [
      'locks of a table',
      { kind: 'lock-waits', metric: 'mysql.table.lock_wait.write.count', instance: 'db-ap', subject: 'carts carts normal' },
      ['carts ap'],
    ],
    [
      'locks of a table that is not compared',
      { kind: 'lock-waits', metric: 'mysql.table.lock_wait.write.count', instance: 'db-ap', subject: 'carts other normal' },
      [],
    ],
    ['messages', { kind: 'consumer-lag', instance: 'db-eu' }, []],
    ['a server that nobody named', { instance: '' }, []],
  ])('%s', (_, measurement, expected) => {
    expect(placesOf(one(measurement)).map(({ collection, region }) => `${collection} ${region}`)).toEqual(expected);
  });
});
