import { setTimeout as delay } from 'node:timers/promises';
/** What the demo reads of the service's HTTP API: only what a stranger could read of its documentation. */
export interface FoundDivergence {
  readonly id: string;
  readonly collection: string;
  readonly key: Readonly<Record<string, string>>;
  readonly status: 'suspected' | 'confirmed' | 'resolved';
  readonly resolvedAs: string | null;
  readonly confirmedAtMs: number | null;
  readonly firstSeenMs: number;
}

export interface FoundAnomaly {
  readonly fingerprint: string;
  readonly kind: string;
  readonly grade: 'proven' | 'structural' | 'risk';
  readonly title: string;
  readonly explanation: string;
  readonly collection?: string | null;
  readonly objectKey?: string | null;
  readonly service?: string | null;
  readonly count: number;
  readonly lastSeenUs: number;
  readonly spans: readonly { readonly traceId: string; readonly spanId: string }[];
}

export interface FoundProposal {
  readonly id: string;
  readonly digest: string;
  readonly state: string;
  readonly collection: string;
  readonly rows: number;
}

export interface FoundRepair {
  readonly id: string;
  readonly proposalId: string;
  readonly collection: string;
  readonly state: string;
  readonly rows: number;
  readonly approvedBy: readonly string[];
  readonly createdAtMs: number;
}

export interface FoundAudit {
  readonly action: string;
  readonly subject: string;
}

export interface HomeostatApi {
  divergences(): Promise<readonly FoundDivergence[]>;
  anomalies(): Promise<readonly FoundAnomaly[]>;
  proposals(state: string): Promise<readonly FoundProposal[]>;
  repairs(): Promise<readonly FoundRepair[]>;
  audit(): Promise<readonly FoundAudit[]>;
  /** True where this approval was taken; false where the proposal is no longer what it was. */
  approve(proposal: FoundProposal, token: string): Promise<boolean>;
}

const pageSize = 500;
const mostPages = 200;
const answerWithinMs = 15_000;
/** How long a question waits for a service that was killed and is started again: its PostgreSQL recovers first. */
const backWithinMs = 180_000;
const askAgainMs = 250;

export function openHomeostatApi(base: () => string, token: string): HomeostatApi {
  const request = async (method: string, path: string, bearer: string, body?: unknown): Promise<Response> =>
    fetch(`${base()}${path}`, {
      method,
      headers: { authorization: `Bearer ${bearer}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(answerWithinMs),
    });
  /** A question, asked again while the service is away or not ready. */
  const ask = async (path: string): Promise<Response> => {
    const deadline = Date.now() + backWithinMs;
    for (;;) {
      try {
        const response = await request('GET', path, token);
        if (response.status < 500 || Date.now() > deadline) return response;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
      await delay(askAgainMs);
    }
  };
  const list = async <T>(noun: string, filter = ''): Promise<readonly T[]> => {
    const items: T[] = [];
    let cursor = '';
    for (let page = 0; page < mostPages; page += 1) {
      const response = await ask(`/api/v1/${noun}?limit=${pageSize}${filter}${cursor}`);
      if (!response.ok) throw new Error(`GET ${noun} answered ${response.status}: ${(await response.text()).slice(0, 300)}`);
      const answer = (await response.json()) as { items: T[]; next?: string | null };
      items.push(...answer.items);
      if (answer.next === undefined || answer.next === null) return items;
      cursor = `&cursor=${encodeURIComponent(answer.next)}`;
    }
    return items;
  };
  return {
    divergences: () => list('divergences'),
    anomalies: () => list('anomalies'),
    proposals: (state) => list('proposals', `&state=${state}`),
    repairs: () => list('repairs'),
    audit: () => list('audit'),
    async approve(proposal, bearer) {
      const response = await request('POST', `/api/v1/proposals/${proposal.id}/approve`, bearer, {
        digest: proposal.digest,
        comment: 'approved by the demo',
      });
      if (response.ok) return true;
      // 409: it changed or is done; 403: this person has approved already. Both are answers, not failures.
      if (response.status === 409 || response.status === 403) return false;
      throw new Error(`approving ${proposal.id} answered ${response.status}: ${(await response.text()).slice(0, 300)}`);
    },
  };
}
