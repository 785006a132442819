/**
 * The replica API: what a service answers so that its state can be compared and repaired though no database of it can be reached
 * (`docs/http-replica.md`). Rows are lines of JSON, `{"row": {...}, "etag": "..."}`; a stream ends with `{"end": N}`, the number of
 * rows, because one that was cut off would look like rows that are missing.
 */
import { Failure } from '../../../base/failure.ts';
import { jsonMembers } from '../../../domain/canonical-jsonb.ts';
import type { Key } from '../../../domain/row.ts';
import { unreachable } from '../unreachable.ts';

/** A row as the service wrote it: JSON text, so that no digit of a number is lost. */
export interface RowLine {
  readonly row: string;
  readonly etag: string | null;
}

export interface RowChange {
  readonly key: Key;
  /** Of the row as it was read; null: there is none. */
  readonly etag: string | null;
  /** JSON text; null: delete. */
  readonly row: string | null;
}

export interface RowsApi {
  /** JSON text of the description. */
  describe(signal: AbortSignal): Promise<string>;
  all(signal: AbortSignal): AsyncGenerator<RowLine>;
  read(keys: readonly Key[], signal: AbortSignal): AsyncGenerator<RowLine>;
  /** All or nothing. `changed`: the keys whose etag is another by now. */
  apply(
    changes: readonly RowChange[],
    signal: AbortSignal,
  ): Promise<{ readonly is: 'applied' } | { readonly is: 'changed'; readonly keys: readonly Key[] }>;
}

/** A service that sends nothing for this long is stuck. */
const silenceMs = 60_000;
/** One row; a service that streams without line ends must not fill the memory. */
const longestLineBytes = 16 * 1024 * 1024;

export function openRowsApi(url: string, who: string, count: (bytes: number) => void): RowsApi {
  const base = new URL(url);
  const login =
    base.username === ''
      ? {}
      : {
          authorization: `Basic ${Buffer.from(`${decodeURIComponent(base.username)}:${decodeURIComponent(base.password)}`).toString('base64')}`,
        };
  base.username = '';
  base.password = '';
  const root = base.href.replace(/\/$/, '');

  const ask = async (
    method: string,
    path: string,
    body: string | undefined,
    signal: AbortSignal,
    stop: AbortController,
  ): Promise<Response> => {
    signal.throwIfAborted();
    let response: Response;
    try {
      response = await fetch(`${root}${path}`, {
        method,
        headers: {
          ...login,
          accept: 'application/x-ndjson, application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body }),
        redirect: 'error',
        signal: AbortSignal.any([signal, stop.signal]),
      });
    } catch (error) {
      throw failureOf(who, error, signal);
    }
    if (response.ok || response.status === 409) return response;
    await response.body?.cancel();
    throw refusalOf(who, response.status, `${method} ${path}`);
  };

  const text = async (
    method: string,
    path: string,
    body: string | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly status: number; readonly text: string }> => {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(new Error('no answer in time')), silenceMs);
    try {
      const response = await ask(method, path, body, signal, stop);
      const answer = await response.text().catch((error: unknown) => {
        throw failureOf(who, error, signal);
      });
      count(Buffer.byteLength(answer));
      return { status: response.status, text: answer };
    } finally {
      clearTimeout(timer);
    }
  };

  async function* lines(method: string, path: string, body: string | undefined, signal: AbortSignal): AsyncGenerator<RowLine> {
    const stop = new AbortController();
    let timer = setTimeout(() => stop.abort(new Error('no answer in time')), silenceMs);
    try {
      const response = await ask(method, path, body, signal, stop);
      let rest = '';
      let rows = 0;
      let ended: number | undefined;
      const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
      const chunks = response.body === null ? [] : response.body;
      try {
        for await (const chunk of chunks) {
          clearTimeout(timer);
          timer = setTimeout(() => stop.abort(new Error('no answer in time')), silenceMs);
          count(chunk.byteLength);
          rest += decoder.decode(chunk, { stream: true });
          const parts = rest.split('\n');
          rest = parts.pop() ?? '';
          if (rest.length > longestLineBytes) throw malformed(who, 'sends a line of more than 16 MiB');
          for (const line of parts) {
            if (line.trim() === '') continue;
            const parsed = parseLine(who, line, ended);
            if (typeof parsed === 'number') ended = parsed;
            else {
              rows += 1;
              yield parsed;
            }
          }
        }
      } catch (error) {
        throw error instanceof Failure ? error : failureOf(who, error, signal);
      }
      if (rest.trim() !== '') {
        const last = parseLine(who, rest, ended);
        if (typeof last !== 'number') throw malformed(who, 'ended without its line {"end": N}; rows may be lacking', 'later');
        ended = last;
      }
      if (ended === undefined) throw malformed(who, 'ended without its line {"end": N}; rows may be lacking', 'later');
      if (ended !== rows) throw malformed(who, `says {"end": ${ended}} after ${rows} rows; rows are lacking`, 'later');
    } finally {
      clearTimeout(timer);
      stop.abort();
    }
  }

  return {
    describe: async (signal) => (await text('GET', '', undefined, signal)).text,
    all: (signal) => lines('GET', '/rows', undefined, signal),
    read: (keys, signal) => lines('POST', '/rows/read', JSON.stringify({ keys }), signal),
    apply: async (changes, signal) => {
      const effects = changes.map(
        ({ key, etag, row }) => `{"key":${JSON.stringify(key)},"ifMatch":${JSON.stringify(etag)},"row":${row ?? 'null'}}`,
      );
      const answer = await text('POST', '/rows/apply', `{"effects":[${effects.join(',')}]}`, signal);
      if (answer.status !== 409) return { is: 'applied' };
      const parsed = parseJson(answer.text) as { readonly keys?: readonly Key[] } | undefined;
      return { is: 'changed', keys: Array.isArray(parsed?.keys) ? parsed.keys : changes.map(({ key }) => key) };
    },
  };
}

