import type { Rng } from '../../src/base/rng.ts';
import type { Collection, ColumnClass, ReplicaRole } from '../../src/domain/collection.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import type { Divergence } from '../../src/domain/divergence.ts';
import type { CanonicalType, Row, Shape } from '../../src/domain/row.ts';
import { rowDigest } from '../../src/domain/row-encoding.ts';
import type { WriteEvidence } from '../../src/domain/write-evidence.ts';
import type { Situation } from '../../src/propose/strategy.ts';

/**
 * A small world that knows the truth. Services write one row in several regions, change events carry the writes to the others, and
 * things go wrong: events are lost, a replica is restored from an old backup, somebody edits a row by hand, clocks are off,
 * spans are missing. What the strategies see is what the service would see: rows, declared classes, and the spans that were
 * kept. What should be there afterwards is known only here, from the order in which things really happened. The rates are guesses
 * about ordinary systems, chosen before any strategy was run on them; they are not fitted to the strategies.
 */
export interface World {
  /** Kind of system: also the domain's name, so that calibration is by kind. */
  readonly kind: string;
  readonly situation: Situation;
  /** The row that every replica should hold; null: none should. */
  readonly truth: Row | null;
}

interface Kind {
  readonly name: string;
  readonly replicas: Readonly<Record<string, ReplicaRole>>;
  readonly columns: Readonly<Record<string, CanonicalType>>;
  readonly classes: Readonly<Record<string, ColumnClass>>;
  readonly authority?: string;
  /** Where writes happen. */
  readonly writers: readonly string[];
  readonly strategyOptions?: Collection['strategyOptions'];
  /** Deletes leave a row with `gone` set. */
  readonly softDeletes?: boolean;
  readonly isTraced: number;
}

const profile = { city: 'text', name: 'text' } as const;
const clocked = { ...profile, updated_at: 'timestamptz', version: 'int' } as const;
const kinds: readonly Kind[] = [
  {
    name: 'one-writer',
    replicas: { eu: 'leader', us: 'peer', ap: 'peer' },
    columns: clocked,
    classes: { updated_at: 'clock' },
    authority: 'eu',
    writers: ['eu'],
    isTraced: 0.5,
  },
  {
    name: 'leader-follower',
    replicas: { eu: 'leader', us: 'follower', ap: 'follower' },
    columns: profile,
    classes: {},
    writers: ['eu'],
    isTraced: 0.3,
  },
  {
    name: 'multi-region',
    replicas: { eu: 'peer', us: 'peer', ap: 'peer' },
    columns: clocked,
    classes: { updated_at: 'clock' },
    writers: ['eu', 'us', 'ap'],
    isTraced: 0.8,
  },
  {
    name: 'two-regions',
    replicas: { eu: 'peer', us: 'peer' },
    columns: clocked,
    classes: { updated_at: 'clock' },
    writers: ['eu', 'us'],
    isTraced: 0.6,
  },
  {
    name: 'no-clock',
    replicas: { eu: 'peer', us: 'peer', ap: 'peer' },
    columns: profile,
    classes: {},
    writers: ['eu', 'us', 'ap'],
    isTraced: 0.5,
  },
  {
    name: 'soft-deletes',
    replicas: { eu: 'peer', us: 'peer', ap: 'peer' },
    columns: { ...clocked, gone: 'timestamptz' },
    classes: { updated_at: 'clock', gone: 'tombstone' },
    writers: ['eu', 'us', 'ap'],
    softDeletes: true,
    isTraced: 0.5,
  },
  {
    name: 'vectors',
    replicas: { eu: 'peer', us: 'peer', ap: 'peer' },
    columns: { ...profile, seen: 'json' },
    classes: {},
    writers: ['eu', 'us', 'ap'],
    strategyOptions: { 'version-vector': { column: 'seen' } },
    isTraced: 0.2,
  },
  {
    name: 'counters',
    replicas: { eu: 'peer', us: 'peer', ap: 'peer' },
    columns: { best: 'int', likes: 'json' },
    classes: { best: 'register-max', likes: 'counter' },
    writers: ['eu', 'us', 'ap'],
    isTraced: 0.2,
  },
  {
    name: 'cached',
    replicas: { db: 'leader', cache: 'cache' },
    columns: clocked,
    classes: { updated_at: 'clock' },
    writers: ['db'],
    isTraced: 0.3,
  },
];

