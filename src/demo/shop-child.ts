import type { Region } from './regions.ts';
import { type Route, serveShop } from './shop-http.ts';
import { openShopStore, type ShopStore } from './shop-store.ts';
import { startTracing, type Tracing } from './tracing.ts';

/** What the estate tells a process of the shop when it starts it. */
export interface ChildSettings {
  readonly urls: Readonly<Record<Region, string>>;
  readonly otlpUrl: string;
  /** Base URLs of the processes that started before. */
  readonly peers: Readonly<Record<string, string>>;
}

export interface ChildContext {
  readonly settings: ChildSettings;
  readonly tracing: Tracing;
  readonly store: ShopStore;
  /** Aborted when the process shall end. */
  readonly signal: AbortSignal;
}

/**
 * The frame of a shop process: settings from the environment, tracing, a store, routes; says `{port}` to its parent and ends when the
 * parent says so or is gone. `start` may return work that goes on beside the routes.
 */
export async function runShopChild(
  name: string,
  start: (context: ChildContext) => { readonly routes: readonly Route[]; readonly work?: Promise<void> },
): Promise<void> {
  const settings = JSON.parse(process.env['SHOP_SETTINGS'] ?? '{}') as ChildSettings;
  const stop = new AbortController();
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  process.on('disconnect', () => stop.abort());
  process.on('SIGTERM', () => stop.abort());
  // Ctrl-C reaches the whole group; the parent decides the order in which its processes end.
  process.on('SIGINT', () => undefined);

  const tracing = startTracing(name, settings.otlpUrl);
  const store = openShopStore(tracing, settings.urls);
  const { routes, work } = start({ settings, tracing, store, signal: stop.signal });
  const server = await serveShop(tracing.tracer, routes);
  process.send?.({ port: server.port });
  await stopped;
  await server.close();
  await work;
  await store.close();
  await Promise.race([tracing.close(), new Promise((resolve) => setTimeout(resolve, 3_000).unref())]);
  if (process.connected) process.disconnect?.();
}
