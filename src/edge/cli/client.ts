/** Talks to the running service: its address from DATA/runtime.json, its token from DATA/token, or what the options say. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../../base/failure.ts';
import type { CliContext } from './program.ts';

export interface ServiceOptions {
  readonly data: string;
  readonly url?: string;
  readonly token?: string;
  readonly json?: boolean;
}

/** A decision on 10,000 rows takes a second or two; a service that is silent for longer is stuck. */
const answerTimeoutMs = 60_000;

export function withServiceOptions(command: Command): Command {
  return command
    .option('--data <dir>', 'data directory of the service', '.homeostat')
    .option('--url <url>', 'address of the service (default: the one that runs on the data directory)')
    .option('--token <token>', 'bearer token (default: HOMEOSTAT_TOKEN, or the token file of the data directory)')
    .option('--json', 'print JSON');
}

export interface ServiceClient {
  readonly url: string;
  get(path: string, query?: Readonly<Record<string, string | number | undefined>>): Promise<unknown>;
  post(path: string, body: unknown, signal?: AbortSignal): Promise<unknown>;
  /** Every item of a list, page by page, at most `limit`. */
  items(
    path: string,
    query: Readonly<Record<string, string | undefined>>,
    limit: number,
  ): Promise<readonly Readonly<Record<string, unknown>>[]>;
}

export function openClient(options: ServiceOptions, context: CliContext): ServiceClient {
  const dataDir = resolve(context.cwd, options.data);
  const url = (options.url ?? runningUrl(dataDir)).replace(/\/$/, '');
  const token =
    options.token ??
    context.env['HOMEOSTAT_TOKEN'] ??
    read(join(dataDir, 'token'), `no token in ${options.data}: name the data directory with --data, or give --token.`);
  const call = async (method: string, path: string, body: unknown, own?: AbortSignal): Promise<unknown> => {
    let response: Response;
    try {
      response = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.any([own ?? context.signal, AbortSignal.timeout(answerTimeoutMs)]),
      });
    } catch (error) {
      throw new Failure(
        'service-down',
        `the service at ${url} does not answer: start it with homeostat start, or name another with --url.`,
        'later',
        error,
      );
    }
    const answer: unknown = await response.json().catch(() => null);
    if (!response.ok) {
      const { error } = (answer ?? {}) as { readonly error?: { readonly code: string; readonly message: string; readonly rule?: string } };
      const rule = error?.rule === undefined ? '' : ` (rule: ${error.rule})`;
      throw new Failure(
        error?.code ?? 'service',
        `${error?.message ?? `the service answered ${response.status}`}${rule}`,
        response.status >= 500 ? 'later' : 'never',
      );
    }
    return answer;
  };
  const get: ServiceClient['get'] = (path, query = {}) => {
    const search = new URLSearchParams(
      Object.entries(query).flatMap(([key, value]): [string, string][] => (value === undefined ? [] : [[key, String(value)]])),
    );
    return call('GET', `${path}${search.size === 0 ? '' : `?${search}`}`, undefined);
  };
  return {
    url,
    get,
    post: (path, body, signal) => call('POST', path, body, signal),
    items: async (path, query, limit) => {
      const items: Readonly<Record<string, unknown>>[] = [];
      for (let cursor: string | undefined; items.length < limit; ) {
        const page = (await get(path, { ...query, limit: Math.min(1000, limit - items.length), cursor })) as {
          readonly items: typeof items;
          readonly nextCursor: string | null;
        };
        items.push(...page.items);
        if (page.nextCursor === null) break;
        cursor = page.nextCursor;
      }
      return items;
    },
  };
}

function runningUrl(dataDir: string): string {
  const text = read(
    join(dataDir, 'runtime.json'),
    `no service has run on ${dataDir}: start one with homeostat start, or name it with --url.`,
  );
  const { api } = JSON.parse(text) as { readonly api?: string | number };
  if (api === undefined)
    throw new Failure('service-down', `${dataDir}/runtime.json names no API: start the service with a role that has one.`, 'never');
  return typeof api === 'number' ? `http://127.0.0.1:${api}` : api;
}

function read(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new Failure('no-service', otherwise, 'never', error);
  }
}
