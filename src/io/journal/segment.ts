import { rmSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { invariant } from '../../base/assert.ts';
import { Failure } from '../../base/failure.ts';
import type { CommitPace } from './commit-pace.ts';
import type { JournalRecord } from './journal.ts';

type Environment = RootDatabase<Buffer, number>;

/**
 * A stretch of the journal: consecutive records in an LMDB environment of their own, which is opened, and made, when it is needed. Group
 * commit: records go into one transaction as {@link CommitPace} gathers them, written and synced on LMDB's own thread; `overlappingSync` is
 * off, so that the promise of a write means on disk. Records are large values, which LMDB keeps in runs of pages.
 *
 * A record's value is handed to LMDB without a copy; what it is stands in the key beside its sequence. Keys below those of any record hold
 * the mark of what was released, see {@link putMark}.
 */
export class Segment {
  /** No record in here has a lower sequence, or this one or a higher. */
  readonly first: number;
  next: number;
  /** Bytes of its records, released ones among them. */
  bytes = 0;
  readonly #path: string;
  readonly #mapBytes: number;
  readonly #pace: CommitPace;
  #environment: Environment | undefined;
  #written: Promise<unknown> = Promise.resolve();
  #named: Promise<void> | undefined;

  /** `mapBytes`: address space for it, and so the most that fits. */
  constructor(path: string, first: number, mapBytes: number, pace: CommitPace) {
    this.#path = path;
    this.first = first;
    this.next = first;
    this.#mapBytes = mapBytes;
    this.#pace = pace;
  }

  /** Resolves once the record is on disk; throws a `Failure` where it cannot be written. */
  async put(sequence: number, record: JournalRecord): Promise<void> {
    this.next = sequence + 1;
    const put = this.#put(keyOf(sequence, record), record.bytes);
    this.#named ??= syncDirectory(dirname(this.#path));
    await Promise.all([put, this.#named]);
  }

  /** Everything before `sequence` was released, here and in earlier segments: what a later start need not look at. */
  async putMark(sequence: number): Promise<void> {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(sequence);
    await this.#put(markKey, bytes);
  }

  /** 0 where there is none. */
  mark(): number {
    return this.#opened().getBinary(markKey)?.readDoubleLE() ?? 0;
  }

  /** Sequences and bytes of its records, in order, without a copy of them. */
  *sizes(): Generator<{ readonly sequence: number; readonly bytes: number }> {
    const environment = this.#opened();
    for (const key of environment.getKeys({ start: kindsOfRecord })) {
      const bytes = environment.getBinaryFast(key)?.length ?? 0;
      yield { sequence: Math.floor(key / kindsOfRecord), bytes };
    }
  }

  read(sequence: number): Omit<JournalRecord, 'receivedAtMs'> | undefined {
    const environment = this.#opened();
    const [key] = environment.getKeys({ start: sequence * kindsOfRecord, end: (sequence + 1) * kindsOfRecord, limit: 1 });
    const bytes = key === undefined ? undefined : environment.getBinary(key);
    return key === undefined || bytes === undefined ? undefined : { ...kindOf(key), bytes };
  }

  /** Resolves once everything that was put is on disk, or has failed. */
  async settled(): Promise<void> {
    await this.#written;
  }

  /** Lets go of its pages, which count as resident while they are mapped; reading opens it again. */
  async close(): Promise<void> {
    await this.#written;
    const environment = this.#environment;
    this.#environment = undefined;
    await environment?.close();
  }

  async remove(): Promise<void> {
    await this.close();
    rmSync(this.#path, { recursive: true, force: true });
    rmSync(`${this.#path}-lock`, { force: true });
  }

  async #put(key: number, bytes: Buffer): Promise<void> {
    const written = this.#pace
      .turn()
      .then(() => this.#opened().put(key, bytes))
      .catch(rethrow);
    // Transactions are committed in order, so the last one stands for all.
    this.#written = written.catch(() => undefined);
    invariant(await written, 'the journal stores what it is given', { key });
  }

  #opened(): Environment {
    this.#environment ??= openEnvironment(this.#path, this.#mapBytes);
    return this.#environment;
  }
}

/** A new file is found again after a power failure once the directory that names it is on disk. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await openFile(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function openEnvironment(path: string, mapSize: number): Environment {
  try {
    return open<Buffer, number>({
      path,
      // A journal of before there were segments is a directory.
      noSubdir: path.endsWith(segmentSuffix),
      encoding: 'binary',
      overlappingSync: false,
      // Its batches have a promise of their own that nobody can reach: a failed commit would end the process. Appends of one turn still
      // share a transaction.
      eventTurnBatching: false,
      mapSize,
      maxDbs: 1,
    });
  } catch (error) {
    throw new Failure(
      'journal',
      `the journal in ${path} cannot be opened: ${error instanceof Error ? error.message : 'unknown'}`,
      'never',
      error,
    );
  }
}

/** lmdb rejects each write of a failed transaction with an error that holds the cause in a promise; nobody else handles that one. */
async function rethrow(error: unknown): Promise<never> {
  const inner: unknown = error instanceof Error && 'commitError' in error ? error.commitError : undefined;
  const cause: unknown = inner instanceof Promise ? await inner.catch((reason: unknown) => reason) : error;
  const says = cause instanceof Error ? cause.message : 'unknown';
  throw new Failure('journal-write', `the journal cannot be written: ${says}; is its disk full?`, 'later', cause);
}

export const segmentSuffix = '.mdb';
const signals = ['traces', 'logs', 'metrics'] as const;
const encodings = ['protobuf', 'json'] as const;
const compressions = ['none', 'gzip'] as const;
/** Columns, which are never compressed, have what the other two encodings leave. */
const firstColumns = 12;
/** Room in a key for what a record is; sequences, which start at a time in milliseconds, leave it in the exact integers of a double. */
const kindsOfRecord = 16;
/** Of sequence 0, which no record has. */
const markKey = 1;

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
