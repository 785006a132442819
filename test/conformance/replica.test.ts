import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Failure } from '../../src/base/failure.ts';
import { agreeShape } from '../../src/domain/agree-shape.ts';
import { estimateDifference, isEqualSummary } from '../../src/detect/localize-sketch.ts';
import type { RowDigest } from '../../src/domain/digest.ts';
import { type Effect, invertEffects } from '../../src/domain/effect.ts';
import { everyKey } from '../../src/domain/key-range.ts';
import { isCanonical, keyDigest, rowDigest } from '../../src/domain/row-encoding.ts';
import type { Key, Row, Shape } from '../../src/domain/row.ts';
import { addItem, emptyTable, peelTable, subtractTables, valueOf } from '../../src/domain/sketch.ts';
import { everySlice, runsOf, sliceByKey, sliceOf, type Slicing } from '../../src/domain/slicing.ts';
import { DigestSum, laneSum } from '../../src/io/replicas/lane-sum.ts';
import type { Entry, ReplicaConnection, SketchHash, SketchScan } from '../../src/io/replicas/replica.ts';
import { mariadbAvailable } from '../servers/mariadb.ts';
import { redisAvailable } from '../servers/redis.ts';
import { startStillProxy } from '../servers/still-proxy.ts';
import {
  collection,
  openStore,
  type ReplicaStore,
  rowOf,
  startMariadbStore,
  startAgentStore,
  startHttpStore,
  startPostgresStore,
  startRedisStore,
} from './replica-stores.ts';

const stores = [
  { name: 'postgres', isAvailable: true, start: startPostgresStore },
  { name: 'mariadb', isAvailable: mariadbAvailable, start: startMariadbStore },
  { name: 'redis json', isAvailable: redisAvailable, start: () => startRedisStore('json') },
  { name: 'http', isAvailable: true, start: startHttpStore },
  { name: 'postgres through an agent', isAvailable: true, start: startAgentStore },
  { name: 'redis hash', isAvailable: redisAvailable, start: () => startRedisStore('hash') },
];

const signal = AbortSignal.timeout(120_000);

