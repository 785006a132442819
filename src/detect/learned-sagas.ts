import type { Operation } from '../domain/operation.ts';
import { grainUs, skewUs } from './causality.ts';
import { type DetectionContext, type Report, spanOf } from './detector.ts';
import { isInboxName, isOutboxName } from './outbox-table.ts';
import { bareName } from './object-place.ts';
import { leftOpen } from './saga-deadline.ts';
import { rootOf, type TraceView, targetOf } from './trace-view.ts';
import { mayStand, writeOutcomes } from './write-outcome.ts';

/**
 * Sagas without attributes. What a workflow does is learned from its runs: the set of committed changes (service, table, verb) that runs from
 * one root make when nothing fails, and the changes that failed runs make afterwards to take them back. A run that failed, made some of the
 * steps but not all, and did not do what other failed runs do, is worth a look.
 */
interface Workflow {
  runs: number;
  /** How many whole runs made each step. */
  readonly steps: Map<string, number>;
  /** Changes seen after a failure in the services that had committed, by the step they take back. */
  readonly compensations: Map<string, number>;
}

interface HalfRun {
  readonly root: string;
  readonly traceId: string;
  readonly failure: Operation;
  readonly done: ReadonlyMap<string, Operation>;
  readonly complete: boolean;
}

const workflowsMax = 10_000;
const stepsMax = 64;

export interface LearnedSagas {
  inspect(trace: TraceView, report: Report, context: DetectionContext): void;
  advance(atUs: number, report: Report, context: DetectionContext): void;
  finish(atUs: number, report: Report, context: DetectionContext): void;
}

export function createLearnedSagas(settings: { readonly deadlineUs: number; readonly support: number }): LearnedSagas {
  const workflows = new Map<string, Workflow>();
  let halfRuns: HalfRun[] = [];

  const workflowOf = (root: string): Workflow | undefined => {
    let workflow = workflows.get(root);
    if (workflow === undefined && workflows.size < workflowsMax) {
      workflow = { runs: 0, steps: new Map(), compensations: new Map() };
      workflows.set(root, workflow);
    }
    return workflow;
  };

  const tell = (run: HalfRun, report: Report, context: DetectionContext, endsUs: number): void => {
    const workflow = workflows.get(run.root);
    const declared = context.learned.declaredSteps(rootWords(run.root));
    if (declared === 'none' || workflow === undefined || (declared === undefined && workflow.runs < settings.support)) return;
    const usual = declared === undefined ? usualSteps(workflow) : declared.map(parseStep);
    const services = new Set(usual.map((step) => step.split('\0')[0]));
    const missing = usual.filter((step) => !run.done.has(step));
    const done = usual.filter((step) => run.done.has(step));
    if (missing.length === 0 || done.length === 0 || services.size < 2) return;
    // Two services can be any request that failed; a workflow is known by its compensations, or by three services that change together.
    const isSaga = declared !== undefined || done.some((step) => (workflow.compensations.get(step) ?? 0) > 0) || services.size >= 3;
    if (!isSaga) return;
    const [firstStep = ''] = done;
    const first = run.done.get(firstStep);
    if (first === undefined) return;
    const table = targetOf(first);
    const place = context.placeOf(table, first.facts?.domain ?? '');
    const rootName = rootWords(run.root);
    const open = leftOpen(run.failure.endUs, settings.deadlineUs, endsUs);
    report({
      place: `learned\0${run.root}\0${done.join('\u0001')}`,
      grade: 'risk',
      atUs: run.failure.endUs,
      complete: run.complete && open === '',
      spans: [
        spanOf(run.failure),
        ...done.slice(0, 4).flatMap((step) => {
          const operation = run.done.get(step);
          return operation === undefined ? [] : [spanOf(operation)];
        }),
      ],
      domain: place.domainName,
      collection: place.collection ?? table,
      service: run.failure.service,
      facts: { workflow: rootName, runs: workflow.runs, done: done.map(stepWords).join(', '), missing: missing.map(stepWords).join(', ') },
      tell: () => ({
        title: `${rootName} stopped half way: ${done.map(stepWords).join(', ')} stayed`,
        explanation: `${workflow.runs} whole runs of ${rootName} also made ${missing.map(stepWords).join(', ')}; this one failed in ${run.failure.service} after ${done.map(stepWords).join(', ')}, and nothing in its trace took that back.${open}`,
      }),
    });
  };

  /** What earlier processes had learned is taken up once, before the first trace. */
  let isBegun = false;
  const begin = (context: DetectionContext): void => {
    isBegun = true;
    for (const { name, support, steps = [] } of context.learned.knownSagas()) {
      // The root's words are service, then target: the service has no blank.
      const root = name.replace(' ', '\0');
      workflows.set(root, { runs: support, steps: new Map(steps.map((step) => [parseStep(step), support])), compensations: new Map() });
    }
  };

  return {
    inspect(trace, _report, context) {
      if (!isBegun) begin(context);
      if (!trace.hasWrites) return;
      if (halfRuns.length > 0) {
        halfRuns = halfRuns.filter((run) => {
          if (run.traceId !== trace.traceId) return true;
          return learnCompensations(run.done, run.failure, trace, workflowOf(run.root)) === 0;
        });
      }
      if (trace.units.length < 2) return;
      const entry = rootOf(trace);
      if (entry === undefined || entry.parentSpanId !== '') return;
      const done = new Map<string, Operation>();
      for (const unit of trace.units) {
        if (unit.writes.length === 0) continue;
        for (const outcome of writeOutcomes(unit)) {
          const { write } = outcome;
          if (!mayStand(outcome) || done.size >= stepsMax) continue;
          const table = targetOf(write);
          if (table === '' || isOutboxName(table) || isInboxName(table)) continue;
          const step = stepOf(write);
          if (!done.has(step)) done.set(step, write);
        }
      }
      if (done.size === 0) return;
      const root = `${entry.service}\0${entry.target === '' ? entry.spanName : entry.target}`;
      const workflow = workflowOf(root);
      if (workflow === undefined) return;
      const failure = trace.hasFailures ? failureOf(trace, entry) : undefined;
      if (failure === undefined) {
        workflow.runs += 1;
        for (const step of done.keys())
          if (workflow.steps.has(step) || workflow.steps.size < stepsMax) workflow.steps.set(step, (workflow.steps.get(step) ?? 0) + 1);
        note(root, workflow, context);
        return;
      }
      // Clocks differ: a step that seems to come a little after the failure came before it, unless it is one that takes back.
      const before = new Map(
        [...done].filter(([, write]) => write.startUs <= failure.endUs || (write.startUs <= failure.endUs + skewUs && !isUndo(write))),
      );
      if (before.size === 0 || learnCompensations(before, failure, trace, workflow) > 0) return;
      if (halfRuns.length < workflowsMax) halfRuns.push({ root, traceId: trace.traceId, failure, done: before, complete: trace.complete });
    },
    advance(atUs, report, context) {
      if (halfRuns.length === 0) return;
      const open: HalfRun[] = [];
      for (const run of halfRuns) {
        if (run.failure.endUs + settings.deadlineUs > atUs) open.push(run);
        else tell(run, report, context, atUs);
      }
      halfRuns = open;
    },
    finish(atUs, report, context) {
      for (const run of halfRuns) tell(run, report, context, atUs);
      halfRuns = [];
    },
  };
}

