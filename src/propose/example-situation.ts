import type { Collection, ColumnClass, Replica, ReplicaRole } from '../domain/collection.ts';
import type { Consistency } from '../domain/consistency-domain.ts';
import type { CanonicalType, Row } from '../domain/row.ts';
import type { WriteEvidence } from '../domain/write-evidence.ts';
import type { Situation } from './strategy.ts';

/** A small situation for the `example` of a strategy: one key, `id` = "1", on named replicas. */
export function exampleSituation(given: {
  readonly rows: Readonly<Record<string, Row | null>>;
  readonly roles?: Readonly<Record<string, ReplicaRole>>;
  readonly types?: Readonly<Record<string, CanonicalType>>;
  readonly classes?: Readonly<Record<string, ColumnClass>>;
  readonly authority?: string;
  readonly consistency?: Consistency;
  readonly writes?: readonly WriteEvidence[];
  readonly strategyOptions?: Collection['strategyOptions'];
}): Situation {
  const rows = Object.values(given.rows).filter((row) => row !== null);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((column) => column !== 'id').toSorted();
  const replicas: readonly Replica[] = Object.keys(given.rows).map((id) => ({
    id,
    engine: 'postgres',
    url: '',
    region: id,
    role: given.roles?.[id] ?? 'peer',
    columnNames: {},
  }));
  return {
    collection: {
      name: 'profiles',
      domain: 'profiles',
      key: ['id'],
      columnClasses: given.classes ?? {},
      excludedColumns: [],
      invariants: [],
      ...(given.authority === undefined ? {} : { authority: given.authority }),
      ...(given.strategyOptions === undefined ? {} : { strategyOptions: given.strategyOptions }),
      replicas,
      scanEveryMs: 10_000,
    },
    domain: {
      name: 'profiles',
      consistency: given.consistency ?? 'eventual',
      stalenessMs: 30_000,
      residency: [],
      risk: 'low',
      repair: { mode: 'auto', approvals: 1, rowsPerHour: 500, undoHours: 24, approvalExpiryMinutes: 30 },
      llm: { enabled: false, rawValues: false, tokensPerDay: 0 },
    },
    shape: {
      key: ['id'],
      columns: ['id', ...columns].map((name) => ({ name, type: given.types?.[name] ?? 'text', nullable: name !== 'id' })),
    },
    divergences: [
      {
        collection: 'profiles',
        key: { id: '1' },
        is: Object.values(given.rows).includes(null) ? 'missing' : 'different',
        replicas: given.rows,
        columns: columns.filter((column) => new Set(rows.map((row) => row[column])).size > 1),
        status: 'confirmed',
        seenAt: {},
        firstSeenMs: 0,
      },
    ],
    writes: given.writes ?? [],
    // 2100: later than any clock of an example.
    nowMs: 4_102_444_800_000,
  };
}
