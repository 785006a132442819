import type { z } from 'zod';
import type { Caller, Need } from './access.ts';

/** What a route answers when it does not have the thing asked for. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly rule: string | undefined;

  constructor(status: number, code: string, message: string, rule?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.rule = rule;
  }
}

export interface Call<Query, Body> {
  readonly caller: Caller;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: Body;
  readonly signal: AbortSignal;
  /** Throws 403 with the rule unless the caller may, for this domain. */
  allow(need: Need, domain: string): void;
}

/** One operation of the API, complete: the server registers it and `/openapi.json` prints it. */
export interface Route {
  readonly method: 'GET' | 'POST';
  /** OpenAPI form: `/api/v1/proposals/{id}`. */
  readonly path: string;
  readonly says: string;
  /** The least role; domains are checked by the route, which knows them. */
  readonly need: Need;
  readonly query: z.ZodType | undefined;
  readonly body: z.ZodType | undefined;
  readonly answer: z.ZodType | undefined;
  readonly run: (call: Call<unknown, unknown>) => Promise<unknown>;
}

export function get<Query extends z.ZodType>(
  path: string,
  says: string,
  shapes: { readonly query?: Query; readonly answer?: z.ZodType; readonly need?: Need },
  run: (call: Call<z.infer<Query>, undefined>) => Promise<unknown>,
): Route {
  return {
    method: 'GET',
    path,
    says,
    need: shapes.need ?? 'viewer',
    query: shapes.query,
    body: undefined,
    answer: shapes.answer,
    run: (call) => run(call as Call<z.infer<Query>, undefined>),
  };
}

export function post<Body extends z.ZodType>(
  path: string,
  says: string,
  shapes: { readonly body?: Body; readonly answer?: z.ZodType; readonly need: Need },
  run: (call: Call<undefined, z.infer<Body>>) => Promise<unknown>,
): Route {
  return {
    method: 'POST',
    path,
    says,
    need: shapes.need,
    query: undefined,
    body: shapes.body,
    answer: shapes.answer,
    run: (call) => run(call as Call<undefined, z.infer<Body>>),
  };
}

export function notFound(what: string, id: string): ApiError {
  return new ApiError(404, 'not-found', `there is no ${what} ${id}`);
}
