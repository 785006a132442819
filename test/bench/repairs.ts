import { createRng } from '../../src/base/rng.ts';
import type { Outcome } from '../../src/domain/outcome.ts';
import type { Candidate } from '../../src/domain/proposal.ts';
import type { Row } from '../../src/domain/row.ts';
import { decide } from '../../src/guard/verdict.ts';
import { type Calibration, calibrate, strategyRecord } from '../../src/propose/calibrate.ts';
import { proposeCandidates } from '../../src/propose/candidates.ts';
import { digestOrAbsent } from '../../src/propose/effects.ts';
import { buildProposal } from '../../src/propose/proposal.ts';
import { rankCandidates } from '../../src/propose/rank.ts';
import { isCache } from '../../src/propose/replica-roles.ts';
import type { Bench } from './bench.ts';
import { divergedWorld, type World } from './diverged-world.ts';

/** Histories to learn from come before the worlds that are judged, and from other seeds. */
const learnSeed = 11;
const judgeSeed = 20_260_101;

interface Judged {
  readonly kind: string;
  readonly strategy: string;
  readonly confidence: number;
  readonly isRight: boolean;
  readonly isTaken: boolean;
}

export const bench: Bench = {
  name: 'repairs',
  says: 'repairs of simulated divergences whose truth is known: automatic ones right or harmful, left to people, and how true the confidence is; against declared order without abstention',
  run: async ({ quick, log }) => {
    const learned = worlds(learnSeed, quick ? 4_000 : 20_000);
    const judged = worlds(judgeSeed, quick ? 12_000 : 60_000);
    // People looked at the first worlds and undid what was wrong: the history that calibration learns from.
    let outcomes: Outcome[] = [];
    let calibration = calibrate([]);
    for (const [index, world] of learned.entries()) {
      const result = judge(world, calibration, index);
      if (result !== null) outcomes.push(outcomeOf(world, result, index));
      if (index % 500 === 499) {
        // As the service does: the last ones count.
        outcomes = outcomes.slice(-2_000);
        calibration = calibrate(outcomes);
      }
    }
    const results = judged.map((world, index) => judge(world, calibration, index));
    const proposed = results.filter((result) => result !== null);
    const taken = proposed.filter(({ isTaken }) => isTaken);
    const wrong = taken.filter(({ isRight }) => !isRight).length;
    for (const [kind, list] of Map.groupBy(proposed, (each) => each.kind)) {
      const mine = list.filter(({ isTaken }) => isTaken);
      log(
        `${kind}: ${list.length} proposed, ${mine.length} taken, ${mine.filter(({ isRight }) => !isRight).length} wrong; right of all ${share(list.filter(({ isRight }) => isRight).length, list.length)}`,
      );
    }
    for (const [strategy, list] of Map.groupBy(taken, (each) => each.strategy))
      log(`${strategy}: ${list.length} taken, ${list.filter(({ isRight }) => !isRight).length} wrong`);
    const naive = judged.map(naiveRepair);
    const naiveTaken = naive.filter((isRight) => isRight !== null);
    const naiveWrong = naiveTaken.filter((isRight) => !isRight).length;
    return {
      figures: {
        correct_share: share(taken.length - wrong, taken.length),
        harmful_share_upper95: wilsonUpper95(wrong, taken.length),
        abstained_share: share(judged.length - taken.length, judged.length),
        ece: calibrationError(proposed),
        ece_auto: calibrationError(taken),
        proposed_share: share(proposed.length, judged.length),
        proposed_correct_share: share(proposed.filter(({ isRight }) => isRight).length, proposed.length),
        divergences: judged.length,
      },
      baseline: {
        correct_share: share(naiveTaken.length - naiveWrong, naiveTaken.length),
        harmful_share_upper95: wilsonUpper95(naiveWrong, naiveTaken.length),
        abstained_share: share(judged.length - naiveTaken.length, judged.length),
      },
    };
  },
};