for (const { name, isAvailable, start } of stores) {
  describe.skipIf(!isAvailable)(`replica connector (${name})`, () => {
    let store: ReplicaStore;
    let replica: ReplicaConnection;
    let shape: Shape;

    beforeAll(async () => {
      store = await start();
      replica = await openStore(store, store.replica);
      const described = await replica.describe(signal);
      const agreement = agreeShape('things', [
        { replica: store.replica.id, shape: described },
        { replica: 'peer', shape: typedShape },
      ]);
      expect(agreement).toMatchObject({ is: 'agreed' });
      if (agreement.is === 'agreed') shape = agreement.shape;
    }, 60_000);
    afterAll(async () => {
      await replica?.close();
      await store?.close();
    });
    beforeEach(async () => {
      await store.clear();
      for (let id = 1; id <= 40; id += 1) await store.put(rowOf(id));
    });

    const effect = (id: number, before: Row | null, after: Row | null): Effect => ({
      replica: store.replica.id,
      collection: collection.name,
      key: { id: String(id) },
      kind: before === null ? 'insert' : after === null ? 'delete' : 'update',
      expects: before === null ? null : rowDigest(shape, before),
      before,
      after,
      leaves: after === null ? null : rowDigest(shape, after),
    });
    const readAll = async (ids: readonly number[]): Promise<readonly (Row | null)[]> => {
      const rows = await replica.readRows(
        shape,
        ids.map((id) => ({ id: String(id) })),
        signal,
      );
      return ids.map((id) => rows.find((row) => row.key['id'] === String(id))?.row ?? null);
    };

    test('describes the key first, then the other columns by name', () => {
      expect(shape.columns.map((column) => column.name)).toEqual(['id', 'amount', 'at', 'name', 'note', 'ok']);
    });

    test('reads rows as canonical text, NULL apart from empty, and digests them as the specification does', async () => {
      const rows = await replica.readRows(shape, [{ id: '3' }, { id: '4' }, { id: '999' }, { id: '99999999999999999999' }], signal);
      expect(rows.map((row) => row.row).toSorted((a, b) => Number(a['id']) - Number(b['id']))).toEqual([rowOf(3), rowOf(4)]);
      for (const row of rows) {
        expect(row.digest).toBe(rowDigest(shape, row.row));
        for (const column of shape.columns) {
          const value = row.row[column.name];
          if (value !== null && value !== undefined) expect(isCanonical(column.type, value)).toBe(true);
        }
      }
    });

    test('marks are the keys, digests and stamps of the rows, and another after a write of the same values where there are stamps', async (context) => {
      if (replica.readMarks === undefined) return context.skip('this store can only give whole rows');
      const keys = [{ id: '3' }, { id: '4' }, { id: '999' }, { id: '99999999999999999999' }];
      const byKey = <T extends { readonly key: Key }>(all: readonly T[]): readonly T[] =>
        all.toSorted((a, b) => Number(a.key['id']) - Number(b.key['id']));
      const fetched = replica.counters.rowsFetched;
      const marks = byKey(await replica.readMarks(shape, keys, signal));
      expect(replica.counters.rowsFetched).toBe(fetched);
      expect(marks).toEqual(byKey(await replica.readRows(shape, keys, signal)).map(({ row: _values, ...mark }) => mark));
      await store.put(rowOf(3));
      const [again] = byKey(await replica.readMarks(shape, keys, signal));
      expect(again?.digest).toBe(marks[0]?.digest);
      if (again?.stamp !== undefined) expect(again.stamp).not.toBe(marks[0]?.stamp);
    });

    test('the digest of everything is the count and the lane-wise sum of the row digests', async () => {
      const sum = new DigestSum();
      for (let id = 1; id <= 40; id += 1) sum.add(rowDigest(shape, rowOf(id)));
      const [digest] = await replica.digest(shape, [everyKey], signal);
      expect(digest).toEqual(sum.result());
    });

    test('ranges that cover everything add up, and a bound belongs to the range below it', async () => {
      const ranges = [
        { after: null, upTo: { id: '9' } },
        { after: { id: '9' }, upTo: { id: '10' } },
        { after: { id: '10' }, upTo: null },
      ];
      const digests = await replica.digest(shape, ranges, signal);
      expect(digests.map((digest) => digest.count)).toEqual([9, 1, 30]);
      const [all] = await replica.digest(shape, [everyKey], signal);
      const lane = (from: number, to: number): string =>
        digests.reduce((sum, digest) => sum + BigInt(`0x${digest.sum.slice(from, to)}`), 0n).toString();
      expect(laneSum(lane(0, 16), lane(16, 32))).toBe(all?.sum);
    });

    test('buckets hold the rows whose key digest falls into them, entries give exactly those', async () => {
      const buckets = await replica.digestBuckets(shape, everyKey, 8, signal);
      const expected = Array.from({ length: 8 }, () => new DigestSum());
      for (let id = 1; id <= 40; id += 1) {
        const key = { id: String(id) };
        expected[Number(BigInt(`0x${keyDigest(shape, key).slice(0, 16)}`) & 7n)]?.add(rowDigest(shape, rowOf(id)));
      }
      expect(buckets).toEqual(expected.map((sum) => sum.result()));
      const found = new Map<string, RowDigest>();
      for await (const batch of replica.entries(shape, everyKey, { buckets: 8, only: [2, 5] }, signal)) {
        for (const entry of batch) found.set(entry.key['id'] ?? '', entry.digest);
      }
      expect(found.size).toBe((buckets[2]?.count ?? 0) + (buckets[5]?.count ?? 0));
      for (const [id, digest] of found) expect(digest).toBe(rowDigest(shape, rowOf(Number(id))));
    });

    test('sketches are those of the specification, and peel to the keys that differ', async (context) => {
      const { sketching } = replica;
      if (sketching === undefined) return context.skip('this store makes no sketches');
      const cells = 11;
      const scan = async <T>(hash: SketchHash, slicing: Slicing, work: (scan: SketchScan) => Promise<T>): Promise<T> => {
        const opened = await sketching.scan(shape, everyKey, hash, slicing, signal);
        try {
          return await work(opened);
        } finally {
          await opened.close();
        }
      };
      const span = await sketching.keySpan(shape, everyKey, signal);
      expect(span).toEqual({ low: 1n, high: 40n });
      const narrow = { by: 'key', shift: 2, low: 8n, high: 30n } as const;
      const hashes = name.startsWith('postgres') ? (['canonical', 'native'] as const) : (['canonical'] as const);
      const slicings: readonly Slicing[] = [{ by: 'place' }, sliceByKey(1n, 40n), narrow];
      // Outside of the span that slices are made for: they are found all the same.
      await store.put(rowOf(-70_000));
      await store.put(rowOf(900_000));
      const ids = [...Array.from({ length: 40 }, (_unused, at) => at + 1), -70_000, 900_000];
      const [digest] = await replica.digest(shape, [everyKey], signal);
      for (const hash of hashes) {
        const placeOf = sketching.placeOf(shape, hash);
        for (const slicing of slicings) {
          const what = `${hash} by ${slicing.by}`;
          await scan(hash, slicing, async (opened) => {
            const { summary } = opened;
            if (hash === 'canonical') expect({ count: summary.count, sum: summary.sum }, what).toEqual(digest);
            // Fingerprints of parts add up to those of their bucket.
            const buckets = [...summary.fingerprints.keys()];
            const parts = await opened.refine(buckets, 4);
            for (const bucket of buckets) {
              const sum = parts.subarray(bucket * 4, bucket * 4 + 4).reduce((total, part) => total + part, 0);
              expect(sum & 65535, what).toBe(summary.fingerprints[bucket]);
            }
            // The table of some slices holds exactly the rows of those.
            const chosen = ids.filter((id) => id % 3 === 0);
            const slices = new Set(
              chosen.map((id) => sliceOf(slicing, BigInt.asUintN(64, BigInt(id)), placeOf(BigInt.asUintN(64, BigInt(id))))),
            );
            const runs = runsOf(
              [...slices].toSorted((a, b) => a - b),
              1,
            );
            const table = await opened.table(runs, cells);
            if (hash !== 'canonical') return;
            const expected = emptyTable(cells);
            for (const id of ids) {
              const place = BigInt(`0x${keyDigest(shape, { id: String(id) }).slice(0, 16)}`);
              const word = BigInt.asUintN(64, BigInt(id));
              if (slices.has(sliceOf(slicing, word, place))) addItem(expected, word, place, valueOf(rowDigest(shape, rowOf(id))));
            }
            expect(table, what).toEqual(expected);
          });
        }
      }
      for (const hash of hashes) {
        for (const slicing of slicings) {
          await store.put(rowOf(3));
          await store.put(rowOf(-5));
          await store.put(rowOf(8));
          await store.remove('77');
          const [one, oneTable] = await scan(hash, slicing, async (opened) => [
            opened.summary,
            await opened.table(everySlice(slicing), cells),
          ]);
          await store.put(rowOf(3, { note: '' }));
          await store.remove('-5');
          await store.put(rowOf(77));
          await store.put(rowOf(8, { name: null }));
          const [two, full] = await scan(hash, slicing, async (opened) => [opened.summary, await opened.table(everySlice(slicing), cells)]);
          expect(isEqualSummary(one, two)).toBe(false);
          expect(estimateDifference(one, two, slicing).buckets.length).toBeLessThanOrEqual(4);
          const words = peelTable(subtractTables(oneTable, full), sketching.placeOf(shape, hash));
          // A word past 2^63 is looked for as a negative and as an unsigned key: the second is nobody's here.
          const located = words === undefined ? [] : await sketching.locate(shape, everyKey, hash, words, signal);
          const keys = located.filter((key) => key['id'] !== '18446744073709551611');
          expect(
            keys.map((key) => Number(key['id'])).toSorted((a, b) => a - b),
            hash,
          ).toEqual([-5, 3, 8, 77]);
        }
      }
    });

    test('a scan stays in its snapshot until it is closed', async (context) => {
      const { sketching } = replica;
      if (sketching === undefined) return context.skip('this store makes no sketches');
      const slicing = sliceByKey(1n, 40n);
      const opened = await sketching.scan(shape, everyKey, 'canonical', slicing, signal);
      const before = await opened.table(everySlice(slicing), 11);
      await store.put(rowOf(4, { note: 'changed meanwhile' }));
      expect(await opened.table(everySlice(slicing), 11)).toEqual(before);
      await opened.close();
      const again = await sketching.scan(shape, everyKey, 'canonical', slicing, signal);
      expect(await again.table(everySlice(slicing), 11)).not.toEqual(before);
      await again.close();
    });

    test('entries in order are all entries, ascending by key as a range has it', async (context) => {
      if (replica.entriesInOrder === undefined) return context.skip('this store has no order');
      await store.put(rowOf(-5));
      await store.put(rowOf(1_000));
      const found: Entry[] = [];
      for await (const batch of replica.entriesInOrder(shape, { after: { id: '-5' }, upTo: { id: '1000' } }, signal)) found.push(...batch);
      expect(found.map((entry) => entry.key['id'])).toEqual([...Array.from({ length: 40 }, (_unused, at) => String(at + 1)), '1000']);
      expect(found[2]?.digest).toBe(rowDigest(shape, rowOf(3)));
    });

    test('a reader that leaves early leaves a usable connection', async () => {
      for await (const _batch of replica.entries(shape, everyKey, { buckets: 1 }, signal)) break;
      expect((await replica.readRows(shape, [{ id: '1' }], signal)).length).toBe(1);
    });

    test('applies insert, update and delete together, and their inverse restores', async () => {
      const effects = [
        effect(50, null, rowOf(50, { name: '' })),
        effect(2, rowOf(2), rowOf(2, { name: null, amount: '7.25' })),
        effect(3, rowOf(3), null),
      ];
      expect(await replica.apply(shape, effects, signal)).toEqual({ is: 'applied', rows: 3 });
      expect(await readAll([50, 2, 3])).toEqual([rowOf(50, { name: '' }), rowOf(2, { name: null, amount: '7.25' }), null]);
      expect(await replica.apply(shape, effects, signal)).toEqual({ is: 'already-applied', rows: 3 });
      expect(await replica.apply(shape, invertEffects(effects), signal)).toEqual({ is: 'applied', rows: 3 });
      expect(await readAll([50, 2, 3])).toEqual([null, rowOf(2), rowOf(3)]);
    });

    test('I2: one row that changed since it was read stops the whole batch and is named', async () => {
      await store.put(rowOf(5, { name: 'changed meanwhile' }));
      await store.put(rowOf(60));
      const effects = [effect(4, rowOf(4), null), effect(5, rowOf(5), rowOf(5, { name: 'x' })), effect(60, null, rowOf(60, { name: 'y' }))];
      const result = await replica.apply(shape, effects, signal);
      expect(result).toEqual({ is: 'changed-since-read', keys: [{ id: '5' }, { id: '60' }] });
      expect(await readAll([4, 5])).toEqual([rowOf(4), rowOf(5, { name: 'changed meanwhile' })]);
    });

    test('a row that is gone is changed, not inserted again', async () => {
      await store.remove('6');
      const result = await replica.apply(shape, [effect(6, rowOf(6), rowOf(6, { name: 'x' }))], signal);
      expect(result.is).toBe('changed-since-read');
      expect(await readAll([6])).toEqual([null]);
    });

    test('I2: of two repairs that race for a row one is applied', async () => {
      const rivals = await Promise.all([openStore(store, store.replica), openStore(store, store.replica)]);
      try {
        const results = await Promise.all(
          rivals.map((rival, at) =>
            rival.apply(shape, [effect(7, rowOf(7), rowOf(7, { name: `rival ${at}` }))], signal).catch((error: unknown) => error),
          ),
        );
        const kinds = results.map((result) => (result instanceof Failure ? result.retry : (result as { is: string }).is));
        expect(kinds.filter((kind) => kind === 'applied').length).toBe(1);
        expect(kinds.every((kind) => ['applied', 'changed-since-read', 'later'].includes(kind))).toBe(true);
      } finally {
        await Promise.all(rivals.map((rival) => rival.close()));
      }
    });

    test('a position passes on its own store at the latest when the staleness budget is over', async () => {
      const position = await replica.position(signal);
      expect(await replica.hasPassed(position, 0, signal)).toBe(true);
      expect(await replica.hasPassed({ is: 'wall-clock', text: 'x', atMs: Date.now() }, 60_000, signal)).toBe(false);
    });

    test('hashes the rows of given keys, in order: canonical ones are the row digests, absent rows are null', async (context) => {
      const { sketching } = replica;
      if (sketching?.hashKeys === undefined) return context.skip('this store hashes no rows');
      const keys = [{ id: '999' }, { id: '4' }, { id: '3' }, { id: '99999999999999999999' }];
      const bytesOf = (id: number): string => Buffer.from(rowDigest(shape, rowOf(id)), 'hex').toString('latin1');
      expect(await sketching.hashKeys(shape, 'canonical', keys, signal)).toEqual([null, bytesOf(4), bytesOf(3), null]);
    });

    test('tells how busy its store is, and how far replication is behind, where it can', async (context) => {
      if (replica.pressure === undefined) return context.skip('this store does not tell');
      const { statements, lagMs } = await replica.pressure(signal);
      expect(statements).toBeGreaterThanOrEqual(0);
      expect(Number.isInteger(statements)).toBe(true);
      // Nothing follows these stores.
      expect(lagMs).toBeUndefined();
    });

    test('what another row keeps out is refused as such, not taken for a row that changed', async (context) => {
      if (store.uniqueNames === undefined) return context.skip('this store has no constraints');
      await store.uniqueNames(true);
      try {
        const taken = { name: rowOf(1)['name'] ?? '' };
        for (const refused of [effect(99, null, rowOf(99, taken)), effect(2, rowOf(2), rowOf(2, taken))])
          await expect(replica.apply(shape, [effect(3, rowOf(3), null), refused], signal)).rejects.toMatchObject({ code: 'constraint' });
        // All or nothing.
        expect(await readAll([2, 3, 99])).toEqual([rowOf(2), rowOf(3), null]);
        expect(await replica.apply(shape, [effect(4, null, rowOf(4, { name: 'free' }))], signal)).toMatchObject({
          is: 'changed-since-read',
        });
      } finally {
        await store.uniqueNames(false);
      }
    });

    test('an aborted call throws the reason and leaves a usable connection', async () => {
      const aborted = AbortSignal.abort(new Error('stopped by the test'));
      await expect(replica.digest(shape, [everyKey], aborted)).rejects.toThrow('stopped by the test');
      expect((await replica.readRows(shape, [{ id: '1' }], signal)).length).toBe(1);
    });

    test('a call to a store that stands still ends when it is aborted, and works again when the store goes on', async () => {
      const proxy = await startStillProxy(store.replica.url);
      const connection = await openStore(store, { ...store.replica, url: proxy.url });
      try {
        expect((await connection.readRows(shape, [{ id: '1' }], signal)).length).toBe(1);
        proxy.standStill();
        const reason = new Error('stopped by the test');
        const [before, after] = [rowOf(2), rowOf(2, { name: 'another' })];
        const calls: readonly ((stop: AbortSignal) => Promise<unknown>)[] = [
          (stop) => connection.position(stop),
          (stop) => connection.readRows(shape, [{ id: '1' }], stop),
          (stop) => connection.digestBuckets(shape, everyKey, 4, stop),
          (stop) => connection.apply(shape, [effect(2, before, after)], stop),
        ];
        for (const call of calls) {
          const stop = new AbortController();
          const ended = call(stop.signal).catch((error: unknown) => error);
          // Long enough for the call to be on its way.
          await delay(50);
          stop.abort(reason);
          expect(await Promise.race([ended, delay(20_000, 'it hangs')])).toBe(reason);
        }
        proxy.goOn();
        expect((await connection.readRows(shape, [{ id: '1' }], signal)).length).toBe(1);
      } finally {
        proxy.goOn();
        await connection.close();
        await proxy.close();
      }
    }, 120_000);

    test('a store that cannot serve says so in one sentence without its secrets', async () => {
      for (const broken of store.broken) {
        const connection = await openStore(store, broken.replica);
        const failure: unknown = await connection.describe(signal).catch((error: unknown) => error);
        await connection.close();
        expect(failure, broken.code).toBeInstanceOf(Failure);
        if (!(failure instanceof Failure)) continue;
        expect(failure.code).toBe(broken.code);
        expect(failure.message).toMatch(broken.says);
        expect(failure.message).not.toContain('wrong-secret');
        expect(failure.message).not.toContain(broken.replica.url);
        expect(failure.message.split('\n').length).toBe(1);
      }
    });
  });
}

/** What peers with types would agree on, for stores that have none. */
const typedShape: Shape = {
  key: ['id'],
  columns: [
    { name: 'id', type: 'int', nullable: false },
    { name: 'amount', type: 'numeric', nullable: true },
    { name: 'at', type: 'timestamptz', nullable: true },
    { name: 'name', type: 'text', nullable: true },
    { name: 'note', type: 'text', nullable: true },
    { name: 'ok', type: 'bool', nullable: true },
  ],
};
