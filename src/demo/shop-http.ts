import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Attributes, context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api';
import type { Chaos } from './regions.ts';

export interface ShopRequest {
  /** What the route's pattern captured. */
  readonly id: string;
  readonly query: URLSearchParams;
  readonly body: Readonly<Record<string, unknown>>;
  readonly chaos: Chaos;
  readonly session: string | undefined;
}

export interface ShopAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PATCH';
  /** `/profiles/:id` */
  readonly route: string;
  /** Routes that take messages make their own consumer span, in a trace of its own. */
  readonly isMessage?: boolean;
  answer(request: ShopRequest, carrier: Readonly<Record<string, string>>): Promise<ShopAnswer>;
}

const maxBodyBytes = 1_000_000;
const callTimeoutMs = 15_000;

/** Serves routes on a free loopback port, each request in a server span that continues the caller's trace. */
export async function serveShop(tracer: Tracer, routes: readonly Route[]): Promise<{ port: number; close(): Promise<void> }> {
  const compiled = routes.map((route) => ({ route, pattern: new RegExp(`^${route.route.replace(/:\w+/g, '([^/]+)')}$`) }));

  const answer = async (incoming: IncomingMessage): Promise<ShopAnswer & { traceId?: string }> => {
    const url = new URL(incoming.url ?? '/', 'http://shop');
    for (const { route, pattern } of compiled) {
      const match = pattern.exec(url.pathname);
      if (match === null || route.method !== incoming.method) continue;
      const headers = Object.fromEntries(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]));
      const request: ShopRequest = {
        id: decodeURIComponent(match[1] ?? ''),
        query: url.searchParams,
        body: await readJson(incoming),
        chaos: headers['x-chaos'] === undefined ? {} : (JSON.parse(headers['x-chaos']) as Chaos),
        session: headers['x-session'],
      };
      if (route.isMessage === true) return route.answer(request, headers);
      const parent = propagation.extract(ROOT_CONTEXT, headers);
      const attributes: Attributes = { 'http.request.method': route.method, 'http.route': route.route, 'url.path': url.pathname };
      if (request.session !== undefined) attributes['session.id'] = request.session;
      return tracer.startActiveSpan(`${route.method} ${route.route}`, { kind: SpanKind.SERVER, attributes }, parent, async (span) => {
        let result: ShopAnswer;
        try {
          result = await route.answer(request, headers);
        } catch (error) {
          span.recordException(error instanceof Error ? error : String(error));
          result = { status: 500, body: { error: error instanceof Error ? error.message : String(error) } };
        }
        span.setAttribute('http.response.status_code', result.status);
        if (result.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
        return { ...result, traceId: span.spanContext().traceId };
      });
    }
    return { status: 404, body: { error: 'no such route' } };
  };

  const server = createServer((incoming, outgoing) => {
    answer(incoming).then(
      ({ status, body, traceId }) => {
        outgoing.writeHead(status, { 'content-type': 'application/json', ...(traceId === undefined ? {} : { 'x-trace-id': traceId }) });
        outgoing.end(JSON.stringify(body));
      },
      (error: unknown) => {
        outgoing.writeHead(500, { 'content-type': 'application/json' });
        outgoing.end(JSON.stringify({ error: String(error) }));
      },
    );
  });
  // Longer than any client keeps an idle connection: a request on one that was just closed would fail for no reason of the shop's.
  server.keepAliveTimeout = 120_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
  };
}

async function readJson(incoming: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxBodyBytes) throw new RangeError('body too large');
    parts.push(part);
  }
  return bytes === 0 ? {} : (JSON.parse(Buffer.concat(parts).toString('utf8')) as Readonly<Record<string, unknown>>);
}

export interface ShopReply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly traceId: string | undefined;
}

/** A plain request: what a browser outside of the traced estate sends. */
export async function sendRequest(
  method: string,
  url: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
  timeoutMs = callTimeoutMs,
): Promise<ShopReply> {
  const response = await fetch(url, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(timeoutMs),
  });
  return {
    status: response.status,
    body: (await response.json()) as Readonly<Record<string, unknown>>,
    traceId: response.headers.get('x-trace-id') ?? undefined,
  };
}

/** A request from one shop service to another: a client span whose context travels along. */
export async function callShop(
  tracer: Tracer,
  method: string,
  url: string,
  body: unknown,
  options: { readonly chaos?: Chaos; readonly timeoutMs?: number } = {},
): Promise<ShopReply> {
  const attributes = { 'http.request.method': method, 'url.full': url, 'server.address': new URL(url).host };
  return tracer.startActiveSpan(method, { kind: SpanKind.CLIENT, attributes }, async (span) => {
    try {
      const headers: Record<string, string> = options.chaos === undefined ? {} : { 'x-chaos': JSON.stringify(options.chaos) };
      propagation.inject(context.active(), headers);
      const reply = await sendRequest(method, url, body, headers, options.timeoutMs);
      span.setAttribute('http.response.status_code', reply.status);
      if (reply.status >= 400) span.setStatus({ code: SpanStatusCode.ERROR });
      return reply;
    } catch (error) {
      span.recordException(error instanceof Error ? error : String(error));
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Context of a message: the producer's span, to which a consumer links. */
export function linkFrom(carrier: Readonly<Record<string, string>>): { context: ReturnType<typeof spanContextOf> } {
  return { context: spanContextOf(carrier) };
}

function spanContextOf(carrier: Readonly<Record<string, string>>) {
  return trace.getSpanContext(propagation.extract(ROOT_CONTEXT, carrier));
}