const startMs = Date.UTC(2026, 0, 1);
const rates = {
  /** Two writes that did not know of each other. */
  concurrent: 0.08,
  delete: 0.12,
  insert: 0.2,
  /** An event to one replica is lost; a broken feed loses them to all. */
  lostToAll: 0.15,
  /** Instead of a lost event. */
  restored: 0.12,
  edited: 0.08,
  spanLost: 0.1,
  hasDigest: 0.3,
  publishFailureSeen: 0.3,
  /** A host whose clock is off by seconds. */
  badClock: 0.04,
} as const;

interface Write {
  readonly id: number;
  readonly replica: string;
  readonly atMs: number;
  readonly kind: 'write' | 'delete';
  readonly before: Row | null;
  readonly after: Row | null;
  readonly version: number;
  readonly base: number;
}

/** One diverged key; null where the draw did not diverge. */
export function divergedWorld(rng: Rng): World | null {
  const kind = rng.pick(kinds);
  const shape: Shape = {
    key: ['id'],
    columns: [
      { name: 'id', type: 'text', nullable: false },
      ...Object.entries(kind.columns)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, type]) => ({ name, type, nullable: true })),
    ],
  };
  const ids = Object.keys(kind.replicas);
  const sources = ids.filter((id) => kind.replicas[id] !== 'cache');
  const clockErrors = new Map(ids.map((id) => [id, rng.next() < rates.badClock ? (rng.next() - 0.5) * 8_000 : rng.normal() * 20]));

  // What really happened, in order.
  const isNew = rng.next() < rates.insert;
  const first: Row | null = isNew ? null : baseRow(kind, rng);
  const writes: Write[] = [];
  let truth = first;
  let atMs = startMs + rng.int(3_600_000);
  const rounds = 1 + rng.int(3);
  for (let round = 0; round < rounds; round += 1) {
    atMs += 200 + rng.int(600_000);
    const before = truth;
    const replica = rng.pick(kind.writers);
    const one = makeWrite(kind, rng, { id: writes.length, replica, atMs, before, clockErrorMs: clockErrors.get(replica) ?? 0 });
    writes.push(one);
    const others = kind.writers.filter((other) => other !== replica);
    if (others.length > 0 && before !== null && rng.next() < rates.concurrent) {
      // Unseen by the first, a moment later elsewhere. The later one stands, as the users of last-writer-wins agreed; counters join.
      const second = makeWrite(kind, rng, {
        id: writes.length,
        replica: rng.pick(others),
        atMs: atMs + 1 + rng.int(400),
        before,
        clockErrorMs: clockErrors.get(rng.pick(others)) ?? 0,
      });
      writes.push(second);
      truth =
        kind.name === 'counters'
          ? joinCounters(one.after, second.after)
          : kind.name === 'vectors'
            ? joinVectors(one.after, second.after)
            : second.after;
    } else truth = one.after;
    if (truth === null) break;
  }

  // What each replica heard of it.
  const feedBroken = rng.next() < rates.lostToAll;
  const victim = rng.pick(ids.filter((id) => kind.replicas[id] !== 'leader'));
  const lastWrite = writes.at(-1);
  const lost = (write: Write, replica: string): boolean => write === lastWrite && (feedBroken || replica === victim);
  const mishap = rng.next();
  const rows: Record<string, Row | null> = {};
  for (const id of ids) {
    let row = first;
    for (const write of writes) {
      if (write.replica !== id && mishap >= rates.restored + rates.edited && lost(write, id)) continue;
      row = kind.name === 'counters' ? joinCounters(row, write.after) : write.after;
    }
    rows[id] = row;
  }
  // Concurrent writes that all arrived have been resolved everywhere as the truth is.
  for (const id of ids) {
    const heardAll = writes.every((write) => write.replica === id || mishap < rates.restored + rates.edited || !lost(write, id));
    if (heardAll) rows[id] = truth;
  }
  if (mishap < rates.restored) rows[victim] = writes.length > 1 ? (writes.at(-2)?.after ?? first) : first;
  else if (mishap < rates.restored + rates.edited && rows[victim] !== null) rows[victim] = { ...rows[victim], ...edit(kind, rng) };

  const digests = new Set(ids.map((id) => (rows[id] === null || rows[id] === undefined ? 'absent' : rowDigest(shape, rows[id]))));
  const cacheEmpty = ids.some((id) => kind.replicas[id] === 'cache' && rows[id] === null);
  if (digests.size < 2 || (cacheEmpty && sources.length < 2)) return null;
  return {
    kind: kind.name,
    truth,
    situation: situationOf(
      kind,
      shape,
      rows,
      evidenceOf(kind, shape, writes, rng, { feedBroken, victim, isLoss: mishap >= rates.restored + rates.edited }),
    ),
  };
}

