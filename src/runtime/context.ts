import type { Clock } from '../base/clock.ts';
import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { Key } from '../domain/row.ts';
import type { Policies } from '../guard/cedar.ts';
import type { Llm } from '../io/llm/llm.ts';
import type { Database } from '../io/store/database.ts';
import type { Target } from '../io/targets/target.ts';
import type { Log } from '../io/telemetry/log.ts';
import type { Metrics } from '../io/telemetry/metrics.ts';
import type { PromptTemplate } from '../propose/prompt.ts';
import type { AgentMailbox } from './agent-mailbox.ts';
import type { RecentWrites } from './recent-writes.ts';
import type { ReplicaPool } from './replica-pool.ts';

/** What every loop and every request has: the store, the configuration's nouns, time, and where to say what happened. */
export interface RuntimeContext {
  readonly database: Database;
  readonly domains: Readonly<Record<string, ConsistencyDomain>>;
  readonly collections: Readonly<Record<string, Collection>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly replicas: ReplicaPool;
  /** Calls to agents, for replicas that are reached through one. */
  readonly agents: AgentMailbox;
  /** What the feeds that this process reads have told lately; absent where it reads none. */
  readonly writes?: RecentWrites;
  /** Has keys compared again soon, in this process; absent where it compares nothing: then the next scan does. */
  readonly lookAgain?: (collection: string, keys: readonly Key[]) => void;
  /** What suggestions can be carried out on, by name; absent: nothing. */
  readonly targets?: Readonly<Record<string, Target>>;
  readonly policies: Policies | undefined;
  readonly llm: Llm | undefined;
  readonly promptTemplate: PromptTemplate;
  /** Hides keys in prompts; its own secret, kept in the data directory. */
  readonly hmacKey: Uint8Array;
}