function worlds(seed: number, count: number): readonly World[] {
  const rng = createRng(seed);
  const found: World[] = [];
  while (found.length < count) {
    const world = divergedWorld(rng);
    if (world !== null) found.push(world);
  }
  return found;
}

/** The heuristic's best proposal, whether the guard lets it run by itself, and whether it gives every replica the true row. */
function judge(world: World, calibration: Calibration, index: number): Judged | null {
  const { situation } = world;
  const ranked = rankCandidates(situation, proposeCandidates(situation).candidates, calibration);
  const [chosen] = ranked;
  if (chosen === undefined) return null;
  const proposal = buildProposal({
    id: `P${index}`,
    caseId: 'C',
    situation,
    ranked,
    chosen,
    choice: { by: 'heuristic' },
    author: 'homeostat',
    nowMs: situation.nowMs,
  });
  const verdict = decide(
    {
      proposal,
      domain: situation.domain,
      collection: situation.collection,
      nowMs: situation.nowMs,
      isConfirmed: true,
      freeze: null,
      breaker: null,
      rowsLastHour: 0,
      caseReturns: 0,
      // Autonomy that was lost is assumed to have been earned back: what is measured is the choice itself.
      record: { ...strategyRecord(calibration, world.kind, chosen.strategy), failed: 0 },
    },
    undefined,
  );
  return {
    kind: world.kind,
    strategy: chosen.strategy,
    confidence: chosen.confidence,
    isRight: isTrueAfter(world, chosen),
    isTaken: verdict.is === 'auto',
  };
}

function isTrueAfter({ situation, truth }: World, candidate: Candidate): boolean {
  const [divergence] = situation.divergences;
  if (divergence === undefined) return false;
  const after: Record<string, Row | null> = { ...divergence.replicas };
  for (const effect of candidate.effects) after[effect.replica] = effect.after;
  const right = digestOrAbsent(situation.shape, truth);
  return Object.entries(after).every(
    ([replica, row]) => (row === null && isCache(situation.collection, replica)) || digestOrAbsent(situation.shape, row) === right,
  );
}

/** What a tool without doubt does: the first of authority, newest clock, majority, leader that has an answer. */
function naiveRepair(world: World): boolean | null {
  for (const strategy of ['authority', 'last-writer-wins', 'majority', 'resync-follower', 'cache-invalidate']) {
    const [candidate] = proposeCandidates(world.situation, strategy).candidates;
    if (candidate !== undefined) return isTrueAfter(world, candidate);
  }
  return null;
}

function outcomeOf(world: World, judged: Judged, index: number): Outcome {
  return {
    proposalId: `P${index}`,
    caseId: 'C',
    domain: world.kind,
    collection: world.kind,
    strategy: judged.strategy,
    chosenBy: 'heuristic',
    is: judged.isRight ? 'verified' : 'undone',
    confidence: judged.confidence,
    rows: 1,
    atMs: index,
  };
}

/** Expected calibration error over ten equal bins: how far stated confidence is from the share that was right. */
function calibrationError(judged: readonly Judged[]): number {
  const bins = Map.groupBy(judged, ({ confidence }) => Math.min(9, Math.floor(confidence * 10)));
  let error = 0;
  for (const list of bins.values()) {
    const stated = list.reduce((sum, { confidence }) => sum + confidence, 0) / list.length;
    const right = list.filter(({ isRight }) => isRight).length / list.length;
    error += (list.length / judged.length) * Math.abs(stated - right);
  }
  return error;
}

function share(part: number, all: number): number {
  return all === 0 ? 0 : Math.round((part / all) * 100_000) / 100_000;
}

/** Upper end of the 95 % Wilson interval of a share: what the error could still be after `right` of `all`. */
function wilsonUpper95(wrong: number, all: number): number {
  if (all === 0) return 1;
  const z = 1.959964;
  const share = wrong / all;
  const centre = share + (z * z) / (2 * all);
  const spread = z * Math.sqrt((share * (1 - share)) / all + (z * z) / (4 * all * all));
  return Math.min(1, (centre + spread) / (1 + (z * z) / all));
}
