import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../../base/failure.ts';
import { CommitPace } from './commit-pace.ts';
import type { Appended, Journal } from './journal.ts';
import { RecordSizes } from './record-sizes.ts';
import { Segment, segmentSuffix } from './segment.ts';

/**
 * The journal in LMDB, in segments: files that are only ever appended to, and deleted once everything in them was released. To delete
 * records from one environment LMDB reads each, and pages that are read count as resident for as long as they are mapped: a journal in one
 * piece ended in memory as a whole. It also wrote pages to delete, which a full disk does not have; a file goes without any.
 *
 * LMDB is not let run into a full disk: `lmdb` 3.5 writes the message of a failed page write past its end (100 bytes are allocated for it,
 * `mdb_page_flush`), which ends the process. So appends are refused while there is still some room.
 */
export async function openLmdbJournal(options: { readonly directory: string; readonly maxBytes?: number }): Promise<Journal> {
  const { directory } = options;
  const maxBytes = options.maxBytes ?? 1024 * 1024 * 1024;
  // Room for the largest record that the bound lets in, and for the tree.
  const mapBytes = maxBytes * 2 + 64 * 1024 * 1024;
  const pace = new CommitPace(gatherMs);
  // Released ones among them until their segment goes; the last is the one that is written.
  const { segments, empty, records } = await findSegments(directory, mapBytes, pace);
  // When records of an earlier run came is not kept: they are as old as this one.
  const openedAtMs = Date.now();
  // Sequence numbers must not start again after everything was released: checkpoints elsewhere may name them.
  const firstFound = records.found[0]?.sequence ?? Math.max(records.mark, 1, openedAtMs);
  const held = new RecordSizes(firstFound);
  let first = firstFound;
  let next = firstFound;
  let bytes = 0;
  for (const { sequence, size } of records.found) {
    // A gap is an append that failed.
    for (; next < sequence; next += 1) held.push(0, openedAtMs);
    held.push(size, openedAtMs);
    next = sequence + 1;
    bytes += size;
  }
  for (; next < records.mark; next += 1) held.push(0, openedAtMs);

  const segmentAt = (sequence: number): Segment => new Segment(join(directory, `${sequence}${segmentSuffix}`), sequence, mapBytes, pace);
  /** The segment, of those that are not written any more, that was read last. */
  let read: Segment | undefined;
  /** Resolves once what came before the active segment is on disk, or has failed. */
  let before: Promise<unknown> = Promise.resolve();

  let roomLeft = 0;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  /** Bytes that the disk can take, as of a few milliseconds ago and less what was appended since. */
  const room = (): number => {
    const nowMs = performance.now();
    if (nowMs - lookedAtMs > (roomLeft > plentyBytes ? plentyLookMs : roomLookMs)) {
      const { bavail, bsize } = statfsSync(directory);
      roomLeft = bavail * bsize;
      lookedAtMs = nowMs;
    }
    return roomLeft;
  };

  const beginSegment = (): void => {
    const full = active;
    active = segmentAt(next);
    segments.push(active);
    before = Promise.all([before, full.settled()]);
    void full.settled().then(() => full.close());
  };

  const forget = (upTo: number): void => {
    if (upTo <= first) return;
    bytes -= held.between(first, upTo);
    held.drop(upTo);
    first = upTo;
  };

  const removeReleased = async (): Promise<void> => {
    while (segments[0] !== undefined && segments[0] !== active && segments[0].next <= first) {
      const gone = segments.shift();
      if (read === gone) read = undefined;
      await gone?.remove();
    }
  };

  forget(records.mark);
  let active = segmentAt(next);
  segments.push(active);
  await removeReleased();
  // One that begins here goes on, with the mark in it.
  for (const segment of empty) if (segment.first !== next) await segment.remove();

  return {
    append: async (record): Promise<Appended> => {
      const size = overheadBytes + record.bytes.length;
      if (bytes + size > maxBytes) return { is: 'full' };
      if (room() < size + leastRoomBytes)
        throw new Failure(
          'journal-write',
          `the disk of ${directory} is nearly full: make room, or name another place with --data`,
          'later',
        );
      // A small disk gets small segments: what is released must come back before all is full.
      const segmentBytes = Math.min(largestSegmentBytes, Math.max(smallestSegmentBytes, (roomLeft + bytes) / segmentsOfDisk));
      if (active.bytes > 0 && active.bytes + size > segmentBytes) beginSegment();
      roomLeft -= size;
      const sequence = next;
      next += 1;
      bytes += size;
      active.bytes += size;
      held.push(size, record.receivedAtMs);
      const earlier = before;
      try {
        await active.put(sequence, record);
        await earlier;
      } catch (error) {
        bytes -= held.of(sequence);
        held.set(sequence, 0);
        throw error;
      }
      return { is: 'durable', sequence };
    },
    read: (sequence) => {
      if (sequence < first || sequence >= next) return undefined;
      const segment = segments.findLast((one) => one.first <= sequence);
      if (segment !== active && segment !== read) {
        void read?.close();
        read = segment;
      }
      const record = segment?.read(sequence);
      return record === undefined ? undefined : { ...record, receivedAtMs: held.receivedAtMs(sequence) };
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
    receivedAtMs: (sequence) => held.receivedAtMs(sequence),
    release: async (sequence) => {
      forget(Math.min(sequence, next));
      await removeReleased();
      // Without the mark a later start sees again what was released, which harms nobody.
      if (room() > leastRoomBytes / 4) await active.putMark(first);
    },
    close: async () => {
      await Promise.all([before, ...segments.map((segment) => segment.close())]);
    },
  };
}

interface Found {
  /** Segments that have records, oldest first, closed. */
  readonly segments: Segment[];
  /** Those that have none, but perhaps the mark. */
  readonly empty: readonly Segment[];
  readonly records: {
    readonly found: readonly { readonly sequence: number; readonly size: number }[];
    /** Everything before it was released. */
    readonly mark: number;
  };
}

async function findSegments(directory: string, mapBytes: number, pace: CommitPace): Promise<Found> {
  makeDirectory(directory);
  // What journals in one piece held against a full disk.
  rmSync(join(directory, 'reserve'), { force: true });
  const names = readdirSync(directory)
    .filter((name) => /^\d+\.mdb$/.test(name))
    .toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  if (existsSync(join(directory, 'payloads'))) names.unshift('payloads');
  const segments: Segment[] = [];
  const empty: Segment[] = [];
  const found: { sequence: number; size: number }[] = [];
  let mark = 0;
  for (const name of names) {
    const path = join(directory, name);
    const is = stateOf(name === 'payloads' ? join(path, 'data.mdb') : path);
    if (is === 'damaged')
      throw new Failure('journal', `${path} is damaged: restore it, or move it away and go without the payloads that it held`, 'never');
    const segment = new Segment(path, name === 'payloads' ? 0 : Number.parseInt(name, 10), mapBytes, pace);
    if (is === 'blank') {
      await segment.remove();
      continue;
    }
    mark = Math.max(mark, segment.mark());
    for (const { sequence, bytes } of segment.sizes()) {
      const size = overheadBytes + bytes;
      found.push({ sequence, size });
      segment.bytes += size;
      segment.next = sequence + 1;
    }
    await segment.close();
    (segment.bytes > 0 ? segments : empty).push(segment);
  }
  return { segments, empty, records: { found, mark } };
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    const says = error instanceof Error ? error.message : 'unknown';
    throw new Failure('journal', `the journal in ${directory} cannot be opened: ${says}`, 'never', error);
  }
}

