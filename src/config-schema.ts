/** The schema of homeostat.yaml: every key with its default, unit (in its name) and bounds. */
import { z } from 'zod';

const name = z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,62}$/);
export const dayMs = 86_400_000;

const domainSchema = z.strictObject({
  consistency: z.enum(['strict', 'session', 'bounded', 'eventual']).describe('The promise to readers.'),
  stalenessMs: z
    .int()
    .min(0)
    .max(7 * dayMs)
    .default(10_000)
    .describe('How old a replica may be, in milliseconds, before a difference counts where the engine has no position.'),
  residency: z.array(name).max(64).default([]).describe('Regions that values of this domain may be in; empty: anywhere.'),
  risk: z
    .enum(['low', 'medium', 'high'])
    .optional()
    .describe('What a wrong repair costs. Default: high for strict, medium for session, low for the rest.'),
  repair: z
    .strictObject({
      mode: z
        .enum(['off', 'review', 'auto'])
        .default('review')
        .describe('off: only report; review: propose and wait for people; auto: apply what the guard allows.'),
      approvals: z.int().min(1).max(10).default(1).describe('People who must approve a reviewed repair.'),
      rowsPerHour: z.int().min(0).max(10_000_000).default(500).describe('Budget of automatic repair, rows an hour.'),
      undoHours: z.int().min(1).max(720).default(24).describe('How long before-images are kept for undo, hours.'),
      approvalExpiryMinutes: z
        .int()
        .min(1)
        .max(10_080)
        .default(240)
        .describe('How long a proposal waits for people before it is rejected, minutes.'),
    })
    .prefault({}),
  llm: z
    .strictObject({
      enabled: z.boolean().default(true).describe('Whether the language model may choose among checked candidates here.'),
      rawValues: z
        .boolean()
        .default(false)
        .describe('Whether prompts may hold raw values; otherwise equality patterns and keyed hashes only.'),
      tokensPerDay: z.int().min(0).max(1_000_000_000).default(200_000).describe('Token budget a day.'),
    })
    .prefault({}),
});

const columnSchema = z.strictObject({
  class: z
    .enum(['plain', 'money', 'pii', 'clock', 'counter', 'set', 'register-max', 'register-min', 'tombstone'])
    .default('plain')
    .describe('What the column means to repair. A money column is never repaired automatically.'),
  compare: z.boolean().default(true).describe('false: the column is not compared.'),
});

export const replicaSchema = z.strictObject({
  url: z
    .string()
    .min(1)
    .describe(
      'Connection URL: postgres://, mysql://, redis:// (rediss://) or http(s):// of a service that answers the replica API. ${VARIABLE} is taken from the environment.',
    ),
  via: z
    .enum(['direct', 'agent'])
    .default('direct')
    .describe('agent: the service does not connect to the store; `homeostat agent`, run beside it, does, and sends sketches.'),
  region: name.optional().describe("Region that the store is in. Default: the replica's name."),
  role: z
    .enum(['leader', 'follower', 'peer', 'cache'])
    .default('peer')
    .describe('A follower is only written by its leader; a cache may lack rows.'),
  table: z.string().min(1).max(200).optional().describe("SQL: schema.table or table. Default: the collection's name."),
  key: z.string().min(1).max(400).optional().describe('Redis: key template such as account:{id}.'),
  value: z.enum(['json', 'hash', 'string', 'set']).optional().describe('Redis: how a value is stored. Default: json.'),
  columns: z
    .record(z.string(), z.string().min(1))
    .default({})
    .describe("Collection column -> this replica's column or field, where the names differ."),
});

