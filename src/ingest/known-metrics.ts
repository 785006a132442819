import type { Measurement, MeasurementKind } from '../domain/measurement.ts';

/** How the points of one metric are read. */
export interface KnownMetric {
  readonly kind: MeasurementKind;
  readonly system: string;
  /** Unit of the values where the metric does not say one. */
  readonly unit: string;
  /** Attributes of point or resource that say what it is about, joined by a space where several are there. */
  readonly subject: readonly string[];
  /** Points count only where these attributes have these values; `kind` may depend on them. */
  readonly only?: Readonly<Record<string, string>>;
  /** Counts from the start of the server, although the metric may be sent as a gauge. */
  readonly isCounter?: boolean;
}

type Row = readonly [name: string, kind: MeasurementKind, system: string, unit: string, subject: string, only?: string];

/**
 * Metrics that bear on consistency, by the names that the Collector's receivers (postgresql, mysql, kafkametrics, rabbitmq, mongodb,
 * oracledb), the JMX client metrics and the usual Prometheus exporters give them. A name may stand twice, for different points.
 */
const rows: readonly Row[] = [
  ['postgresql.wal.lag', 'replication-lag-ms', 'postgresql', 's', 'replication_client', 'operation=replay'],
  ['postgresql.wal.delay', 'replication-lag-ms', 'postgresql', 's', 'replication_client', 'operation=replay'],
  ['postgresql.replication.data_delay', 'replication-lag-bytes', 'postgresql', 'By', 'replication_client'],
  ['postgresql.deadlocks', 'deadlocks', 'postgresql', '1', 'postgresql.database.name'],
  ['pg_replication_lag', 'replication-lag-ms', 'postgresql', 's', ''],
  ['pg_replication_lag_seconds', 'replication-lag-ms', 'postgresql', 's', ''],
  ['pg_stat_replication_pg_wal_lsn_diff', 'replication-lag-bytes', 'postgresql', 'By', 'client_addr'],
  ['pg_stat_database_deadlocks', 'deadlocks', 'postgresql', '1', 'datname'],
  ['pg_stat_database_deadlocks_total', 'deadlocks', 'postgresql', '1', 'datname'],
  ['mysql.replica.time_behind_source', 'replication-lag-ms', 'mysql', 's', ''],
  ['mysql.row_locks', 'lock-waits', 'mysql', '1', '', 'kind=waits'],
  ['mysql.row_locks', 'lock-wait-ms', 'mysql', 'ms', '', 'kind=time'],
  ['mysql.locks', 'lock-waits', 'mysql', '1', '', 'kind=waited'],
  ['mysql.table.lock_wait.read.count', 'lock-waits', 'mysql', '1', 'schema table kind'],
  ['mysql.table.lock_wait.write.count', 'lock-waits', 'mysql', '1', 'schema table kind'],
  ['mysql.table.lock_wait.read.time', 'lock-wait-ms', 'mysql', 'ns', 'schema table kind'],
  ['mysql.table.lock_wait.write.time', 'lock-wait-ms', 'mysql', 'ns', 'schema table kind'],
  ['mysql_slave_status_seconds_behind_master', 'replication-lag-ms', 'mysql', 's', 'channel_name'],
  ['mysql_slave_status_seconds_behind_source', 'replication-lag-ms', 'mysql', 's', 'channel_name'],
  ['mysql_global_status_innodb_row_lock_waits', 'lock-waits', 'mysql', '1', ''],
  ['mysql_global_status_innodb_row_lock_time', 'lock-wait-ms', 'mysql', 'ms', ''],
  ['kafka.consumer_group.lag', 'consumer-lag', 'kafka', '1', 'group topic partition'],
  ['kafka.consumer.records_lag', 'consumer-lag', 'kafka', '1', 'client-id topic partition'],
  ['kafka.consumer.records_lag_max', 'consumer-lag', 'kafka', '1', 'client-id'],
  ['kafka_consumergroup_lag', 'consumer-lag', 'kafka', '1', 'consumergroup topic partition'],
  ['rabbitmq.message.current', 'consumer-lag', 'rabbitmq', '1', 'rabbitmq.queue.name', 'state=ready'],
  ['rabbitmq_queue_messages_ready', 'consumer-lag', 'rabbitmq', '1', 'queue'],
  ['redis_connected_slave_lag_seconds', 'replication-lag-ms', 'redis', 's', 'slave_ip'],
  ['mongodb.lock.acquire.wait_count', 'lock-waits', 'mongodb', '1', 'database lock_type lock_mode'],
  ['mongodb.lock.acquire.time', 'lock-wait-ms', 'mongodb', 'us', 'database lock_type lock_mode'],
  ['mongodb.lock.deadlock.count', 'deadlocks', 'mongodb', '1', 'database lock_type lock_mode'],
  ['oracledb.enqueue_deadlocks', 'deadlocks', 'oracle.db', '1', ''],
];

