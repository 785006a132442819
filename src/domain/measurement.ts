/** What a store's own metrics say that bears on consistency; the unit is in the name. */
export type MeasurementKind =
  /** How far a copy is behind, in time or in bytes. */
  | 'replication-lag-ms'
  | 'replication-lag-bytes'
  /** Messages that a consumer group has still to take. */
  | 'consumer-lag'
  | 'lock-waits'
  | 'lock-wait-ms'
  | 'deadlocks';

/** One number that a store's metrics gave, taken from an OTLP data point. */
export interface Measurement {
  readonly kind: MeasurementKind;
  /** The metric's name as it came. */
  readonly metric: string;
  /** `postgresql`, `mysql`, `kafka` ... */
  readonly system: string;
  /** The server that said it, `host:port` where given; ''. */
  readonly instance: string;
  /** What it is about: the standby that lags, a database, a table, `group topic/partition`; ''. */
  readonly subject: string;
  /** `consistency.replica.id` of the point or its resource; ''. */
  readonly replica: string;
  readonly value: number;
  /** The number counts from the server's start, so only differences say anything. */
  readonly isCumulative: boolean;
  /** Microseconds since the Unix epoch. */
  readonly atUs: number;
}

/** Identity of what is measured, whatever the moment. */
export const measuredThing = (one: Measurement): string => `${one.kind}\0${one.system}\0${one.instance}\0${one.subject}\0${one.metric}`;
