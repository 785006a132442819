import { mkdirSync } from 'node:fs';
import { open } from 'lmdb';
import { invariant } from '../../base/assert.ts';
import { Failure } from '../../base/failure.ts';
import type { Appended, Journal, JournalRecord } from './journal.ts';

/**
 * The journal in LMDB. Group commit: all appends of one turn of the event loop go into one transaction, written and synced on LMDB's own
 * thread; `overlappingSync` is off, so that the promise of a write means on disk. Records are large values that LMDB keeps in runs of
 * pages; pages of released records are used again, so the file stays near the bound.
 *
 * Value: 12 bytes of header (format, signal, encoding, compression, time of receipt as a double), then the payload.
 */
export function openLmdbJournal(options: { readonly directory: string; readonly maxBytes?: number }): Promise<Journal> {
  return Promise.resolve().then(() => openJournal(options.directory, options.maxBytes ?? 1024 * 1024 * 1024));
}

function openJournal(directory: string, maxBytes: number): Journal {
  const environment = openEnvironment(directory, maxBytes);
  let first = 1;
  let next = 1;
  let bytes = 0;
  // Values are mapped memory: walking the sizes of a full journal at start touches a page a record.
  let isFirst = true;
  for (const { key, value } of environment.getRange({})) {
    if (isFirst) first = key;
    isFirst = false;
    next = key + 1;
    bytes += value.length;
  }
  if (isFirst) {
    // Sequence numbers must not start again after everything was released: checkpoints elsewhere may name them.
    first = Math.max(1, Math.floor(Date.now()));
    next = first;
  }
  return {
    append: async (record): Promise<Appended> => {
      if (bytes + record.bytes.length > maxBytes) return { is: 'full' };
      const sequence = next;
      next += 1;
      const value = encode(record);
      bytes += value.length;
      const stored = await environment.put(sequence, value);
      invariant(stored, 'the journal stores what it is given', { sequence });
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
    release: async (sequence) => {
      const upTo = Math.min(sequence, next);
      let last: Promise<boolean> | undefined;
      for (; first < upTo; first += 1) {
        bytes -= environment.getBinaryFast(first)?.length ?? 0;
        last = environment.remove(first);
      }
      await last;
    },
    close: async () => {
      await environment.committed;
      await environment.close();
    },
  };
}

function openEnvironment(directory: string, maxBytes: number) {
  try {
    mkdirSync(directory, { recursive: true });
    return open<Buffer, number>({
      path: directory,
      encoding: 'binary',
      overlappingSync: false,
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
