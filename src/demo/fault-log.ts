import { appendFileSync, existsSync, readFileSync } from 'node:fs';

/** What the injector can do wrong. */
export type FaultKind =
  | 'dropped-change'
  | 'late-change'
  | 'dual-write'
  | 'lost-update'
  | 'stale-read'
  | 'read-your-writes'
  | 'non-monotonic-read'
  | 'version-fork'
  | 'duplicate-consume'
  | 'saga-uncompensated'
  | 'write-contention'
  | 'cross-store-write'
  | 'partial-write'
  | 'retry-without-idempotency'
  | 'lost-update-risk'
  | 'replica-read-after-write'
  | 'notification-before-object'
  | 'out-of-order-consume'
  | 'orphan-message'
  | 'isolation'
  | 'outbox-lag';

/** What leaves rows different between regions until somebody repairs them. */
export const divergingKinds: readonly FaultKind[] = ['dropped-change', 'version-fork'];

/** Kinds of which the spans can only show that the code permits them, or that they look like it. */
export const unprovableKinds: readonly FaultKind[] = [
  'cross-store-write',
  'partial-write',
  'retry-without-idempotency',
  'lost-update-risk',
  'replica-read-after-write',
  'notification-before-object',
  'orphan-message',
];

/** One fault as it was done, written apart from the service, which never sees this file. */
export interface Fault {
  readonly id: string;
  /** Start of the run that injected it, ISO 8601. */
  readonly run: string;
  readonly kind: FaultKind;
  readonly collection: string;
  readonly keys: readonly string[];
  /** Replicas that went without, where some did. */
  readonly regions: readonly string[];
  /** Traces in which it happened, where the shop told. */
  readonly traces: readonly string[];
  readonly at: string;
  readonly what: string;
  /** Columns of the rows as they have to be everywhere in the end, by key. */
  readonly rows: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface FaultLog {
  /** Oldest first, earlier runs on the same data included. */
  readonly faults: readonly Fault[];
  append(fault: Fault): void;
}

export function openFaultLog(path: string): FaultLog {
  const faults: Fault[] = [];
  if (existsSync(path))
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      if (line === '') continue;
      try {
        faults.push(JSON.parse(line) as Fault);
      } catch {
        // A run that was killed while it wrote: the line is not whole, so the fault was not announced either.
      }
    }
  return {
    faults,
    append(fault) {
      faults.push(fault);
      appendFileSync(path, `${JSON.stringify(fault)}\n`);
    },
  };
}
