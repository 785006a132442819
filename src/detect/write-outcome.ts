import type { Operation } from '../domain/operation.ts';
import { storeOf, type Unit } from './trace-view.ts';

/** What became of one write, as far as its unit's spans tell. */
export interface WriteOutcome {
  readonly write: Operation;
  readonly is: 'committed' | 'aborted' | 'unknown';
  /** When others could see it, or when it was lost. */
  readonly settledUs: number;
  /** The COMMIT, ROLLBACK or transaction span that settled it; undefined for a statement on its own. */
  readonly settledBy: Operation | undefined;
  /** Unknown because this service's instrumentation does not show how transactions end, and its request failed. */
  readonly isHidden?: boolean;
}

/**
 * Languages whose instrumentations show statements but not BEGIN, COMMIT and ROLLBACK (JDBC and JPA, the Python DB-API, EF Core, Active
 * Record, PDO), and whose frameworks roll back when a request fails.
 */
const hidesTransactions = new Set(['java', 'python', 'dotnet', 'ruby', 'php']);

/**
 * Outcomes of a unit's writes, in their order. Spans rarely name their transaction; what shows are BEGIN, COMMIT and ROLLBACK statements
 * on the same store, spans such as Hibernate's `Transaction.commit` around the flush, and the attributes. A statement without any of
 * these that did not fail stands by itself: committed when it ended, unless the request failed afterwards in a service whose transactions
 * never show: then it may have been rolled back.
 */
export function writeOutcomes(unit: Unit): readonly WriteOutcome[] {
  if (unit.outcomes === undefined) {
    // Most units show no transactions.
    const courses = unit.transactions.length === 0 ? undefined : new Map<string, Course>();
    unit.outcomes = unit.writes.map((write) => outcomeOf(unit, write, courses));
  }
  return unit.outcomes;
}

/** The transactions of a unit on one store: their steps in order of starts, and how it stood before each. Makes a batch's cost linear. */
interface Course {
  readonly steps: readonly Operation[];
  readonly verbs: readonly ReturnType<typeof verbOf>[];
  /** Of each step: when the transaction began that is open before it, if all before it came first. */
  readonly openUs: readonly (number | undefined)[];
  /** When the last step began that ends a transaction. */
  readonly lastEndUs: number;
}

function courseOf({ transactions }: Unit, store: string, courses: Map<string, Course>): Course {
  let course = courses.get(store);
  if (course === undefined) {
    const steps = inTurn(transactions.filter((step) => storeOf(step) === store).toSorted((a, b) => a.startUs - b.startUs));
    const verbs = steps.map(verbOf);
    const openUs: (number | undefined)[] = [undefined];
    let lastEndUs = Number.NEGATIVE_INFINITY;
    for (const [n, step] of steps.entries()) {
      const verb = verbs[n];
      openUs.push(verb === 'begin' ? step.startUs : verb === 'other' ? openUs[n] : undefined);
      if (verb === 'commit' || verb === 'rollback') lastEndUs = step.startUs;
    }
    course = { steps, verbs, openUs, lastEndUs };
    courses.set(store, course);
  }
  return course;
}

/** Steps in order of starts, those of one millisecond by what can come next: what is begun ends before another begins. */
function inTurn(steps: Operation[]): readonly Operation[] {
  let isOpen = false;
  for (let at = 0; at < steps.length; at += 1) {
    const first = steps[at] as Operation;
    for (let other = at; steps[other]?.startUs === first.startUs; other += 1) {
      const step = steps[other] as Operation;
      if ((verbOf(step) === 'begin') === isOpen) continue;
      // Mostly it stands there already.
      if (other > at) steps.copyWithin(at + 1, at, other);
      steps[at] = step;
      break;
    }
    const verb = verbOf(steps[at] as Operation);
    if (verb !== 'other') isOpen = verb === 'begin';
  }
  return steps;
}

/** The first step that did not begin before. */
function firstFrom(steps: readonly Operation[], startUs: number): number {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((steps[middle] as Operation).startUs < startUs) low = middle + 1;
    else high = middle;
  }
  return low;
}

