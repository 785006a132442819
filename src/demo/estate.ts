import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { extname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { type Region, regions } from './regions.ts';
import type { ChildSettings } from './shop-child.ts';
import { createTables, readHighest } from './tables.ts';

/** Starts a real PostgreSQL below a folder, or finds the one that runs there. The demo is told how; it is no part of the shop. */
export type OpenCluster = (options: {
  readonly dataDir: string;
  readonly settings?: Readonly<Record<string, string>>;
}) => Promise<{ readonly url: string; close(): Promise<void> }>;

export interface Estate {
  /** Connection URL of each region's database. */
  readonly urls: Readonly<Record<Region, string>>;
  /** Numbers to go on from. */
  readonly highest: { readonly profile: number; readonly order: number };
  startShop(otlpUrl: string): Promise<Shop>;
  close(): Promise<void>;
}

export interface Shop {
  /** Base URL of each process that answers requests. */
  readonly addresses: { readonly accounts: string; readonly profiles: string; readonly orders: string };
  /** Waits until each region has heard of everything that was not lost. */
  drain(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const childStartMs = 30_000;
const childStopMs = 8_000;

/** Entries of the shop's processes, in order of start: orders calls the others. */
const children = {
  accounts: new URL('./accounts.ts', import.meta.url),
  profiles: new URL('./profiles.ts', import.meta.url),
  'change-feed': new URL('./change-feed.ts', import.meta.url),
  orders: new URL('./orders.ts', import.meta.url),
} as const;

export async function openEstate(dataDir: string, openCluster: OpenCluster): Promise<Estate> {
  const home = join(dataDir, 'estate');
  mkdirSync(home, { recursive: true });
  const cluster = await openCluster({ dataDir: home });
  try {
    const urls: Record<Region, string> = { eu: '', us: '', ap: '' };
    const admin = new pg.Client({ connectionString: cluster.url });
    await admin.connect();
    try {
      for (const region of regions) {
        const { rowCount } = await admin.query('select from pg_database where datname = $1', [region]);
        if (rowCount === 0) await admin.query(`create database ${pg.escapeIdentifier(region)}`);
        const url = new URL(cluster.url);
        url.pathname = `/${region}`;
        urls[region] = url.href;
      }
    } finally {
      await admin.end();
    }
    const highest = { profile: 0, order: 0 };
    for (const region of regions) {
      const client = new pg.Client({ connectionString: urls[region] });
      await client.connect();
      try {
        await createTables(client);
        const here = await readHighest(client);
        highest.profile = Math.max(highest.profile, here.profile);
        highest.order = Math.max(highest.order, here.order);
      } finally {
        await client.end();
      }
    }
    return { urls, highest, startShop: (otlpUrl) => startShop(urls, otlpUrl), close: () => cluster.close() };
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

async function startShop(urls: Readonly<Record<Region, string>>, otlpUrl: string): Promise<Shop> {
  const running: ChildProcess[] = [];
  const closeAll = async (): Promise<void> => {
    await Promise.all(running.toReversed().map(stopChild));
  };
  try {
    const start = async (name: keyof typeof children, peers: Readonly<Record<string, string>>): Promise<string> => {
      const settings: ChildSettings = { urls, otlpUrl, peers };
      const { child, port } = await startChild(children[name], settings);
      running.push(child);
      return `http://127.0.0.1:${port}`;
    };
    const [accounts, profiles] = await Promise.all([start('accounts', {}), start('profiles', {}), start('change-feed', {})]);
    const orders = await start('orders', { accounts, profiles });
    return { addresses: { accounts, profiles, orders }, drain: (signal) => drainFeeds(urls, signal), close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function startChild(entry: URL, settings: ChildSettings): Promise<{ child: ChildProcess; port: number }> {
  // The published package carries compiled files: the children are what this file is.
  const path = fileURLToPath(entry).replace(/\.ts$/, extname(fileURLToPath(import.meta.url)));
  const child = fork(path, [], {
    env: { ...process.env, SHOP_SETTINGS: JSON.stringify(settings), OTEL_LOG_LEVEL: 'none' },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  const port = await new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${path} did not start within ${childStartMs / 1000} s`)), childStartMs);
    child.once('message', (message) => {
      clearTimeout(timer);
      resolve(Number((message as { port: number }).port));
    });
    child.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`${path} ended with code ${code} before it was ready`));
    });
  });
  return { child, port };
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), childStopMs);
  await ended;
  clearTimeout(timer);
}

async function drainFeeds(urls: Readonly<Record<Region, string>>, signal: AbortSignal): Promise<void> {
  const clients = await Promise.all(
    regions.map(async (region) => {
      const client = new pg.Client({ connectionString: urls[region] });
      client.on('error', () => undefined);
      await client.connect();
      return client;
    }),
  );
  try {
    while (!signal.aborted) {
      let left = 0;
      for (const client of clients) {
        const { rows } = await client.query<{ left: string }>(
          'select (select count(*) from changes) + (select count(*) from outbox) as left',
        );
        left += Number(rows[0]?.left ?? 0);
      }
      if (left === 0) return;
      await delay(100, undefined, { signal }).catch(() => undefined);
    }
    throw new Error('the change feed still holds events: it cannot reach a region, or a process of the shop is gone');
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}
