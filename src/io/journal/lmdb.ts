import { mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import { invariant } from '../../base/assert.ts';
import { Failure } from '../../base/failure.ts';
import type { Appended, Journal, JournalRecord } from './journal.ts';
import { RecordSizes } from './record-sizes.ts';

/**
 * The journal in LMDB. Group commit: all appends of one turn of the event loop go into one transaction, written and synced on LMDB's own
 * thread; `overlappingSync` is off, so that the promise of a write means on disk. Records are large values that LMDB keeps in runs of
 * pages; pages of released records are used again, so the file stays near the bound.
 *
 * LMDB is not let run into a full disk: `lmdb` 3.5 writes the message of a failed page write past its end (100 bytes are allocated for it,
 * `mdb_page_flush`), which ends the process. So appends are refused while there is still some room, and since new pages are written even to
 * delete, a file of some megabytes beside the journal is given up for that, and made again when there is room.
 *
 * A record's value is handed to LMDB without a copy; what it is stands in the key beside its sequence.
 */
export function openLmdbJournal(options: { readonly directory: string; readonly maxBytes?: number }): Promise<Journal> {
  return Promise.resolve().then(() => openJournal(options.directory, options.maxBytes ?? 1024 * 1024 * 1024));
}

function openJournal(directory: string, maxBytes: number): Journal {
  const environment = openEnvironment(directory, maxBytes);
  const reserve = openReserve(directory);
  // When records of an earlier run came is not kept: they are as old as this one.
  const openedAtMs = Date.now();
  let first = 1;
  let next = 1;
  let bytes = 0;
  let sizes: RecordSizes | undefined;
  // Looked at without a copy, values are mapped memory: walking the sizes of a full journal at start touches a page a record.
  for (const stored of environment.getKeys({})) {
    const size = (environment.getBinaryFast(stored)?.length ?? 0) + overheadBytes;
    const key = Math.floor(stored / kindsOfRecord);
    if (sizes === undefined) {
      sizes = new RecordSizes(key);
      first = key;
      next = key;
    }
    // A gap is an append that failed.
    for (; next < key; next += 1) sizes.push(0, openedAtMs);
    sizes.push(size, openedAtMs);
    next = key + 1;
    bytes += size;
  }
  if (sizes === undefined) {
    // Sequence numbers must not start again after everything was released: checkpoints elsewhere may name them.
    first = Math.max(1, Math.floor(Date.now()));
    next = first;
    sizes = new RecordSizes(first);
  }
  const held = sizes;

  let roomLeft = 0;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  /** Bytes that the disk can take, as of a few milliseconds ago and less what was appended since. */
  const room = (): number => {
    const nowMs = performance.now();
    if (nowMs - lookedAtMs > roomLookMs) {
      const { bavail, bsize } = statfsSync(directory);
      roomLeft = bavail * bsize;
      lookedAtMs = nowMs;
    }
    return roomLeft;
  };

  /** Bytes of the file that held released records: they are written again before the file grows. */
  const reusable = (): number => statSync(join(directory, 'payloads', 'data.mdb')).size - bytes;

  /** Deletes up to `upTo`, in transactions of a bounded size. */
  const remove = async (upTo: number): Promise<void> => {
    while (first < upTo) {
      const until = Math.min(upTo, first + removedAtOnce);
      const removals: Promise<boolean>[] = [];
      for (const key of environment.getKeys({ start: first * kindsOfRecord, end: until * kindsOfRecord }))
        removals.push(environment.remove(key).catch(rethrow));
      await Promise.all(removals);
      bytes -= held.between(first, until);
      held.drop(until);
      first = until;
    }
  };

  return {
    append: async (record): Promise<Appended> => {
      const size = overheadBytes + record.bytes.length;
      if (bytes + size > maxBytes) return { is: 'full' };
      if (room() < size + leastRoomBytes && reusable() < 2 * size + leastReusableBytes)
        throw new Failure(
          'journal-write',
          `the disk of ${directory} is nearly full: make room, or name another place with --data`,
          'later',
        );
      roomLeft -= size;
      const sequence = next;
      next += 1;
      bytes += size;
      held.push(size, record.receivedAtMs);
      try {
        const stored = await environment.put(keyOf(sequence, record), record.bytes).catch(rethrow);
        invariant(stored, 'the journal stores what it is given', { sequence });
      } catch (error) {
        bytes -= held.of(sequence);
        held.set(sequence, 0);
        throw error;
      }
      return { is: 'durable', sequence };
    },
    read: (sequence) => {
      const [entry] = environment.getRange({ start: sequence * kindsOfRecord, end: (sequence + 1) * kindsOfRecord, limit: 1 });
      return entry === undefined ? undefined : { ...kindOf(entry.key), receivedAtMs: held.receivedAtMs(sequence), bytes: entry.value };
    },
    get first() {
      return first;
    },
    get next() {
      return next;
    },
    get bytes() {
      return bytes;
    },
    maxBytes,
    bytesBetween: (from, to) => held.between(from, to),
    release: async (sequence) => {
      const upTo = Math.min(sequence, next);
      const isTight = room() < leastRoomBytes;
      if (isTight) reserve.giveUp();
      await remove(upTo);
      if (!isTight) reserve.restore();
    },
    close: async () => {
      await environment.committed;
      await environment.close();
    },
  };
}

/** Removals in one transaction: what it writes must fit the reserve. */
const removedAtOnce = 256;
const reserveBytes = 8 * 1024 * 1024;
/** Appends leave the disk so much: for the pages beside their own, and for removals. */
const leastRoomBytes = 4 * 1024 * 1024;
/** Runs of pages for large values must be in one piece, so not all that was released is of use. */
const leastReusableBytes = 2 * 1024 * 1024;
const roomLookMs = 5;

interface Reserve {
  giveUp(): void;
  restore(): void;
}

/** Disk space that is held for the day when there is no other. */
function openReserve(directory: string): Reserve {
  const path = join(directory, 'reserve');
  let isThere = false;
  const restore = (): void => {
    if (isThere) return;
    try {
      writeFileSync(path, Buffer.alloc(reserveBytes));
      isThere = true;
    } catch {
      // A part of it is worth nothing, and takes what the journal could use.
      rmSync(path, { force: true });
    }
  };
  restore();
  return {
    giveUp: () => {
      rmSync(path, { force: true });
      isThere = false;
    },
    restore,
  };
}

/** lmdb rejects each write of a failed transaction with an error that holds the cause in a promise; nobody else handles that one. */
async function rethrow(error: unknown): Promise<never> {
  const inner: unknown = error instanceof Error && 'commitError' in error ? error.commitError : undefined;
  const cause: unknown = inner instanceof Promise ? await inner.catch((reason: unknown) => reason) : error;
  const says = cause instanceof Error ? cause.message : 'unknown';
  throw new Failure('journal-write', `the journal cannot be written: ${says}; is its disk full?`, 'later', cause);
}

function openEnvironment(directory: string, maxBytes: number) {
  try {
    mkdirSync(join(directory, 'payloads'), { recursive: true });
    return open<Buffer, number>({
      path: join(directory, 'payloads'),
      encoding: 'binary',
      overlappingSync: false,
      // Its batches have a promise of their own that nobody can reach: a failed commit would end the process. Appends of one turn still
      // share a transaction.
      eventTurnBatching: false,
      // Room for pages that a long reader still holds while new ones are written.
      mapSize: maxBytes * 2 + 64 * 1024 * 1024,
      maxDbs: 1,
    });
  } catch (error) {
    throw new Failure(
      'journal',
      `the journal in ${directory} cannot be opened: ${error instanceof Error ? error.message : 'unknown'}`,
      'never',
      error,
    );
  }
}

const signals = ['traces', 'logs', 'metrics'] as const;
const encodings = ['protobuf', 'json'] as const;
const compressions = ['none', 'gzip'] as const;
/** Columns, which are never compressed, have what the other two encodings leave. */
const firstColumns = 12;
/** Room in a key for what a record is; sequences, which start at a time in milliseconds, leave it in the exact integers of a double. */
const kindsOfRecord = 16;
/** Key, node and page overhead of a record, roughly: a journal of empty payloads is bounded too. */
const overheadBytes = 32;

function keyOf(sequence: number, record: JournalRecord): number {
  const signal = signals.indexOf(record.signal);
  if (record.encoding === 'columns') return sequence * kindsOfRecord + firstColumns + signal;
  const kind = signal * 4 + encodings.indexOf(record.encoding) * 2 + compressions.indexOf(record.compression);
  return sequence * kindsOfRecord + kind;
}

function kindOf(key: number): Pick<JournalRecord, 'signal' | 'encoding' | 'compression'> {
  const kind = key % kindsOfRecord;
  const columnsOf = signals[kind - firstColumns];
  if (columnsOf !== undefined) return { signal: columnsOf, encoding: 'columns', compression: 'none' };
  const signal = signals[kind >> 2];
  const encoding = encodings[(kind >> 1) & 1];
  const compression = compressions[kind & 1];
  invariant(signal !== undefined && encoding !== undefined && compression !== undefined, 'a journal key is one that we make', { key });
  return { signal, encoding, compression };
}