/**
 * What a file is by how it starts, because `lmdb` 3.5 ends the process where it meets one that is none of its own. `blank`: it was made, but
 * the power failed before anything in it reached the disk, so nothing in it was acknowledged.
 */
function stateOf(path: string): 'lmdb' | 'blank' | 'damaged' {
  if (!existsSync(path)) return 'blank';
  const file = openSync(path, 'r');
  try {
    const start = Buffer.alloc(Math.min(2 * pageBytes, fstatSync(file).size));
    readSync(file, start);
    if (start.every((byte) => byte === 0)) return 'blank';
    if (start.length < 2 * pageBytes) return 'damaged';
    // Written in the byte order of the machine.
    return start.readUInt32LE(magicAt) === magic || start.readUInt32BE(magicAt) === magic ? 'lmdb' : 'damaged';
  } finally {
    closeSync(file);
  }
}

/** LMDB's `MDB_MAGIC`, and where it stands in each of the two pages that a file begins with: behind the 24 bytes of a page's head. */
const magic = 0xbeefc0de;
const magicAt = 24;
const pageBytes = 4096;

/** Two requests a commit at the load that one core carries, and for that an exporter waits so much longer at most. */
const gatherMs = 16;
/** A new file takes a millisecond or two, so it should hold some seconds of heavy load; what is released comes back by whole files. */
const largestSegmentBytes = 32 * 1024 * 1024;
const smallestSegmentBytes = 1024 * 1024;
const segmentsOfDisk = 16;
/** Appends leave the disk so much: for the pages beside their own, and for marks. */
const leastRoomBytes = 4 * 1024 * 1024;
const roomLookMs = 5;
/** Who else writes to the disk does not fill so much in that time. */
const plentyBytes = 4 * 1024 * 1024 * 1024;
const plentyLookMs = 100;
/** Key, node and page overhead of a record, roughly: a journal of empty payloads is bounded too. */
const overheadBytes = 32;
