/** Where `homeostat diff` keeps how far a long comparison has come, so that `--resume` can go on after a crash or Ctrl-C. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Failure } from '../../base/failure.ts';
import type { Collection } from '../../domain/collection.ts';

const saved = z.object({
  key: z.array(z.string()),
  replicas: z.array(z.string()),
  after: z.record(z.string(), z.string()),
  rowsDone: z.number(),
  differing: z.number(),
});
export type SavedCheckpoint = z.infer<typeof saved>;

export interface CheckpointFile {
  /** Throws `Failure('nothing-to-resume')` where there is none, or it is of other replicas. */
  read(): SavedCheckpoint;
  write(checkpoint: Pick<SavedCheckpoint, 'after' | 'rowsDone' | 'differing'>): void;
  remove(): void;
}

export function checkpointFile(dataDir: string, collection: Collection): CheckpointFile {
  const file = join(dataDir, `diff-${encodeURIComponent(collection.name)}.json`);
  const replicas = collection.replicas.map((replica) => replica.id).toSorted();
  return {
    read: () => {
      let text: string;
      try {
        text = readFileSync(file, 'utf8');
      } catch (error) {
        throw new Failure(
          'nothing-to-resume',
          `No comparison of ${collection.name} was cut short here: run it without --resume.`,
          'never',
          error,
        );
      }
      const parsed = saved.safeParse(parseJson(text));
      const isSame =
        parsed.success &&
        JSON.stringify(parsed.data.key) === JSON.stringify(collection.key) &&
        JSON.stringify(parsed.data.replicas) === JSON.stringify(replicas);
      if (isSame) return parsed.data;
      throw new Failure(
        'nothing-to-resume',
        `What was cut short was a comparison of other replicas, or by another key, of ${collection.name}: run it without --resume.`,
        'never',
      );
    },
    write: (checkpoint) => {
      mkdirSync(dataDir, { recursive: true });
      // A crash in between leaves the last one whole.
      writeFileSync(`${file}.new`, JSON.stringify({ key: collection.key, replicas, ...checkpoint }));
      renameSync(`${file}.new`, file);
    },
    remove: () => rmSync(file, { force: true }),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
