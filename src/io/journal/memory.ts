import type { Appended, Journal, JournalRecord } from './journal.ts';

/** A journal that lives as long as the process: for those who prefer speed to surviving a crash. */
export function openMemoryJournal(options: { readonly maxBytes?: number } = {}): Journal {
  const maxBytes = options.maxBytes ?? 256 * 1024 * 1024;
  const records = new Map<number, JournalRecord>();
  let first = 1;
  let next = 1;
  let bytes = 0;
  return {
    append: (record): Promise<Appended> => {
      if (bytes + record.bytes.length > maxBytes) return Promise.resolve({ is: 'full' });
      const sequence = next;
      next += 1;
      bytes += record.bytes.length;
      // The receiver uses its buffer again once the payload is answered.
      records.set(sequence, { ...record, bytes: Buffer.from(record.bytes) });
      return Promise.resolve({ is: 'durable', sequence });
    },
    read: (sequence) => records.get(sequence),
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
    bytesBetween: (from, to) => {
      let sum = 0;
      for (let sequence = Math.max(from, first); sequence < Math.min(to, next); sequence += 1)
        sum += records.get(sequence)?.bytes.length ?? 0;
      return sum;
    },
    receivedAtMs: (sequence) => records.get(sequence)?.receivedAtMs ?? 0,
    release: (sequence) => {
      while (first < Math.min(sequence, next)) {
        bytes -= records.get(first)?.bytes.length ?? 0;
        records.delete(first);
        first += 1;
      }
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}
