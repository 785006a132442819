/** The HTTP API and the page, on one port. Loopback unless told otherwise; then a reverse proxy with TLS belongs in front. */
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import { InvariantError } from '../../base/assert.ts';
import { Failure } from '../../base/failure.ts';
import type { Config } from '../../config.ts';
import type { RuntimeContext } from '../../runtime/context.ts';
import { buildPage } from '../web/build.ts';
import { type Access, type Caller, localToken, type Need, openAccess, refuse, sessionCookie } from './access.ts';
import { openEventStream } from './events.ts';
import { openApiOf } from './openapi.ts';
import { ApiError, type Route } from './route.ts';
import { checksumRoutes } from './routes/checksums.ts';
import { debtRoutes } from './routes/debt.ts';
import { structureRoutes } from './routes/structure.ts';
import { decisionRoutes } from './routes/decisions.ts';
import { heatRoutes } from './routes/heat.ts';
import { nounRoutes } from './routes/nouns.ts';
import { placeRoutes } from './routes/places.ts';
import { suggestionRoutes } from './routes/suggestions.ts';

export interface ApiOptions {
  readonly context: RuntimeContext;
  /** Prometheus text. */
  readonly metrics: () => Promise<string>;
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly dataDir: string;
  readonly config: Config;
  readonly version?: string;
}

export interface Api {
  readonly port: number;
  readonly url: string;
  /** Opens the page as the local administrator, once, within the hour. */
  readonly loginUrl: string;
  close(): Promise<void>;
}

/** Edits carry rows; nothing else is near this. */
const bodyLimitBytes = 16 * 1024 * 1024;
const pagePaths = /^\/(?:$|queue|cases|proposals|anomalies|forecasts|debt|policies|audit|ingest|repairs)/;
const securityHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
};

