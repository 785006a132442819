/** What a column means to repair. `plain` has no meaning beyond its value. */
export type ColumnClass = 'plain' | 'money' | 'pii' | 'clock' | 'counter' | 'set' | 'register-max' | 'register-min' | 'tombstone';
export type Engine = 'postgres' | 'mysql' | 'redis' | 'http';
export type ReplicaRole = 'leader' | 'follower' | 'peer' | 'cache';

/** A store that holds a copy of a collection. */
export interface Replica {
  /** Unique in its collection: `eu`, `us`, `cache`. */
  readonly id: string;
  readonly engine: Engine;
  /** Connection URL. Holds credentials: never logged, never in an API answer. */
  readonly url: string;
  readonly region: string;
  /** `agent`: this service does not connect to the store; an agent beside it does (`homeostat agent`). */
  readonly via?: 'agent';
  readonly role: ReplicaRole;
  /** SQL engines: `schema.table` or `table`. */
  readonly table?: string;
  /** Redis: key template such as `account:{id}`. */
  readonly keyTemplate?: string;
  /** Redis: how a value is stored. */
  readonly value?: 'json' | 'hash' | 'string' | 'set';
  /** Collection column -> this replica's column or field, where the names differ. */
  readonly columnNames: Readonly<Record<string, string>>;
}

/** What a comparison waits for before each of its chunks, and how long. */
export interface Throttle {
  /** Replication that is further behind than this, milliseconds. */
  readonly maxLagMs: number;
  /** More statements of others than this at a time on one server. */
  readonly maxStatements: number;
  /** After this long it goes on all the same, with a chunk half as large. 0: it never waits. */
  readonly maxPauseMs: number;
}

/** One logical data set with copies: a table, a key space. */
export interface Collection {
  readonly name: string;
  readonly domain: string;
  /** Key columns in order; never empty. */
  readonly key: readonly string[];
  /** Classes of the columns that are declared; others are `plain`. */
  readonly columnClasses: Readonly<Record<string, ColumnClass>>;
  /** Columns that are not compared. */
  readonly excludedColumns: readonly string[];
  /** Sentences such as `sum(balance) is unchanged`. */
  readonly invariants: readonly string[];
  /** The replica that is right where replicas disagree, if one is. */
  readonly authority?: string;
  /** The repair strategy to prefer, by id, if one is declared. */
  readonly strategy?: string;
  /** Options of repair strategies, by strategy id; each strategy's own schema checks them. */
  readonly strategyOptions?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly replicas: readonly Replica[];
  /** How writes to its stores are learned from the stores themselves; absent: not at all. */
  readonly changes?: {
    /** Beyond this a store that keeps its log for us is let go of, and scans take over. */
    readonly maxRetainedBytes: number;
    /** Keep what a store keeps for us across restarts even where the store sets it no limit. */
    readonly isDurable: boolean;
  };
  /** When a comparison gives way to what its stores have to do; absent: the same bounds that a configuration without any has. */
  readonly throttle?: Throttle;
  /** Time between scheduled comparisons. */
  readonly scanEveryMs: number;
}

/** A collection without replicas here is only looked at in traces: clients ask stores that nothing here connects to. */
export const isCompared = ({ replicas }: Collection): boolean => replicas.length > 0;