function outcomeOf(unit: Unit, write: Operation, courses: Map<string, Course> | undefined): WriteOutcome {
  if (write.facts !== undefined && write.facts.transactionId !== '' && write.facts.transactionOutcome !== 'committed') {
    return { write, is: write.facts.transactionOutcome, settledUs: write.endUs, settledBy: undefined };
  }
  if (write.failed) return { write, is: 'aborted', settledUs: write.endUs, settledBy: write };
  if (write.facts?.transactionOutcome === 'aborted') return { write, is: 'aborted', settledUs: write.endUs, settledBy: undefined };
  if (write.facts?.transactionOutcome === 'unknown') return { write, is: 'unknown', settledUs: write.endUs, settledBy: undefined };
  if (courses !== undefined) {
    const course = courseOf(unit, storeOf(write), courses);
    let at = firstFrom(course.steps, write.startUs);
    /** When the transaction began that is open. */
    let openUs = course.openUs[at];
    for (; at < course.steps.length; at += 1) {
      const step = course.steps[at] as Operation;
      const verb = course.verbs[at] ?? 'other';
      const isFirst = isBefore(step, verb, write, openUs, course);
      if (isFirst === undefined) return { write, is: 'unknown', settledUs: step.endUs, settledBy: undefined };
      if (isFirst) {
        if (verb === 'begin') openUs = step.startUs;
        else if (verb !== 'other') openUs = undefined;
        continue;
      }
      // An explicit COMMIT or ROLLBACK after the write settles it even where BEGIN was not seen (drivers that pipeline it).
      if (verb === 'begin' && openUs === undefined) break;
      if (verb === 'rollback') return { write, is: 'aborted', settledUs: step.endUs, settledBy: step };
      if (verb === 'commit') {
        if (!step.failed) return { write, is: 'committed', settledUs: step.endUs, settledBy: step };
        // A COMMIT that the server refused is an abort; one whose answer was lost may have happened.
        return {
          write,
          is: step.sqlState !== '' && !step.sqlState.startsWith('08') ? 'aborted' : 'unknown',
          settledUs: step.endUs,
          settledBy: step,
        };
      }
    }
    if (openUs !== undefined) return { write, is: 'unknown', settledUs: write.endUs, settledBy: undefined };
  }
  for (const span of unit.commits) {
    if (span.startUs <= write.startUs && write.endUs <= span.endUs) {
      const isRollback = span.spanName === 'Transaction.rollback';
      return { write, is: isRollback || span.failed ? 'aborted' : 'committed', settledUs: span.endUs, settledBy: span };
    }
  }
  const isUnclear =
    (unit.entry.failed || unit.entry.httpStatus >= 400) &&
    unit.entry !== write &&
    unit.transactions.length === 0 &&
    hidesTransactions.has(write.language ?? '');
  if (isUnclear) return { write, is: 'unknown', settledUs: write.endUs, settledBy: undefined, isHidden: true };
  return { write, is: 'committed', settledUs: write.endUs, settledBy: undefined };
}

/**
 * Whether a step came before a write on its store; undefined where nothing tells. OpenTelemetry's SDK for JavaScript begins spans on whole
 * milliseconds and measures how long they take, so that of two in one millisecond either may seem to end first, whichever came first. What
 * they are tells it then: a BEGIN is for what follows, a COMMIT for what was before it, unless another transaction begins in that millisecond
 * too. After a ROLLBACK a program often writes down why, so that could be either.
 */
function isBefore(
  step: Operation,
  verb: ReturnType<typeof verbOf>,
  write: Operation,
  openUs: number | undefined,
  course: Course,
): boolean | undefined {
  if (step.startUs !== write.startUs) return step.startUs < write.startUs;
  if (step.endUs === step.startUs && write.endUs > write.startUs) return true;
  if (write.endUs === write.startUs && step.endUs > step.startUs) return false;
  switch (verb) {
    case 'begin':
      return openUs === undefined;
    case 'commit':
      return openUs !== undefined && step.endUs < write.endUs && hasNext(course, step, openUs);
    case 'rollback':
      return undefined;
    case 'other':
      return false;
  }
}

/** Whether another transaction than that of `openUs` begins on the store in the millisecond in which `commit` does, and ends in a later one. */
function hasNext({ steps, verbs, lastEndUs }: Course, commit: Operation, openUs: number): boolean {
  let begun = 0;
  for (let at = firstFrom(steps, commit.startUs); steps[at]?.startUs === commit.startUs; at += 1) if (verbs[at] === 'begin') begun += 1;
  return begun > (openUs === commit.startUs ? 1 : 0) && lastEndUs > commit.startUs;
}

export function verbOf(operation: Operation): 'begin' | 'commit' | 'rollback' | 'other' {
  const verb = operation.statement?.verb;
  if (verb === 'begin' || verb === 'commit' || verb === 'rollback') return verb;
  const name = operation.spanName.toLowerCase();
  if (name.includes('rollback')) return 'rollback';
  if (name.includes('commit')) return 'commit';
  if (name.includes('begin') || name.includes('start transaction')) return 'begin';
  return 'other';
}

/** Committed as far as anything shows: nothing speaks against it. Enough for what the code permits, not for a proof. */
export function mayStand(outcome: WriteOutcome): boolean {
  return outcome.is === 'committed' || outcome.isHidden === true;
}

/** Whether the unit prepares a transaction on a store for two-phase commit. */
export function hasTwoPhaseCommit(unit: Unit): boolean {
  return unit.transactions.some((step) =>
    /\b(prepare transaction|commit prepared|xa (start|begin|end|prepare|commit))\b/i.test(step.statement?.fingerprint ?? step.spanName),
  );
}
