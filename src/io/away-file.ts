import { openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { Failure } from '../base/failure.ts';
import { type Away, chunkBytes } from '../ingest/due-memory.ts';

/**
 * Keeps what waits in a file without a name, which is gone with the process: the system has it in its cache, and on the disk only if it waits
 * long. Opened when it is first needed. Where the disk is full, or nothing can be written there, what waits stays in memory. Reading and
 * writing block, for what copying takes. A thread's files are closed with it.
 */
export function openAwayFile(directory: string): Away {
  let file: number | undefined;
  let end = 0;
  const free: number[] = [];

  const open = (): number => {
    const path = join(directory, `waiting-${process.pid}-${threadId}`);
    const opened = openSync(path, 'w+', 0o600);
    unlinkSync(path);
    return opened;
  };

  return {
    putAway(bytes) {
      try {
        file ??= open();
        const place = free.at(-1) ?? end;
        if (writeSync(file, bytes, 0, bytes.length, place * chunkBytes) < bytes.length) return undefined;
        if (place === end) end += 1;
        else free.pop();
        return place;
      } catch {
        return undefined;
      }
    },
    bringBack(place, into) {
      for (let at = 0; at < into.length; ) {
        const read = readSync(file as number, into, at, into.length - at, place * chunkBytes + at);
        if (read === 0)
          throw new Failure('waiting-file-short', 'the file of spans that wait is shorter than what was written to it', 'later');
        at += read;
      }
      free.push(place);
    },
    drop: (place) => void free.push(place),
  };
}
