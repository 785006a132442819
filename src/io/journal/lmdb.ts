import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
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
 * LMDB writes new pages even to delete, so a disk that is full would stay so: a file of some megabytes beside the journal is given up then,
 * and made again when there is room.
 *
 * Value: 12 bytes of header (format, signal, encoding, compression, time of receipt as a double), then the payload.
 */
export function openLmdbJournal(options: { readonly directory: string; readonly maxBytes?: number }): Promise<Journal> {
  return Promise.resolve().then(() => openJournal(options.directory, options.maxBytes ?? 1024 * 1024 * 1024));
}

function openJournal(directory: string, maxBytes: number): Journal {
  const environment = openEnvironment(directory, maxBytes);
  const reserve = openReserve(directory);
  let first = 1;
  let next = 1;
  let bytes = 0;
  let sizes: RecordSizes | undefined;
  // Values are mapped memory: walking the sizes of a full journal at start touches a page a record.
  for (const { key, value } of environment.getRange({})) {
    if (sizes === undefined) {
      sizes = new RecordSizes(key);
      first = key;
      next = key;
    }
    // A gap is an append that failed.
    for (; next < key; next += 1) sizes.push(0);
    sizes.push(value.length);
    next = key + 1;
    bytes += value.length;
  }
  if (sizes === undefined) {
    // Sequence numbers must not start again after everything was released: checkpoints elsewhere may name them.
    first = Math.max(1, Math.floor(Date.now()));
    next = first;
    sizes = new RecordSizes(first);
  }
  const held = sizes;

  /** Deletes up to `upTo`, in transactions of a bounded size. */
  const remove = async (upTo: number): Promise<void> => {
    while (first < upTo) {
      const until = Math.min(upTo, first + removedAtOnce);
      const removals: Promise<boolean>[] = [];
      for (let sequence = first; sequence < until; sequence += 1)
        if (held.of(sequence) > 0) removals.push(environment.remove(sequence).catch(rethrow));
      await Promise.all(removals);
      bytes -= held.between(first, until);
      held.drop(until);
      first = until;
    }
  };

  return {
    append: async (record): Promise<Appended> => {
      const size = headerBytes + record.bytes.length;
      if (bytes + size > maxBytes) return { is: 'full' };
      const sequence = next;
      next += 1;
      bytes += size;
      held.push(size);
      try {
        const stored = await environment.put(sequence, encode(record)).catch(rethrow);
        invariant(stored, 'the journal stores what it is given', { sequence });
      } catch (error) {
        bytes -= held.of(sequence);
        held.set(sequence, 0);
        throw error;
      }
      return { is: 'durable', sequence };
    },
    read: (sequence) => {
      const value = environment.getBinary(sequence);
      return value === undefined ? undefined : decode(value, sequence);
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
      try {
        await remove(upTo);
        reserve.restore();
      } catch (error) {
        if (!reserve.giveUp()) throw error;
        await remove(upTo);
      }
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

interface Reserve {
  /** False where there is nothing to give. */
  giveUp(): boolean;
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
      const had = isThere;
      rmSync(path, { force: true });
      isThere = false;
      return had;
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
    mkdirSync(directory, { recursive: true });
    return open<Buffer, number>({
      path: directory,
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

const headerBytes = 12;
const format = 1;
const signals = ['traces', 'logs', 'metrics'] as const;
const encodings = ['protobuf', 'json'] as const;
const compressions = ['none', 'gzip'] as const;

function encode(record: JournalRecord): Buffer {
  const value = Buffer.allocUnsafeSlow(headerBytes + record.bytes.length);
  value[0] = format;
  value[1] = signals.indexOf(record.signal);
  value[2] = encodings.indexOf(record.encoding);
  value[3] = compressions.indexOf(record.compression);
  value.writeDoubleLE(record.receivedAtMs, 4);
  record.bytes.copy(value, headerBytes);
  return value;
}

function decode(value: Buffer, sequence: number): JournalRecord {
  const signal = signals[value[1] ?? 9];
  const encoding = encodings[value[2] ?? 9];
  const compression = compressions[value[3] ?? 9];
  invariant(
    value[0] === format && signal !== undefined && encoding !== undefined && compression !== undefined,
    'a journal record has the format that we write',
    { sequence },
  );
  return { signal, encoding, compression, receivedAtMs: value.readDoubleLE(4), bytes: value.subarray(headerBytes) };
}
