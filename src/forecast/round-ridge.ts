import { examplesOf, type Member } from './examples.ts';
import { fitRidge } from './ridge.ts';
import { comparedFrom, type RoundRidge } from './round.ts';
import { stepChange } from './window.ts';

/** Windows that the pooled ridge is fitted on between rounds: a fifth of a second's work. */
export const ridgeExamples = 6_000;

/** Fits on what is known now. Null where there is too little for one of them. */
export function fitRidges(members: readonly Member[], unseenFromMs: number | undefined): RoundRidge | null {
  const judged = fitRidge(examplesOf(olderParts(members, unseenFromMs), ridgeExamples));
  const newest = fitRidge(examplesOf(members, ridgeExamples));
  return judged === null || newest === null ? null : { judged, newest, settled: newest };
}

/** `settled` is kept while what it was made from, which `of` is a print of, is the same. */
export interface KeptRidges {
  readonly of: number;
  readonly settled: RoundRidge | null;
  readonly ridges: RoundRidge | null;
}

/**
 * The same for a running service, whose series are steady: only the newest, which so follows a rise that began an hour ago, is fitted every
 * round; the others are as of what is settled, and change with that.
 */
export function refitRidges(members: readonly Member[], unseenFromMs: number | undefined, before: KeptRidges | null): KeptRidges {
  const settled = members.flatMap((member) => {
    const { settled: upTo, grid } = member;
    return upTo === undefined ? [] : [{ ...member, upTo, unit: stepChange(grid.values, upTo) }];
  });
  // Each unit is a sum over all that is settled of a series.
  let of = unseenFromMs ?? 0;
  for (const { grid, upTo, unit } of settled) of = 0.999 * of + unit + Math.round(grid.startMs / grid.stepMs) + upTo;
  const kept = before?.of === of ? before.settled : fitRidges(settled, unseenFromMs);
  if (kept === null) return { of, settled: null, ridges: fitRidges(members, unseenFromMs) };
  const newest = fitRidge(examplesOf(members, ridgeExamples));
  return { of, settled: kept, ridges: newest === null ? null : { ...kept, newest } };
}

/** What a ridge may learn from so that it is compared on windows that it has not seen. */
export function olderParts(members: readonly Member[], unseenFromMs: number | undefined): readonly Member[] {
  return members.map((member) => ({ ...member, upTo: Math.min(member.upTo, comparedFrom(member, unseenFromMs)) }));
}