function rootWords(root: string): string {
  return root
    .split('\0')
    .filter((part) => part !== '')
    .join(' ');
}

/** Steps that nine in ten whole runs make. */
function usualSteps(workflow: Workflow): readonly string[] {
  return [...workflow.steps].filter(([, count]) => count >= 0.9 * workflow.runs).map(([step]) => step);
}

/** Shows a workflow of several services now and then, as its runs grow: at the third, and at each tenth after. */
function note(root: string, workflow: Workflow, context: DetectionContext): void {
  if (workflow.runs !== 3 && workflow.runs % 10 !== 0) return;
  const steps = usualSteps(workflow);
  const services = new Set(steps.map((step) => step.split('\0')[0]));
  if (services.size < 2 || (services.size < 3 && workflow.compensations.size === 0)) return;
  const least = Math.min(...steps.map((step) => workflow.steps.get(step) ?? 0));
  context.learned.noteSaga(rootWords(root), workflow.runs, Math.min(1, least / workflow.runs), steps.map(plainStep));
}

function plainStep(step: string): string {
  const [service = '', table = '', verb = ''] = step.split('\0');
  return `${service} ${verb} ${table}`;
}

/** `service verb table` -> the key of a step. */
function parseStep(text: string): string {
  const [service = '', verb = '', table = ''] = text.split(' ');
  return `${service}\0${bareName(table)}\0${verb}`;
}

/** The change that did not happen: the failed unit of work or statement that nothing later repeats. */
function failureOf(trace: TraceView, root: Operation): Operation | undefined {
  let failure: Operation | undefined;
  for (const unit of trace.units) {
    for (const operation of [unit.entry, ...unit.writes, ...unit.calls]) {
      if (!operation.failed && operation.httpStatus < 500) continue;
      if (operation === root) continue;
      if (
        trace.operations.some(
          (other) =>
            other.startUs >= operation.endUs - grainUs &&
            !other.failed &&
            other.kind === operation.kind &&
            other.service === operation.service &&
            other.target === operation.target,
        )
      )
        continue;
      if (failure === undefined || operation.endUs < failure.endUs) failure = operation;
    }
  }
  return failure;
}

/** Counts changes after the failure that touch what was done before; returns how many steps were taken back. */
function learnCompensations(
  done: ReadonlyMap<string, Operation>,
  failure: Operation,
  trace: TraceView,
  workflow: Workflow | undefined,
): number {
  let taken = 0;
  for (const [step, write] of done) {
    const isTaken = trace.units.some(
      (unit) =>
        unit.service === write.service &&
        unit.writes.some(
          (other) =>
            !other.failed &&
            other.startUs >= failure.startUs - (isUndo(other) ? skewUs : 0) &&
            other !== write &&
            (other.kind === 'compensate' || other.kind === 'delete' || isChange(other)) &&
            bareName(targetOf(other)) === bareName(targetOf(write)),
        ),
    );
    if (!isTaken) continue;
    taken += 1;
    if (workflow !== undefined) workflow.compensations.set(step, (workflow.compensations.get(step) ?? 0) + 1);
  }
  return taken;
}

function isUndo(write: Operation): boolean {
  return write.kind === 'delete' || write.kind === 'compensate' || write.statement?.verb === 'delete';
}

function isChange(write: Operation): boolean {
  const verb = write.statement?.verb;
  return verb === 'update' || verb === 'delete' || verb === 'insert' || verb === undefined;
}

function stepOf(write: Operation): string {
  return `${write.service}\0${bareName(targetOf(write))}\0${write.statement?.verb ?? write.kind}`;
}

function stepWords(step: string): string {
  const [service = '', table = '', verb = ''] = step.split('\0');
  return `${service} ${verb} \`${table}\``;
}
