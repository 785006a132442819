import { connect, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Failure } from '../../src/base/failure.ts';
import { openPostgresQueue } from '../../src/io/queue/bullmq.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { openDatabase } from '../../src/io/store/database.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';
import type { Collection } from '../../src/domain/collection.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

/** What a server that shuts down sends to a session: FATAL 57P01. */
const goodbye = (() => {
  const fields = Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0');
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(4 + fields.length, 1);
  return Buffer.concat([head, fields]);
})();
const isReady = (chunk: Buffer): boolean => chunk.subarray(-6).equals(Buffer.from([0x5a, 0, 0, 0, 5, 0x49]));

let server: TestPostgres;
let url: string;
const sockets = new Set<Socket>();
/** Ends each session in the very packet that says that its login went through. */
const proxy = createServer((socket) => {
  const far = connect(Number(new URL(server.url).port), '127.0.0.1');
  for (const [one, other] of [
    [socket, far],
    [far, socket],
  ] as const) {
    sockets.add(one);
    one.on('close', () => {
      other.destroy();
      sockets.delete(one);
    });
    one.on('error', () => other.destroy());
  }
  socket.on('data', (chunk) => far.write(chunk));
  far.on('data', (chunk: Buffer) => {
    if (isReady(chunk)) socket.end(Buffer.concat([chunk, goodbye]));
    else socket.write(chunk);
  });
});

beforeAll(async () => {
  server = await startPostgres();
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  const through = new URL(server.url);
  through.port = String(address !== null && typeof address === 'object' ? address.port : 0);
  url = through.href;
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  proxy.close();
  await server.close();
});

/** Errors that nobody heard of: each would end the service. */
async function unheard(work: () => Promise<unknown>): Promise<readonly [unknown, readonly Error[]]> {
  const errors: Error[] = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => errors.push(error));
  try {
    const answer = await work().catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return [answer, errors];
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  }
}

describe('a PostgreSQL that ends a session with the answer to its login', () => {
  it('as a replica is one that does not answer', async () => {
    const collection: Collection = {
      name: 'things',
      domain: 'd',
      key: ['id'],
      columnClasses: {},
      excludedColumns: [],
      invariants: [],
      scanEveryMs: 1_000,
      replicas: [],
    };
    const replica = await openReplica(collection, {
      id: 'eu',
      engine: 'postgres',
      url,
      region: 'eu',
      role: 'peer',
      table: 'things',
      columnNames: {},
    });
    const [answer, errors] = await unheard(() => replica.position(AbortSignal.timeout(10_000)));
    await replica.close();
    expect(errors).toEqual([]);
    expect(answer).toBeInstanceOf(Failure);
    expect(answer).toMatchObject({ code: 'replica-down' });
  });

  it('as our own database is one that is tried again', async () => {
    const database = openDatabase(url);
    const [answer, errors] = await unheard(() => database.transaction((tx) => tx.query('select 1')));
    await database.close();
    expect(errors).toEqual([]);
    expect(answer).toMatchObject({ retry: 'later' });
  });

  it('as the queue is one that is away', async () => {
    const [answer, errors] = await unheard(() => openPostgresQueue(url, () => undefined));
    expect(errors).toEqual([]);
    expect(answer).toBeInstanceOf(Error);
  });
});
