/** Calls to the API of this page's own origin, with the session cookie. */
export class CallError extends Error {
  override readonly name = 'CallError';
  readonly status: number;
  readonly rule: string | undefined;

  constructor(status: number, message: string, rule: string | undefined) {
    super(message);
    this.status = status;
    this.rule = rule;
  }
}

export interface Listing<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

export interface Me {
  readonly name: string;
  readonly role: 'viewer' | 'approver' | 'operator' | 'admin' | 'agent';
  readonly domains?: readonly string[];
}

export async function read<T>(path: string, signal?: AbortSignal): Promise<T> {
  return call<T>('GET', path, undefined, signal);
}

export async function send<T>(path: string, body: unknown): Promise<T> {
  return call<T>('POST', path, body);
}

async function call<T>(method: 'GET' | 'POST', path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      ...(signal === undefined ? {} : { signal }),
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new CallError(0, 'The service does not answer. Is it running? This page tries again by itself.', undefined);
  }
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer as T;
  const { error } = (answer ?? {}) as { readonly error?: { readonly message?: string; readonly rule?: string } };
  throw new CallError(response.status, error?.message ?? `The service answered ${response.status}.`, error?.rule);
}

export function mayApprove(me: Me, domain: string): boolean {
  return me.role !== 'viewer' && me.role !== 'agent' && (me.domains === undefined || me.domains.includes(domain));
}

export function mayOperate(me: Me, domain: string): boolean {
  return (me.role === 'operator' || me.role === 'admin') && (me.domains === undefined || me.domains.includes(domain));
}
