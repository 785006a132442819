/** A real HTTP service that answers the replica API as docs/http-replica.md describes it: rows in memory, an etag a row. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Row } from '../../src/domain/row.ts';

interface Stored {
  readonly document: Record<string, unknown>;
  readonly etag: string;
}

export interface RowService {
  readonly url: string;
  put(row: Row): void;
  remove(id: string): void;
  clear(): void;
  document(id: string): Readonly<Record<string, unknown>> | undefined;
  /** What the next answer with rows does wrong. */
  breakNext(how: 'cut-off' | 'wrong-count' | 'error-line'): void;
  close(): Promise<void>;
}

export async function startRowService(login: { readonly user: string; readonly password: string }): Promise<RowService> {
  const rows = new Map<string, Stored>();
  let etags = 0;
  let broken: string | undefined;
  const store = (document: Record<string, unknown>): void => {
    etags += 1;
    rows.set(String(document['id']), { document, etag: `v${etags}` });
  };
  const wanted = `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`;

  const sendRows = (response: ServerResponse, found: readonly Stored[]): void => {
    response.setHeader('content-type', 'application/x-ndjson');
    for (const { document, etag } of found) response.write(`${JSON.stringify({ row: document, etag })}\n`);
    const how = broken;
    broken = undefined;
    if (how === 'error-line') response.write('{"error":"the database went away"}\n');
    if (how === undefined) response.write(`{"end":${found.length}}\n`);
    if (how === 'wrong-count') response.write(`{"end":${found.length + 1}}\n`);
    response.end();
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.headers.authorization !== wanted) return void response.writeHead(401).end();
    const body = await text(request);
    switch (`${request.method} ${request.url}`) {
      case 'GET /things':
        return void response.end(
          JSON.stringify({
            columns: [
              { name: 'id', type: 'int', nullable: false },
              { name: 'amount', type: 'numeric' },
              { name: 'at', type: 'timestamptz' },
              { name: 'name', type: 'text' },
              { name: 'note', type: 'text' },
              { name: 'ok', type: 'bool' },
            ],
          }),
        );
      case 'GET /things/rows':
        return sendRows(response, [...rows.values()]);
      case 'POST /things/rows/read': {
        const { keys } = JSON.parse(body) as { readonly keys: readonly { readonly id: string }[] };
        return sendRows(
          response,
          keys.flatMap(({ id }) => rows.get(id) ?? []),
        );
      }
      case 'POST /things/rows/apply': {
        const { effects } = JSON.parse(body) as {
          readonly effects: readonly {
            readonly key: { readonly id: string };
            readonly ifMatch: string | null;
            readonly row: Record<string, unknown> | null;
          }[];
        };
        const changed = effects.filter(({ key, ifMatch }) => (rows.get(key.id)?.etag ?? null) !== ifMatch);
        if (changed.length > 0) return void response.writeHead(409).end(JSON.stringify({ keys: changed.map(({ key }) => key) }));
        for (const { key, row } of effects) {
          if (row === null) rows.delete(key.id);
          else store(row);
        }
        return void response.end('{"is":"applied"}');
      }
      default:
        return void response.writeHead(404).end();
    }
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.writeHead(500).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${login.user}:${encodeURIComponent(login.password)}@127.0.0.1:${port}/things`,
    // As a service would write it: its own types, its own time format, a field that is nobody's column.
    put: ({ id, amount, at, ok, ...rest }) =>
      store({
        id: Number(id),
        amount: Number(amount),
        at: at?.replace(' ', 'T').replace('+00', 'Z') ?? null,
        ok: ok === 'true',
        extra: 1,
        ...rest,
      }),
    remove: (id) => void rows.delete(id),
    clear: () => rows.clear(),
    document: (id) => rows.get(id)?.document,
    breakNext: (how) => {
      broken = how;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
