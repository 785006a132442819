import type { ServerResponse } from 'node:http';
import type { Database } from '../../io/store/database.ts';
import { listenEvents, type StoreEvent } from '../../io/store/events.ts';
import type { Caller } from './access.ts';

/** Comments that keep proxies from closing a quiet stream. */
const heartbeatMs = 15_000;
/** A client that reads slower than this is let go; it reconnects and reloads its lists. */
const maxBufferedBytes = 1_048_576;
const maxClients = 1_000;

export interface EventStream {
  open(): Promise<void>;
  /** Server-sent events until the client goes. */
  serve(response: ServerResponse, caller: Caller): void;
  close(): Promise<void>;
}

/** One listener on the store for all pages that are open. Events carry ids; what they name is read with the caller's own rights. */
export function openEventStream(database: Database): EventStream {
  const clients = new Map<ServerResponse, Caller>();
  let stop: (() => Promise<void>) | undefined;
  const write = (client: ServerResponse, text: string): void => {
    client.write(text);
    if (client.writableLength > maxBufferedBytes) client.destroy();
  };
  const heard = (event: StoreEvent): void => {
    const text = `event: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`;
    for (const [client, caller] of clients) {
      if (event.domain === undefined || caller.domains === undefined || caller.domains.includes(event.domain)) write(client, text);
    }
  };
  const heartbeat = setInterval(() => {
    for (const client of clients.keys()) write(client, ': still here\n\n');
  }, heartbeatMs);
  heartbeat.unref();
  return {
    open: async () => {
      stop = await listenEvents(database, heard);
    },
    serve: (response, caller) => {
      if (clients.size >= maxClients) {
        response.writeHead(503, { 'retry-after': '10' }).end();
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
      response.write('retry: 2000\n\n');
      clients.set(response, caller);
      response.once('close', () => clients.delete(response));
    },
    close: async () => {
      clearInterval(heartbeat);
      for (const client of clients.keys()) client.end();
      await stop?.();
    },
  };
}
