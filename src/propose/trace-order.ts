import type { Divergence } from '../domain/divergence.ts';
import type { Evidence } from '../domain/proposal.ts';
import { type Key, keyText, type Row } from '../domain/row.ts';
import type { WriteEvidence } from '../domain/write-evidence.ts';
import { digestOrAbsent } from './effects.ts';
import type { Situation } from './strategy.ts';

/** Writes that traces showed for one key, oldest first where they can be ordered. */
export function writesOf(situation: Situation, key: Key): readonly WriteEvidence[] {
  const text = keyText(situation.shape.key, key);
  return situation.writes.filter((write) => keyText(situation.shape.key, write.key) === text);
}

/**
 * The committed write that no other committed write follows; null where there is none or two that cannot be ordered. What a
 * write was derived from comes before integer versions, those before hybrid clocks, and the wall clock last: causality does
 * not skew.
 */
export function newestCommitted(writes: readonly WriteEvidence[]): WriteEvidence | null {
  const committed = writes.filter((write) => write.outcome === 'committed' && write.kind !== 'publish-failed');
  let newest: WriteEvidence | null = null;
  for (const write of committed) {
    if (newest === null || isAfter(write, newest)) newest = write;
    else if (!isAfter(newest, write) && !isSameWrite(newest, write)) return null;
  }
  return newest;
}

export function isAfter(a: WriteEvidence, b: WriteEvidence): boolean {
  if (a.versionBase !== undefined && a.versionBase !== '' && a.versionBase === b.version) return true;
  if (b.versionBase !== undefined && b.versionBase !== '' && b.versionBase === a.version) return false;
  // Two writes derived from one version are a fork: neither follows the other, whatever the clocks say.
  if (a.versionBase !== undefined && a.versionBase === b.versionBase && a.version !== b.version) return false;
  if (isInteger(a.version) && isInteger(b.version)) return BigInt(a.version) > BigInt(b.version);
  if (a.hlc !== undefined && b.hlc !== undefined && a.hlc.length === b.hlc.length) return a.hlc > b.hlc;
  return a.atUs > b.atUs;
}

/** A change feed writes the version that it carries on every replica that it reaches: one write, seen several times. */
function isSameWrite(a: WriteEvidence, b: WriteEvidence): boolean {
  return (
    a === b ||
    (a.version !== undefined &&
      a.version !== '' &&
      a.version === b.version &&
      a.kind === b.kind &&
      (a.valueDigest ?? '') === (b.valueDigest ?? ''))
  );
}

/**
 * The column in which services keep the version that they report as `consistency.version`: the one that the options of
 * trace-evidence name, else one that is called `version`.
 */
export function versionColumnOf(situation: Situation): string | null {
  const named = situation.collection.strategyOptions?.['trace-evidence']?.['versionColumn'];
  const wanted = typeof named === 'string' ? named : 'version';
  return situation.shape.columns.some(({ name }) => name === wanted) ? wanted : null;
}

/**
 * The replicas whose row is what `write` left: by its digest, else by the version column; empty where neither can tell. A digest
 * that no row has is often the service's own and not ours, so it says nothing.
 */
export function holdersOf(
  write: WriteEvidence,
  divergence: Divergence,
  situation: Situation,
  versionColumn = versionColumnOf(situation),
): readonly string[] {
  const present = Object.entries(divergence.replicas).flatMap(([replica, row]) => (row === null ? [] : [{ replica, row }]));
  const byDigest = present.filter(
    ({ row }) => write.valueDigest !== undefined && digestOrAbsent(situation.shape, row) === write.valueDigest,
  );
  const holders =
    byDigest.length > 0
      ? byDigest
      : present.filter(({ row }) => versionColumn !== null && write.version !== undefined && row[versionColumn] === write.version);
  return holders.map(({ replica }) => replica).toSorted();
}

/** The evidence that `wanted` would lose a committed write: the newest one left a row that some replica holds and `wanted` is older. */
export function contradictedBy(divergence: Divergence, situation: Situation, wanted: Row | null): Evidence | null {
  const newest = newestCommitted(writesOf(situation, divergence.key));
  if (newest === null) return null;
  const right = digestOrAbsent(situation.shape, wanted);
  const [holder, ...others] = holdersOf(newest, divergence, situation);
  if (holder === undefined) return null;
  if ([holder, ...others].some((replica) => digestOrAbsent(situation.shape, divergence.replicas[replica] ?? null) === right)) return null;
  // Something that no trace shows may have written a still newer version.
  const versionColumn = versionColumnOf(situation);
  const version = versionColumn === null ? null : (wanted?.[versionColumn] ?? null);
  if (isInteger(version ?? undefined) && isInteger(newest.version) && BigInt(version ?? '') > BigInt(newest.version)) return null;
  return {
    ...evidenceOf(newest),
    says: `${newest.service} committed a newer write that only ${[holder, ...others].join(', ')} ${others.length === 0 ? 'holds' : 'hold'}.`,
  };
}

export function evidenceOf(write: WriteEvidence): Evidence {
  const where = write.replica === null ? '' : ` on ${write.replica}`;
  const what =
    write.kind === 'publish-failed'
      ? 'failed to publish the change of a write'
      : write.kind === 'delete'
        ? 'deleted the row'
        : 'wrote the row';
  return {
    id: `span-${write.span.spanId}`,
    kind: 'span',
    says: `${write.service} ${what}${where} (${write.outcome}).`,
    atMs: write.atUs / 1000,
    span: write.span,
    ...(write.replica === null ? {} : { replica: write.replica }),
  };
}

function isInteger(version: string | undefined): version is string {
  return version !== undefined && /^-?\d+$/.test(version);
}
