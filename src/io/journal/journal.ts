/** What the journal keeps: a payload as it was received, or what was read of it where that is smaller, and what it is. */
export interface JournalRecord {
  readonly signal: 'traces' | 'logs' | 'metrics';
  /** `columns`: a batch of spans or log records, see `ingest/batch-record.ts`. */
  readonly encoding: 'protobuf' | 'json' | 'columns';
  readonly compression: 'none' | 'gzip';
  /** For the lag; of a record of an earlier run: when the journal was opened. */
  readonly receivedAtMs: number;
  readonly bytes: Buffer;
}

export type Appended = { readonly is: 'durable'; readonly sequence: number } | { readonly is: 'full' };

/**
 * Payloads between acknowledgement and the end of their use. Sequence numbers rise by one; `append` resolves once the record survives a
 * crash, in order of sequence. Bounded: a full journal refuses, it never drops. An append that fails (a full disk, a broken one) throws,
 * leaves a gap that reads as undefined, and takes nothing of the bound.
 */
export interface Journal {
  append(record: JournalRecord): Promise<Appended>;
  /** undefined: released, or not there yet. */
  read(sequence: number): JournalRecord | undefined;
  /** First sequence that is kept, and the next one to be given. Equal: empty. */
  readonly first: number;
  readonly next: number;
  /** Bytes kept. */
  readonly bytes: number;
  readonly maxBytes: number;
  /** Bytes of the records in `[from, to)`. */
  bytesBetween(from: number, to: number): number;
  /** When the record was received; 0 where it is not known. */
  receivedAtMs(sequence: number): number;
  /** Forgets everything before `sequence`: the checkpoint. */
  release(sequence: number): Promise<void>;
  close(): Promise<void>;
}