function baseRow(kind: Kind, rng: Rng): Row {
  const row: Record<string, string | null> = { id: '1' };
  for (const column of Object.keys(kind.columns))
    row[column] =
      column === 'gone'
        ? null
        : column === 'version'
          ? '1'
          : column === 'updated_at'
            ? timestamp(startMs - 86_400_000)
            : column === 'seen'
              ? '{"eu": 1}'
              : column === 'likes'
                ? '{"n": {}, "p": {}}'
                : column === 'best'
                  ? String(rng.int(50))
                  : word(rng);
  return row;
}

function makeWrite(
  kind: Kind,
  rng: Rng,
  given: {
    readonly id: number;
    readonly replica: string;
    readonly atMs: number;
    readonly before: Row | null;
    readonly clockErrorMs: number;
  },
): Write {
  const { before, replica, atMs } = given;
  const base = Number(before?.['version'] ?? 0);
  const version = base + 1;
  const isDelete = before !== null && kind.name !== 'counters' && kind.name !== 'vectors' && rng.next() < rates.delete;
  const common = { id: given.id, replica, atMs, before, version, base };
  if (isDelete && kind.softDeletes !== true) return { ...common, kind: 'delete', after: null };
  const row: Record<string, string | null> = { ...(before ?? baseRow(kind, rng)) };
  if ('updated_at' in kind.columns) row['updated_at'] = timestamp(Math.round(atMs + given.clockErrorMs));
  if ('version' in kind.columns) row['version'] = String(version);
  if (isDelete) return { ...common, kind: 'delete', after: { ...row, gone: timestamp(atMs) } };
  if ('seen' in kind.columns) row['seen'] = bumped(row['seen'] ?? '{}', replica);
  if (kind.name === 'counters') {
    const likes = parseCounter(row['likes'] ?? '{}');
    likes.p[replica] = (likes.p[replica] ?? 0) + 1 + rng.int(3);
    row['likes'] = counterText(likes);
    row['best'] = String(Math.max(Number(row['best']), rng.int(100)));
  } else row[rng.next() < 0.5 ? 'name' : 'city'] = word(rng);
  return { ...common, kind: 'write', after: row };
}

/** Somebody with a SQL prompt: a value changes, clocks and versions do not. */
function edit(kind: Kind, rng: Rng): Row {
  return kind.name === 'counters' ? { best: String(rng.int(100)) } : { name: word(rng) };
}

function evidenceOf(
  kind: Kind,
  shape: Shape,
  writes: readonly Write[],
  rng: Rng,
  fault: { readonly feedBroken: boolean; readonly victim: string; readonly isLoss: boolean },
): readonly WriteEvidence[] {
  if (rng.next() >= kind.isTraced) return [];
  const evidence: WriteEvidence[] = [];
  const hasDigest = rng.next() < rates.hasDigest;
  const hasVersion = 'version' in kind.columns;
  for (const write of writes) {
    const span = (part: number) => ({ traceId: String(write.id).padStart(32, '0'), spanId: String(part).padStart(16, '0') });
    if (rng.next() >= rates.spanLost) {
      evidence.push({
        key: { id: '1' },
        kind: write.kind,
        replica: write.replica,
        ...(hasVersion ? { version: String(write.version), versionBase: write.before === null ? '' : String(write.base) } : {}),
        ...(hasDigest && write.after !== null ? { valueDigest: rowDigest(shape, write.after) } : {}),
        outcome: 'committed',
        atUs: write.atMs * 1000,
        service: 'profiles',
        span: span(1),
      });
    }
    if (fault.isLoss && fault.feedBroken && write === writes.at(-1) && rng.next() < rates.publishFailureSeen) {
      evidence.push({
        key: { id: '1' },
        kind: 'publish-failed',
        replica: write.replica,
        outcome: 'aborted',
        atUs: write.atMs * 1000 + 500,
        service: 'profiles',
        span: span(2),
      });
    }
  }
  return evidence;
}

