import type { Operation, Version } from '../domain/operation.ts';

/**
 * What reads saw of what had just been written: a service that reads an object again in the trace in which it wrote it tells when it
 * asked, by the clock that also told when its commit returned, and whether the replica that it asked showed the change. Reads of other
 * services, whose clocks may differ, say nothing here. Writes count from the end of the span that committed them; a transaction's are
 * told by its COMMIT (see `instrument/`). An event on a span says when a read was answered and not when it was asked: it is left out.
 *
 * Memory is bounded: the oldest writes are forgotten, and of the looks of a round the first are kept.
 */
export interface TracedLook {
  readonly collection: string;
  /** Id of the replica that was asked, or '' where the span has none. */
  readonly replica: string;
  /** Its `host:port`, or ''. */
  readonly host: string;
  /** When the read began, milliseconds since the Unix epoch, and how long after the commit that was. */
  readonly atMs: number;
  readonly afterMs: number;
  readonly isFresh: boolean;
}

export interface ReadLooks {
  /** Operations as they come: a write before the reads that follow it in its trace. */
  fold(operations: readonly Operation[]): void;
  /** What was seen since the last time. */
  drain(): readonly TracedLook[];
}

interface Written {
  readonly version: Version;
  readonly base: Version | undefined;
  readonly endUs: number;
}

/** A read that says something comes soon after the write: of a busy fleet's writes these are the last second's. */
const writesKept = 10_000;
const looksKept = 5_000;

export function createReadLooks(collectionOf: (operation: Operation) => string): ReadLooks {
  const writes = new Map<string, Written>();
  let looks: TracedLook[] = [];

  const fold = (operation: Operation): void => {
    const { facts, kind } = operation;
    const version = facts?.version;
    if (facts === undefined || facts.objectKey === '' || version === undefined || version === '' || operation.failed) return;
    if (kind !== 'read' && kind !== 'write') return;
    const collection = collectionOf(operation);
    if (collection === '') return;
    const name = `${operation.traceId}\u0000${operation.service}\u0000${collection}\u0000${facts.objectKey}`;
    if (kind === 'write') {
      if (facts.transactionOutcome !== 'aborted') writes.set(name, { version, base: facts.versionBase, endUs: operation.endUs });
      const [oldest] = writes.size > writesKept ? writes.keys() : [];
      if (oldest !== undefined) writes.delete(oldest);
      return;
    }
    const written = writes.get(name);
    if (operation.index > 0 || written === undefined || operation.startUs < written.endUs || looks.length >= looksKept) return;
    const isFresh = showsChange(version, written);
    if (isFresh === undefined) return;
    looks.push({
      collection,
      replica: facts.replicaId,
      host: operation.host,
      atMs: operation.startUs / 1000,
      afterMs: (operation.startUs - written.endUs) / 1000,
      isFresh,
    });
  };

  return {
    fold: (operations) => {
      for (const operation of operations) fold(operation);
    },
    drain: () => {
      const drained = looks;
      looks = [];
      return drained;
    },
  };
}

/** Undefined where versions have no order and another one than the written one or the one before was read. */
function showsChange(read: Version, { version, base }: Written): boolean | undefined {
  if (typeof read === 'bigint' && typeof version === 'bigint') return read >= version;
  if (read === version) return true;
  return read === base ? false : undefined;
}