const counted: ReadonlySet<MeasurementKind> = new Set(['lock-waits', 'lock-wait-ms', 'deadlocks']);

const known = new Map<string, readonly KnownMetric[]>();
for (const [metric, kind, system, unit, subject, only] of rows) {
  const [field, value] = (only ?? '').split('=');
  known.set(metric, [
    ...(known.get(metric) ?? []),
    {
      kind,
      system,
      unit,
      subject: subject === '' ? [] : subject.split(' '),
      ...(field === undefined || value === undefined ? {} : { only: { [field]: value } }),
      isCounter: counted.has(kind),
    },
  ]);
}

/** How to read a metric; undefined for the many that say nothing of consistency. */
export const knownMetric = (name: string): readonly KnownMetric[] | undefined => known.get(name);
export const knownMetricNames: readonly string[] = [...known.keys()];

/** Where the server that speaks may be named, best first. */
const instanceKeys = [
  'mysql.instance.endpoint',
  'server.address',
  'service.instance.id',
  'net.host.name',
  'instance',
  'host.name',
  'kafka.cluster.alias',
];
const portKeys: Readonly<Record<string, string>> = { 'server.address': 'server.port', 'net.host.name': 'net.host.port' };

const millisecondsIn: Readonly<Record<string, number>> = { ns: 0.000_001, us: 0.001, ms: 1, s: 1000, min: 60_000 };

/** A data point as it came. */
export interface MetricPoint {
  readonly value: number;
  readonly atUs: number;
  /** 1 delta, 2 cumulative, 0 a gauge. */
  readonly temporality: number;
  readonly attribute: (key: string) => string;
  readonly resource: (key: string) => string;
}

/** What a point of a known metric says; nothing where it is no number, or not the kind of point that counts. */
export function measurementsOf(
  name: string,
  unit: string,
  readings: readonly KnownMetric[],
  point: MetricPoint,
  into: Measurement[],
): void {
  if (!Number.isFinite(point.value) || point.atUs <= 0) return;
  const say = (key: string): string => point.attribute(key) || point.resource(key);
  for (const reading of readings) {
    if (reading.only !== undefined && !Object.entries(reading.only).every(([key, value]) => point.attribute(key) === value)) continue;
    const isTime = reading.kind.endsWith('-ms');
    const factor = isTime ? (millisecondsIn[unit] ?? millisecondsIn[reading.unit] ?? 1) : 1;
    into.push({
      kind: reading.kind,
      metric: name,
      system: reading.system,
      instance: instanceOf(say),
      subject: reading.subject
        .map(say)
        .filter((part) => part !== '')
        .join(' '),
      replica: say('consistency.replica.id'),
      value: point.value * factor,
      isCumulative: reading.isCounter === true && point.temporality !== 1,
      atUs: point.atUs,
    });
  }
}

function instanceOf(say: (key: string) => string): string {
  for (const key of instanceKeys) {
    const name = say(key);
    if (name === '') continue;
    const port = say(portKeys[key] ?? '');
    return port === '' ? name : `${name}:${port}`;
  }
  return '';
}