export async function startApi(options: ApiOptions): Promise<Api> {
  const { context, host } = options;
  const token = localToken(options.dataDir);
  const access = openAccess(token, options.config.people);
  const server = fastify({ bodyLimit: bodyLimitBytes, forceCloseConnections: true, requestTimeout: 30_000, logger: false });
  const version = options.version ?? '0';
  const routes: readonly Route[] = [
    ...nounRoutes(context),
    ...placeRoutes(context),
    ...checksumRoutes(context, version),
    ...decisionRoutes(context),
    ...heatRoutes(context),
    ...suggestionRoutes(context),
    ...debtRoutes(context),
    ...structureRoutes(context),
  ];
  const events = openEventStream(context.database);
  // Bundled while the first clients connect; a page that cannot be built must not keep the API down.
  const page = buildPage();
  page.catch((error: unknown) =>
    context.log('error', `the page cannot be built: ${error instanceof Error ? error.message : String(error)}`),
  );

  // Clients that always name the type send nothing as JSON, too.
  const parseJson = server.getDefaultJsonParser('error', 'error');
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, {});
    else void parseJson(request, body.toString(), done);
  });

  server.setErrorHandler((error, _request, reply) => answerError(error, reply, context));
  server.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const methods = methodsOf(routes, path);
    if (methods.length === 0) {
      const message = `there is no ${request.method} ${path}; /openapi.json lists what there is`;
      return reply.code(404).send({ error: { code: 'not-found', message } });
    }
    const message = `${path} takes ${methods.join(' and ')}, not ${request.method}; /openapi.json lists what there is`;
    return reply
      .code(405)
      .header('allow', methods.join(', '))
      .send({ error: { code: 'wrong-method', message } });
  });
  server.addHook('onRequest', async (request, reply) => {
    reply.headers(securityHeaders);
    if (!isOurHost(request.headers.host, host))
      throw new ApiError(421, 'wrong-host', `this server listens on ${host}; open it by that name`);
  });

  server.get('/healthz', async () => ({ is: 'ok' }));
  server.get('/readyz', async (_request, reply) => {
    try {
      await context.database.query('select 1');
      return { is: 'ready' };
    } catch (error) {
      return reply.code(503).send({ error: { code: 'not-ready', message: error instanceof Error ? error.message : String(error) } });
    }
  });
  server.get('/metrics', async (_request, reply) => reply.type('text/plain; version=0.0.4; charset=utf-8').send(await options.metrics()));
  const description = openApiOf(routes, version);
  server.get('/openapi.json', async () => description);

  const callerOf = (request: FastifyRequest): Caller => identify(request, access, context.clock.nowMs());
  for (const route of routes) {
    server.route({
      method: route.method,
      url: route.path.replace(/\{(\w+)\}/g, ':$1'),
      handler: async (request, reply) => {
        const caller = callerOf(request);
        if (route.method === 'POST') guardOrigin(request);
        throwRefusal(refuse(caller, route.need, undefined));
        for (const part of [request.params, request.query, request.body]) refuseZeroBytes(part);
        const gone = new AbortController();
        reply.raw.once('close', () => gone.abort());
        return reply.header('cache-control', 'no-store').send(
          await route.run({
            caller,
            params: request.params as Record<string, string>,
            query: route.query?.parse(request.query),
            body: route.body?.parse(request.body ?? {}) ?? request.body,
            signal: gone.signal,
            allow: (need: Need, domain: string) => throwRefusal(refuse(caller, need, domain)),
          }),
        );
      },
    });
  }

  server.get('/api/v1/me', async (request) => callerOf(request));
  server.get('/api/v1/events', async (request, reply) => {
    const caller = callerOf(request);
    throwRefusal(refuse(caller, 'viewer', undefined));
    reply.hijack();
    events.serve(reply.raw, caller);
  });
  server.post('/api/v1/login', async (request, reply) => {
    guardOrigin(request);
    const caller = access.byToken(
      z
        .object({ token: z.string().max(512) })
        .parse(request.body)
        .token.trim(),
    );
    if (caller === null)
      throw new ApiError(401, 'unknown-token', 'nobody has this token; the local one is in the file `token` of the data directory');
    openSession(reply, access, caller, context.clock.nowMs());
    return caller;
  });
  server.post('/api/v1/logout', async (request, reply) => {
    guardOrigin(request);
    return reply.header('set-cookie', `${sessionCookie}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0`).send({ is: 'done' });
  });
  server.get('/login', async (request, reply) => {
    const { code } = z.object({ code: z.string().max(1000).default('') }).parse(request.query);
    const caller = access.takeLink(code, context.clock.nowMs());
    if (caller !== null) openSession(reply, access, caller, context.clock.nowMs());
    // A used link still leads to the page, which asks for a token where there is no session, and says why.
    return reply.redirect(caller === null ? '/?link=used' : '/', 303);
  });
  servePage(server, page);

  await events.open();
  try {
    await server.listen({ host, port: options.port });
  } catch (error) {
    await events.close();
    if (error instanceof Error && 'code' in error && (error.code === 'EADDRINUSE' || error.code === 'EACCES')) {
      throw new Failure(
        'port',
        `port ${options.port} on ${host} is ${error.code === 'EADDRINUSE' ? 'in use' : 'not allowed'}: stop what listens there, or choose others with --port-base.`,
        'never',
        error,
      );
    }
    throw error;
  }
  const { port } = server.server.address() as AddressInfo;
  const shownHost = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  const url = `http://${shownHost}:${port}`;
  return {
    port,
    url,
    loginUrl: `${url}/login?code=${access.makeLink(access.local, context.clock.nowMs())}`,
    close: async () => {
      await events.close();
      await server.close();
      await page.catch(() => undefined);
    },
  };
}

function servePage(server: FastifyInstance, page: ReturnType<typeof buildPage>): void {
  server.get('/*', async (request, reply) => {
    const path = request.url.split('?')[0] ?? '/';
    const { files, html } = await page;
    const file = files.get(path);
    if (file !== undefined) {
      const isGzip = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '');
      return reply
        .header('content-type', file.type)
        .header('cache-control', 'public, max-age=31536000, immutable')
        .header('vary', 'accept-encoding')
        .headers(isGzip ? { 'content-encoding': 'gzip' } : {})
        .send(isGzip ? file.gzip : file.body);
    }
    if (!pagePaths.test(path)) return reply.callNotFound();
    return reply.header('content-type', 'text/html; charset=utf-8').header('cache-control', 'no-cache').send(html);
  });
}

