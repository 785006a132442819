/** An application that writes: transactions of some rows each, over some connections, at a rate or as fast as they are answered. */
import { setTimeout as delay } from 'node:timers/promises';
import mysql from 'mysql2/promise';
import { Redis } from 'ioredis';
import pg from 'pg';
import { createRng } from '../../../src/base/rng.ts';

export interface Write {
  readonly urls: readonly string[];
  readonly seconds: number;
  readonly connections: number;
  readonly rowsAtOnce: number;
  /** Rows a second, all connections together; 0: no such bound. */
  readonly perSecond: number;
  /** What an application does between an answer and its next transaction: a slower answer is fewer transactions. */
  readonly thinkMs: number;
  /** Keys that are written: these, both included. */
  readonly from: number;
  readonly upTo: number;
  readonly seed: number;
}

interface Client {
  write(ids: readonly number[], n: number): Promise<unknown>;
  close(): Promise<unknown>;
}

async function open(url: string): Promise<Client> {
  if (url.startsWith('redis')) {
    const redis = new Redis(url);
    return {
      write: (ids, n) => {
        const pipeline = redis.pipeline();
        for (const id of ids) pipeline.set(`account:${id}`, JSON.stringify({ id, balance: n, note: `note ${id}` }));
        return pipeline.exec();
      },
      close: () => redis.quit(),
    };
  }
  if (url.startsWith('mysql')) {
    const client = await mysql.createConnection({ uri: url });
    return {
      write: (ids) => client.query('UPDATE accounts SET balance = balance + 0.01, version = version + 1 WHERE id IN (?)', [ids]),
      close: () => client.end(),
    };
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const text = 'UPDATE accounts SET balance = balance + 0.01, version = version + 1 WHERE id = ANY ($1::bigint[])';
  return { write: (ids) => client.query({ name: 'write', text, values: [ids] }), close: () => client.end() };
}

/** Rows written, and how long it took. */
async function write(options: Write): Promise<{ readonly rows: number; readonly seconds: number }> {
  const { from, upTo, rowsAtOnce, perSecond } = options;
  const random = createRng(options.seed);
  const clients = await Promise.all(Array.from({ length: options.connections }, () => Promise.all(options.urls.map(open))));
  const start = performance.now();
  const end = start + options.seconds * 1000;
  let rows = 0;
  await Promise.all(
    clients.map(async (each) => {
      while (performance.now() < end) {
        if (perSecond > 0) {
          const aheadMs = (rows / perSecond) * 1000 - (performance.now() - start);
          if (aheadMs > 1) await delay(aheadMs);
        }
        rows += rowsAtOnce;
        const ids = new Set<number>();
        while (ids.size < rowsAtOnce) ids.add(from + random.int(upTo - from + 1));
        // In one order, so that two writers do not wait for each other crosswise.
        const sorted = [...ids].toSorted((a, b) => a - b);
        await Promise.all(each.map((client) => client.write(sorted, rows)));
        if (options.thinkMs > 0) await delay(options.thinkMs);
      }
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  await Promise.all(clients.flat().map((client) => client.close()));
  return { rows, seconds };
}

process.on('message', (options: Write) => {
  write(options).then(
    (value) => process.send?.({ value }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});

// The bench is gone: so are we.
process.on('disconnect', () => process.exit());