function situationOf(kind: Kind, shape: Shape, rows: Readonly<Record<string, Row | null>>, writes: readonly WriteEvidence[]): Situation {
  const collection: Collection = {
    name: kind.name,
    domain: kind.name,
    key: ['id'],
    columnClasses: kind.classes,
    excludedColumns: [],
    invariants: [],
    ...(kind.authority === undefined ? {} : { authority: kind.authority }),
    ...(kind.strategyOptions === undefined ? {} : { strategyOptions: kind.strategyOptions }),
    replicas: Object.entries(kind.replicas).map(([id, role]) => ({ id, engine: 'postgres', url: '', region: id, role, columnNames: {} })),
    scanEveryMs: 1_000,
  };
  const domain: ConsistencyDomain = {
    name: kind.name,
    consistency: 'eventual',
    stalenessMs: 1_000,
    residency: [],
    risk: 'low',
    repair: { mode: 'auto', approvals: 1, rowsPerHour: 1_000_000, undoHours: 24, approvalExpiryMinutes: 30 },
    llm: { enabled: false, rawValues: false, tokensPerDay: 0 },
  };
  const divergence: Divergence = {
    collection: kind.name,
    key: { id: '1' },
    is: 'different',
    replicas: rows,
    columns: [],
    status: 'confirmed',
    seenAt: {},
    firstSeenMs: 0,
  };
  return { collection, domain, shape, divergences: [divergence], writes, nowMs: startMs + 86_400_000 };
}

interface Counter {
  readonly p: Record<string, number>;
  readonly n: Record<string, number>;
}
function parseCounter(text: string): Counter {
  const { p = {}, n = {} } = JSON.parse(text) as Partial<Counter>;
  return { p: { ...p }, n: { ...n } };
}
const counterText = ({ p, n }: Counter): string => jsonb({ n: jsonb(n), p: jsonb(p) });
/** PostgreSQL's jsonb text of an object whose keys are all of one length and whose values are written already. */
function jsonb(members: Readonly<Record<string, string | number>>): string {
  return `{${Object.keys(members)
    .toSorted()
    .map((key) => `"${key}": ${members[key] ?? 0}`)
    .join(', ')}}`;
}
function joinCounters(a: Row | null, b: Row | null): Row | null {
  if (a === null || b === null) return a ?? b;
  const [left, right] = [parseCounter(a['likes'] ?? '{}'), parseCounter(b['likes'] ?? '{}')];
  for (const [replica, count] of Object.entries(right.p)) left.p[replica] = Math.max(left.p[replica] ?? 0, count);
  return { id: '1', best: String(Math.max(Number(a['best']), Number(b['best']))), likes: counterText(left) };
}
/** The later write's row, seen by both. */
function joinVectors(a: Row | null, b: Row | null): Row | null {
  if (a === null || b === null) return a ?? b;
  const [left, right] = [JSON.parse(a['seen'] ?? '{}') as Record<string, number>, JSON.parse(b['seen'] ?? '{}') as Record<string, number>];
  for (const [replica, count] of Object.entries(left)) right[replica] = Math.max(right[replica] ?? 0, count);
  return { ...b, seen: jsonb(right) };
}
function bumped(text: string, replica: string): string {
  const vector = JSON.parse(text) as Record<string, number>;
  return jsonb({ ...vector, [replica]: (vector[replica] ?? 0) + 1 });
}
const word = (rng: Rng): string => `w${rng.int(1_000_000)}`;
function timestamp(ms: number): string {
  const iso = new Date(ms).toISOString();
  const fraction = iso.slice(20, 23).replace(/0+$/, '');
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}${fraction === '' ? '' : `.${fraction}`}+00`;
}
