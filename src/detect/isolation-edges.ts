import {
  a,
  accessStride,
  endedByUs,
  isCircular,
  isIn,
  isIntermediate,
  type IsolationTables,
  kindMask,
  none,
  o,
  objectStride,
  reads,
  rivals,
  t,
  transactionStride,
  v,
  versionStride,
} from './isolation-tables.ts';

export type EdgeKind = 'ww' | 'wr' | 'rw' | 'so';

/** Rows of the tables; `none` where it does not apply. */
export interface Edge {
  readonly kind: EdgeKind;
  readonly from: number;
  readonly to: number;
  /** The version that `from` wrote or read; `none` for a session edge. */
  readonly seen: number;
  /** The version that replaced it, for ww and rw. */
  readonly next: number;
}

/** Takes an edge out of a transaction. */
export type TakeEdge = (kind: EdgeKind, to: number, seen: number, next: number) => void;

/**
 * Edges out of a transaction. They are derived when asked for, so a round of the checker touches what is new and what it leads to, not the
 * whole window, and nothing has to be taken back when a transaction turns out to be aborted.
 */
export function eachEdge(tables: IsolationTables, from: number, take: TakeEdge): void {
  const { transactions, accesses, versions } = tables;
  const words = accesses.words;
  let at = transactions.words[from * transactionStride + t.lastAccess] as number;
  while (at !== none) {
    const access = at * accessStride;
    const kind = (words[access + a.objectAndKind] as number) & kindMask;
    const seen = words[access + a.version] as number;
    at = words[access + a.previous] as number;
    if (kind === rivals) continue;
    if (kind === reads) {
      eachNext(tables, 'rw', from, seen, take);
      continue;
    }
    const version = seen * versionStride;
    if (isOfCircle(tables, version)) continue;
    for (
      let reader = versions.words[version + v.firstReader] as number;
      reader !== none;
      reader = words[reader * accessStride + a.nextReader] as number
    ) {
      const to = words[reader * accessStride + a.transaction] as number;
      if (to !== from && isIn(tables, to)) take('wr', to, seen, none);
    }
    if (((versions.words[version + v.flags] as number) & isIntermediate) === 0) eachNext(tables, 'ww', from, seen, take);
  }
  const after = transactions.words[from * transactionStride + t.after] as number;
  if (after === none || !isIn(tables, after)) return;
  if (endedByUs(tables, from) <= (transactions.doubles[(after * transactionStride + t.startUs) >> 1] as number))
    take('so', after, none, none);
}

/** Versions of an object that came back stand at several places: nothing follows from who read or replaced them. */
function isOfCircle(tables: IsolationTables, version: number): boolean {
  const object = tables.versions.words[version + v.object] as number;
  return ((tables.objects.words[object * objectStride + o.flags] as number) & isCircular) !== 0;
}

/** Edges to whoever wrote what came next after `seen`. */
function eachNext(tables: IsolationTables, kind: 'ww' | 'rw', from: number, seen: number, take: TakeEdge): void {
  const { words, doubles } = tables.versions;
  const version = seen * versionStride;
  if (isOfCircle(tables, version)) return;
  // Whoever read a version that its own writer replaced is told as G1b; the order of versions does not hold that version.
  const skipped =
    kind === 'rw' && ((words[version + v.flags] as number) & isIntermediate) !== 0 ? (words[version + v.writer] as number) : none;
  if (Number.isNaN(doubles[(version + v.order) >> 1])) {
    let next = words[version + v.firstSuccessor] as number;
    while (next !== none) {
      const writer = words[next * versionStride + v.writer] as number;
      if (writer !== none && writer !== skipped && writer !== from && isIn(tables, writer)) take(kind, writer, seen, next);
      next = words[next * versionStride + v.nextSuccessor] as number;
    }
    return;
  }
  for (let next = words[version + v.newer] as number; next !== none; next = words[next * versionStride + v.newer] as number) {
    const at = next * versionStride;
    const writer = words[at + v.writer] as number;
    if (writer === none || ((words[at + v.flags] as number) & isIntermediate) !== 0 || !isIn(tables, writer)) continue;
    if (writer === skipped) return;
    if (writer !== from) take(kind, writer, seen, next);
    const rival = words[at + v.rival] as number;
    if (rival !== none && rival !== from && isIn(tables, rival)) take(kind, rival, seen, next);
    return;
  }
}