function identify(request: FastifyRequest, access: Access, nowMs: number): Caller {
  const bearer = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (bearer !== undefined) {
    const caller = access.byToken(bearer);
    if (caller === null)
      throw new ApiError(401, 'unknown-token', 'nobody has this token; the local one is in the file `token` of the data directory');
    return caller;
  }
  const cookie = cookieOf(request);
  const caller = cookie === undefined ? null : access.bySession(cookie, nowMs);
  if (caller === null)
    throw new ApiError(
      401,
      'no-token',
      'send `Authorization: Bearer TOKEN` (the file `token` of the data directory), or open the link that `homeostat start` prints',
    );
  return caller;
}

function cookieOf(request: FastifyRequest): string | undefined {
  return (request.headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .find((pair) => pair.startsWith(`${sessionCookie}=`))
    ?.slice(sessionCookie.length + 1);
}

function openSession(reply: FastifyReply, access: Access, caller: Caller, nowMs: number): void {
  const { cookie, maxAgeS } = access.openSession(caller, nowMs);
  void reply.header('set-cookie', `${sessionCookie}=${cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${maxAgeS}`);
}

/** A page elsewhere must not decide with this browser's cookie. */
function guardOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  if (origin !== undefined && origin.replace(/^https?:\/\//, '') !== host)
    throw new ApiError(403, 'not-allowed', 'a decision must come from this page itself', 'same-origin');
}

/** On loopback only loopback names are ours: a foreign name that resolves here is a rebinding attack. */
function isOurHost(header: string | undefined, host: string): boolean {
  if (!/^(127\.|localhost$|::1$)/.test(host)) return true;
  return /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?$/.test(header ?? '');
}

/** What the routes answer at this path. */
function methodsOf(routes: readonly Route[], path: string): readonly string[] {
  const methods = routes
    .filter((route) => new RegExp(`^${route.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(path))
    .map(({ method }) => method);
  return [...new Set(methods)];
}

/** The store takes no zero byte in a text, and nobody means one in an id, a filter or a reason. Values of rows are not looked at. */
function refuseZeroBytes(part: unknown): void {
  if (typeof part !== 'object' || part === null) return;
  for (const [name, value] of Object.entries(part))
    if (typeof value === 'string' && value.includes('\0'))
      throw new ApiError(400, 'bad-request', `${name}: a text without zero bytes, please`);
}

function throwRefusal(refusal: ReturnType<typeof refuse>): void {
  if (refusal !== null) throw new ApiError(403, 'not-allowed', refusal.says, refusal.rule);
}

function answerError(error: unknown, reply: FastifyReply, context: RuntimeContext): FastifyReply {
  const say = (status: number, code: string, message: string, rule?: string): FastifyReply =>
    reply.code(status).send({ error: { code, message, ...(rule === undefined ? {} : { rule }) } });
  if (error instanceof ApiError) return say(error.status, error.code, error.message, error.rule);
  if (error instanceof z.ZodError) {
    return say(
      400,
      'bad-request',
      error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message.replace(/^Invalid input: /, '')}`).join('; '),
    );
  }
  if (error instanceof Failure) return say(error.retry === 'later' ? 503 : 500, error.code, error.message);
  if (error instanceof InvariantError) {
    context.log('error', error.message, error.facts);
    return say(500, 'invariant', `${error.message}; nothing was changed: this is a bug, please report it`);
  }
  const status = error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500;
  if (status < 500 && error instanceof Error) return say(status, 'bad-request', error.message);
  context.log('error', 'a request failed', { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  return say(500, 'internal', 'the request failed inside; the log says why');
}