function parseLine(who: string, line: string, ended: number | undefined): RowLine | number {
  let members: ReadonlyMap<string, string> | undefined;
  try {
    members = jsonMembers(line);
  } catch {
    members = undefined;
  }
  if (members === undefined) throw malformed(who, 'sends a line that is not a JSON object');
  if (ended !== undefined) throw malformed(who, 'sends lines after {"end": N}');
  const end = members.get('end');
  if (end !== undefined) {
    if (!/^\d{1,15}$/.test(end)) throw malformed(who, 'ends with a line whose "end" is not a number of rows');
    return Number(end);
  }
  if (members.has('error')) throw malformed(who, 'reports an error in the middle of its rows', 'later');
  const row = members.get('row');
  if (row?.startsWith('{') !== true) throw malformed(who, 'sends a line without a "row" object');
  const etag = members.get('etag');
  return { row, etag: etag?.startsWith('"') === true ? (JSON.parse(etag) as string) : null };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function malformed(who: string, what: string, retry: 'later' | 'never' = 'never'): Failure {
  return new Failure('malformed-answer', `${who} ${what}: mend the service (the replica API is in docs/http-replica.md).`, retry);
}

function refusalOf(who: string, status: number, what: string): Failure {
  if (status === 401 || status === 403)
    return new Failure('wrong-password', `${who} refused the user name or password (${status}): correct its url.`, 'never');
  if (status === 404)
    return new Failure('no-table', `${who} has no ${what}: correct its url, or give the service the replica API.`, 'never');
  if (status === 405 || status === 501) return new Failure('read-only', `${who} does not take ${what}: repair another replica.`, 'never');
  if (status === 429 || status >= 500)
    return new Failure('replica-busy', `${who} is not ready (it answered ${status}): try again.`, 'later');
  return new Failure('replica-failed', `${who} answered ${status} to ${what}: mend the service or the configuration.`, 'never');
}

function failureOf(who: string, error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  const late = error instanceof Error && error.message === 'no answer in time';
  return unreachable(who, late ? 'no answer in time' : code, error) ?? unreachable(who, 'connection lost', error);
}
