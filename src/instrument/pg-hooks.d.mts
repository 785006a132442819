import type { Span } from '@opentelemetry/api';

/** A table whose rows are objects. Names in lower case. */
export interface InstrumentedTable {
  /** `consistency.object.type`: what the row is, the same word in every service that holds a copy. */
  readonly type: string;
  /** The column that names the object. */
  readonly key: string;
  /** The column that counts or names its versions, if it has one. */
  readonly version?: string;
  /** `consistency.domain`. */
  readonly domain?: string;
}

/**
 * Hooks for `new PgInstrumentation({...})`, by table name (with or without schema):
 * `new PgInstrumentation(pgHooks({ orders: { type: 'order', key: 'id', version: 'version' } }))`.
 */
export function pgHooks(objects: Readonly<Record<string, InstrumentedTable>>): {
  readonly requestHook: (span: Span, info: { readonly query: { readonly text: string; readonly values?: unknown[] } }) => void;
  readonly responseHook: (span: Span, info: { readonly data: { readonly rows?: unknown[]; readonly rowCount?: number | null } }) => void;
};
