import type { Collection } from '../domain/collection.ts';
import type { Measurement } from '../domain/measurement.ts';

export interface MeasuredPlace {
  readonly collection: string;
  readonly region: string;
}

interface Holder extends MeasuredPlace {
  readonly replica: string;
  readonly host: string;
  readonly address: string;
  readonly database: string;
  readonly table: string;
}

const ports: Readonly<Record<string, string>> = {
  'postgres:': '5432',
  'postgresql:': '5432',
  'mysql:': '3306',
  'mariadb:': '3306',
  'redis:': '6379',
};
const none: readonly MeasuredPlace[] = [];

/**
 * Which collections a measurement speaks for: those with a replica on the server that it is about. Lag is the lagging server's. Locks are
 * counted for a whole database: a collection is given them where it is the only one there, or where the metric names its table.
 */
export function measuredPlaces(collections: readonly Collection[]): (one: Measurement) => readonly MeasuredPlace[] {
  const holders: Holder[] = collections.flatMap((collection) =>
    collection.replicas.flatMap((replica) => {
      const url = URL.parse(replica.url);
      if (url === null) return [];
      return {
        collection: collection.name,
        region: replica.region,
        replica: replica.id,
        host: url.hostname.toLowerCase(),
        address: `${url.hostname}:${url.port === '' ? (ports[url.protocol] ?? '') : url.port}`.toLowerCase(),
        database: url.pathname.slice(1),
        table: (replica.table ?? '').split('.').at(-1) ?? '',
      };
    }),
  );
  const onServer = (name: string): readonly Holder[] => {
    const wanted = name.toLowerCase();
    const exact = holders.filter(({ address, host }) => address === wanted || host === wanted);
    if (exact.length > 0) return exact;
    // An exporter listens on a port of its own: its host tells, where one server of ours is there.
    const sameHost = holders.filter(({ host }) => host === wanted.replace(/:\d+$/, ''));
    return new Set(sameHost.map(({ address }) => address)).size === 1 ? sameHost : [];
  };
  const placesOf = (found: readonly Holder[]): readonly MeasuredPlace[] => found.map(({ collection, region }) => ({ collection, region }));

  return (one) => {
    if (one.kind === 'consumer-lag') return none;
    const isLag = one.kind.startsWith('replication-lag');
    if (isLag) {
      if (one.replica !== '') {
        const named = holders.filter(({ replica }) => replica === one.replica);
        if (named.length > 0) return placesOf(named);
      }
      return placesOf(onServer(one.subject === '' ? one.instance : one.subject));
    }
    const there = onServer(one.instance);
    // `schema table kind`: a table that is not ours says nothing of ours.
    if (one.metric.includes('.table.')) {
      const table = one.subject.toLowerCase().split(' ')[1] ?? '';
      return placesOf(there.filter((holder) => holder.table.toLowerCase() === table));
    }
    const ofDatabase = one.subject === '' ? there : there.filter(({ database }) => database.toLowerCase() === one.subject.toLowerCase());
    return new Set(ofDatabase.map(({ collection }) => collection)).size === 1 ? placesOf(ofDatabase) : none;
  };
}