const collectionSchema = z.strictObject({
  domain: z.string().describe('Name of one of the domains above.'),
  key: z.array(z.string().min(1)).min(1).max(16).describe('Key columns, in order.'),
  columns: z.record(z.string(), columnSchema).default({}).describe('Columns with a meaning; others are plain.'),
  invariants: z
    .array(z.string().min(1))
    .max(32)
    .default([])
    .describe('Sentences that every repair must keep, such as "sum(balance) is unchanged".'),
  authority: z.string().optional().describe('The replica that is right where replicas disagree.'),
  strategy: z.string().optional().describe('Repair strategy to prefer, by id.'),
  strategyOptions: z
    .record(z.string(), z.record(z.string(), z.unknown()))
    .optional()
    .describe('Options of repair strategies, by strategy id.'),
  scanEveryMs: z
    .int()
    .min(100)
    .max(7 * dayMs)
    .default(60_000)
    .describe(
      'Time between scheduled comparisons, milliseconds; each is moved by up to a tenth, so that collections take turns. One that failed is made again after a minute.',
    ),
  throttle: z
    .strictObject({
      maxLagMs: z
        .int()
        .min(0)
        .max(dayMs)
        .default(10_000)
        .describe('A comparison pauses between two chunks while replication of a store is further behind than this, milliseconds.'),
      maxStatements: z
        .int()
        .min(0)
        .max(100_000)
        .default(25)
        .describe('It pauses while a server runs more statements of others than this at a time.'),
      maxPauseMs: z
        .int()
        .min(0)
        .max(dayMs)
        .default(60_000)
        .describe('Longest pause before a chunk, milliseconds; then it goes on with one half as large. 0: no pauses.'),
    })
    .prefault({}),
  changes: z
    .enum(['auto', 'durable', 'off'])
    .default('auto')
    .describe(
      'How writes are learned from the stores: auto: from their logs where they allow it, and what a store keeps for us goes with our connection unless the store limits it; durable: keep it across restarts anyway; off: scans and traces only.',
    ),
  replicas: z
    .record(name, replicaSchema)
    .default({})
    .describe('The stores that hold a copy; two or more, or none where a client-quorum is all that is asked of the collection.'),
});

const personSchema = z.strictObject({
  role: z
    .enum(['viewer', 'approver', 'operator', 'admin', 'agent'])
    .describe(
      'viewer: reads; approver: also approves; operator: also undoes, scans and freezes; admin: everything; agent: pushes checksums only.',
    ),
  domains: z.array(z.string()).max(1000).optional().describe('Domains that the role holds for; absent: all.'),
  token: z.string().min(16).max(512).describe('Bearer token, 16 characters or more; write ${VARIABLE} to take it from the environment.'),
});

const logKeySchema = z.strictObject({
  pattern: z
    .string()
    .min(3)
    .max(500)
    .describe(
      'Regular expression (RE2: no look-around, no back references) with a group (?<key>...), and (?<version>...) if the text has one.',
    ),
  collection: name.describe('The collection, or kind of object, that the key belongs to.'),
  operation: z.enum(['read', 'write', 'append', 'delete', 'compensate']).default('write').describe('What the record says was done.'),
});

