/** A place where suggestions can be carried out, as the configuration declares it. Urls hold credentials: never logged, never answered. */
export type PlacementTarget =
  | {
      readonly kind: 'redis-cluster';
      readonly name: string;
      readonly url: string;
      /** Collections whose keys lie there. */
      readonly collections: readonly string[];
      readonly keysPerSecond: number;
      /** What one node carries, operations a second; null: learned from when it hurt. */
      readonly nodeOperationsPerSecond: number | null;
    }
  | {
      readonly kind: 'postgres-quorum';
      readonly name: string;
      readonly url: string;
      readonly collections: readonly string[];
      /** `application_name`s of the standbys that commits may wait for. */
      readonly standbys: readonly string[];
      readonly commitP99Ms: number | null;
      readonly observeMs: number;
      /** Least share of reads from standbys that must be fresh; null: not asked. */
      readonly freshShare: number | null;
      /** Standbys that may be lost without losing a commit. */
      readonly faults: number;
    }
  | {
      /** Clients that send reads and writes to every replica themselves. How many answers they wait for is theirs to change. */
      readonly kind: 'client-quorum';
      readonly name: string;
      readonly collections: readonly string[];
      /** As spans name them. */
      readonly replicas: readonly string[];
      /** How many answers a read, and how many acknowledgements a write, waits for now. */
      readonly read: number;
      readonly write: number;
      /** Whose words say it. */
      readonly system: 'cassandra' | 'riak' | 'own';
      /** Least share of reads that must be fresh `afterMs` after a commit; null: no read may become staler than it is. */
      readonly freshShare: number | null;
      readonly afterMs: number;
      readonly readP99Ms: number | null;
      readonly writeP99Ms: number | null;
      /** Replicas that may be lost while reads and writes go on. */
      readonly faults: number;
    };
