import type { Anomaly, Grade } from '../../../src/domain/anomaly.ts';
import type { Truth, TruthLog } from './truth.ts';

export interface Score {
  readonly truths: number;
  readonly found: number;
  readonly findings: number;
  readonly wrong: number;
}

export interface Scoring {
  /** `kind/grade` -> score. */
  readonly scores: ReadonlyMap<string, Score>;
  readonly missed: readonly Truth[];
  readonly wrong: readonly Anomaly[];
}

/**
 * A fault is found if a finding of its kind and grade (and isolation class) has a span of one of its traces. A finding is wrong if no
 * trace that it cites truly shows its kind.
 */
export function score(log: TruthLog, findings: readonly Anomaly[]): Scoring {
  const scores = new Map<string, { truths: number; found: number; findings: number; wrong: number }>();
  const at = (kind: string, grade: Grade) => {
    const id = `${kind}/${grade}`;
    let known = scores.get(id);
    if (known === undefined) {
      known = { truths: 0, found: 0, findings: 0, wrong: 0 };
      scores.set(id, known);
    }
    return known;
  };
  const cited = new Map<string, Anomaly[]>();
  const wrong: Anomaly[] = [];
  for (const finding of findings) {
    const entry = at(finding.kind, finding.grade);
    entry.findings += 1;
    let isTrue = false;
    for (const span of finding.spans) {
      isTrue ||= log.allowed.get(span.traceId)?.has(finding.kind) === true;
      const citing = cited.get(span.traceId);
      if (citing === undefined) cited.set(span.traceId, [finding]);
      else citing.push(finding);
    }
    if (isTrue) continue;
    entry.wrong += 1;
    wrong.push(finding);
  }
  const missed: Truth[] = [];
  for (const fault of log.faults.values()) {
    const entry = at(fault.kind, fault.grade);
    entry.truths += 1;
    const isFound = [...fault.traces].some((trace) =>
      (cited.get(trace) ?? []).some(
        (finding) =>
          finding.kind === fault.kind && finding.grade === fault.grade && (fault.model === undefined || finding.model === fault.model),
      ),
    );
    if (isFound) entry.found += 1;
    else missed.push(fault);
  }
  return { scores, missed, wrong };
}

export function precisionOf(score: Score): number {
  return score.findings === 0 ? 1 : (score.findings - score.wrong) / score.findings;
}

export function recallOf(score: Score): number {
  return score.truths === 0 ? 1 : score.found / score.truths;
}