const targetCollections = z.array(z.string()).min(1).max(1000).describe('Collections whose state lies there.');
const targetSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('redis-cluster'),
    url: z.string().min(1).describe('Any node: redis://user:password@host:port. ${VARIABLE} is taken from the environment.'),
    collections: targetCollections,
    keysPerSecond: z.int().min(1).max(1_000_000).default(2_000).describe('Keys that a move hands over a second at most.'),
    nodeOperationsPerSecond: z
      .number()
      .positive()
      .optional()
      .describe('Operations a second that one node carries. Default: learned from the load above which it was seen to hurt.'),
  }),
  z.strictObject({
    kind: z.literal('postgres-quorum'),
    url: z.string().min(1).describe('The primary: postgres://... ${VARIABLE} is taken from the environment.'),
    collections: targetCollections,
    standbys: z.array(z.string().min(1)).min(1).max(20).describe('application_name of the standbys that commits may wait for.'),
    commitP99Ms: z
      .number()
      .positive()
      .max(600_000)
      .optional()
      .describe('What a commit may take (99 %), milliseconds; a change that breaks it is taken back.'),
    observeMs: z.int().min(100).max(3_600_000).default(10_000).describe('How long commits are measured after a change, milliseconds.'),
    freshShare: z.number().min(0).max(1).optional().describe('Least share of reads from standbys that must be fresh.'),
    faults: z.int().min(0).max(19).default(0).describe('Standbys that may be lost without losing a commit.'),
  }),
  z.strictObject({
    kind: z.literal('client-quorum'),
    collections: targetCollections,
    replicas: z
      .array(z.string().min(1).max(300))
      .min(2)
      .max(16)
      .describe('Replicas that clients send each read and write to, as spans name them: consistency.replica.id, or host, or host:port.'),
    read: z.int().min(1).max(16).describe('Answers that a read waits for now (R).'),
    write: z.int().min(1).max(16).describe('Acknowledgements that a write waits for now (W).'),
    system: z.enum(['cassandra', 'riak', 'own']).default('own').describe('Whose commands are shown to copy; own: a client of your own.'),
    freshShare: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe('Least share of reads that must be fresh. Default: reads may not become staler than they are.'),
    afterMs: z.number().min(0).max(600_000).default(0).describe('How long after a commit that read begins, milliseconds.'),
    readP99Ms: z.number().positive().max(600_000).optional().describe('What a read may wait (99 %), milliseconds.'),
    writeP99Ms: z.number().positive().max(600_000).optional().describe('What a write may wait (99 %), milliseconds.'),
    faults: z.int().min(0).max(15).default(0).describe('Replicas that may be lost while reads and writes go on.'),
  }),
]);

const options = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]));

const names = z.array(z.string().min(1).max(200)).max(1000).default([]);

