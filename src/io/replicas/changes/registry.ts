import type { Engine } from '../../../domain/collection.ts';
import type { ChangeFeed } from './changes.ts';
import { mysqlFeed } from './mysql/binlog-feed.ts';
import { postgresFeed } from './postgres/postgres-feed.ts';
import { redisFeed } from './redis/keyspace-feed.ts';

/** How engines tell their writes. A new one is one entry here and one folder beside it. */
export const changeFeeds: readonly ChangeFeed[] = [postgresFeed, mysqlFeed, redisFeed];

/** undefined: stores of this engine tell nothing, scans find what changed. */
export function changeFeedOf(engine: Engine): ChangeFeed | undefined {
  return changeFeeds.find((feed) => feed.engine === engine);
}
