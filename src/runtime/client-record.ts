import type { ClientLegs } from '../forecast/client-legs.ts';
import type { CoordinatedOperation, LeftOut } from '../forecast/replica-legs.ts';

/** What clients that ask every replica themselves were seen to do, of the last hour and within bounds. */
export interface ClientRecord {
  see(drained: readonly ClientLegs[], nowMs: number): void;
  /** Null where nothing was seen. */
  of(collection: string, nowMs: number): ClientFacts | null;
}

export interface ClientFacts {
  /** The oldest first. */
  readonly operations: readonly CoordinatedOperation[];
  readonly leftOut: LeftOut;
  /** Operations that were seen and are not among these: more came than are kept. */
  readonly madeWay: number;
}

interface Piece {
  readonly atMs: number;
  operations: readonly CoordinatedOperation[];
  readonly leftOut: LeftOut;
  madeWay: number;
}

const keptMs = 3_600_000;
/** Of one collection: the slowest of a hundred is known from fewer, and what is made of them takes a fifth of a second. */
const mostOperations = 12_000;

export function createClientRecord(mostKept = mostOperations): ClientRecord {
  const pieces = new Map<string, Piece[]>();
  const forget = (kept: readonly Piece[], nowMs: number): Piece[] => kept.filter(({ atMs }) => atMs > nowMs - keptMs);

  return {
    see: (drained, nowMs) => {
      for (const { collection, operations, leftOut, madeWay } of drained) {
        const kept = forget(pieces.get(collection) ?? [], nowMs);
        kept.push({ atMs: nowMs, operations, leftOut, madeWay });
        // Where most are, every second one goes: the whole hour stays in the record, and not its last busy minutes.
        while (kept.reduce((sum, piece) => sum + piece.operations.length, 0) > mostKept) halve(largestOf(kept));
        pieces.set(collection, kept);
      }
    },
    of: (collection, nowMs) => {
      const kept = forget(pieces.get(collection) ?? [], nowMs);
      const operations = kept.flatMap((piece) => piece.operations).toSorted((a, b) => a.startUs - b.startUs);
      if (operations.length === 0) return null;
      const sum = (of: (piece: Piece) => number): number => kept.reduce((total, piece) => total + of(piece), 0);
      return {
        operations,
        leftOut: {
          alone: sum(({ leftOut }) => leftOut.alone),
          failed: sum(({ leftOut }) => leftOut.failed),
          repeated: sum(({ leftOut }) => leftOut.repeated),
        },
        madeWay: sum(({ madeWay }) => madeWay),
      };
    },
  };
}

const largestOf = (kept: readonly Piece[]): Piece | undefined => kept.toSorted((a, b) => b.operations.length - a.operations.length)[0];

/** Drops every second read and every second write. */
function halve(piece: Piece | undefined): void {
  if (piece === undefined) return;
  let [reads, writes] = [0, 0];
  const before = piece.operations.length;
  piece.operations = piece.operations.filter(({ kind }) => (kind === 'read' ? (reads += 1) : (writes += 1)) % 2 === 0);
  piece.madeWay += before - piece.operations.length;
}