export const configSchema = z.strictObject({
  database: z.string().default('embedded').describe('embedded, or postgres://user:password@host/database for our own state.'),
  queue: z
    .union([z.string(), z.array(z.string()).min(1).max(64)])
    .default('database')
    .describe('database, redis://host, or a list of Redis Cluster nodes.'),
  llm: z
    .strictObject({
      baseUrl: z.string().describe('OpenAI-compatible endpoint, such as http://localhost:11434/v1.'),
      model: z.string().min(1),
      apiKeyEnv: z.string().default('OPENAI_API_KEY').describe('Environment variable that holds the key.'),
      timeoutMs: z.int().min(100).max(600_000).default(20_000),
      maxTokens: z.int().min(16).max(100_000).default(800).describe('Cap of one answer, tokens.'),
    })
    .optional()
    .describe('The language model that chooses among checked candidates; absent: heuristics alone.'),
  domains: z.record(name, domainSchema).default({}),
  collections: z.record(name, collectionSchema).default({}),
  targets: z
    .record(name, targetSchema)
    .default({})
    .describe(
      'What approved suggestions can be carried out on, and client-quorum, whose commands are shown to copy as they are for other stores.',
    ),
  people: z
    .record(name, personSchema)
    .default({})
    .describe('Who may use API and page, by name; beside the local token under the data directory.'),
  policies: z.string().min(1).optional().describe('Folder of Cedar policies, relative to this file.'),
  changes: z
    .strictObject({
      maxRetainedMb: z
        .int()
        .min(16)
        .max(10_000_000)
        .default(4096)
        .describe(
          'Most log that a store may keep because its changes are not yet dealt with, MiB; beyond it the feed is dropped with an alarm.',
        ),
    })
    .prefault({}),
  retention: z
    .strictObject({
      findingsDays: z.int().min(1).max(3650).default(90),
      operationsHours: z.int().min(1).max(720).default(24).describe('How long traces stay readable as evidence, hours.'),
      seriesDays: z.int().min(1).max(3650).default(60),
    })
    .prefault({}),
  ingest: z
    .strictObject({
      latenessMs: z
        .int()
        .min(0)
        .max(600_000)
        .default(10_000)
        .describe('How late a span may come and still be folded in order, milliseconds.'),
      maxBodyMb: z.int().min(1).max(1024).default(64).describe('Largest request after decompression, MiB.'),
      journal: z
        .enum(['lmdb', 'memory'])
        .default('lmdb')
        .describe('lmdb: what was acknowledged survives a crash; memory: faster, and a crash loses what was not yet processed.'),
      journalMb: z.int().min(16).max(1_048_576).default(4096).describe('Largest journal before exporters are told to wait, MiB.'),
      token: z
        .string()
        .min(16)
        .max(512)
        .optional()
        .describe('Bearer token that exporters must send, 16 characters or more; write ${VARIABLE}. Absent: none is asked for.'),
      tls: z
        .strictObject({
          cert: z.string().min(1).describe('PEM file of the certificate and its chain, relative to this file.'),
          key: z.string().min(1).describe('PEM file of its private key, relative to this file.'),
        })
        .optional()
        .describe('TLS on both OTLP ports; absent: none.'),
      corsOrigins: z
        .array(z.string().min(1))
        .max(64)
        .default([])
        .describe('Origins of pages that may post traces from a browser, such as https://shop.example; * is any.'),
      logKeys: z
        .array(logKeySchema)
        .max(64)
        .default([])
        .describe('What the text of a log record with a trace id says about an object: it becomes an operation of that trace.'),
    })
    .prefault({}),
  detect: z
    .strictObject({
      share: z.number().gt(0).max(1).default(1).describe('Share of object keys that are looked at, sampled by hash.'),
      traceIdleMs: z.int().min(1).max(600_000).default(1000).describe('A trace without new spans for this long is complete, milliseconds.'),
      maxOperations: z
        .int()
        .min(1000)
        .max(100_000_000)
        .default(300_000)
        .describe(
          'Operations of open traces held in memory at most, about 1 kB each, and twice as many spans as columns, a fifth of that; beyond it detection samples traces by hash and says so.',
        ),
      detectors: z.record(z.string(), options).default({}).describe('Options by detector id; enabled: false turns one off.'),
      structure: z
        .strictObject({
          outboxTables: names.describe('Tables that are outboxes, whatever their names.'),
          notOutboxTables: names.describe('Tables that are no outboxes, though they look like ones.'),
          inboxTables: names.describe('Tables in which consumers note the messages that they have processed.'),
          replicaHosts: names.describe('Hosts (as `server.address:server.port` says) that only follow.'),
          primaryHosts: names.describe('Hosts that do not only follow, though nothing is seen to be written there.'),
          topicLagMs: z
            .record(z.string(), z.number().min(1).max(dayMs))
            .default({})
            .describe('Longest normal wait by topic, milliseconds.'),
          sagas: z
            .record(z.string(), z.array(z.string().regex(/^\S+ \S+ \S+$/)).min(1))
            .default({})
            .describe('Steps of workflows, `service verb table`, by root: `service POST /path`.'),
          notSagas: names.describe('Roots of workflows that are no sagas.'),
        })
        .prefault({})
        .describe('What is known of the fleet, instead of what was learned from traces; `homeostat structure` shows that.'),
    })
    .prefault({}),
  forecast: z
    .strictObject({
      enabled: z.boolean().default(true),
      stepMs: z.int().min(1000).max(dayMs).default(300_000).describe('Width of a point of a series, milliseconds.'),
      retrain: z.boolean().default(true).describe('Retrain the model on the history kept here, once a day.'),
    })
    .prefault({}),
});

export type ConfigFile = z.infer<typeof configSchema>;

/** JSON Schema (draft 2020-12) of the file, for editors. */
export function configJsonSchema(): unknown {
  return { title: 'homeostat.yaml', ...z.toJSONSchema(configSchema, { io: 'input' }) };
}
