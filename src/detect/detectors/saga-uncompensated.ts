import type { Operation } from '../../domain/operation.ts';
import { type Report, spanOf, traceDetector } from '../detector.ts';
import { exampleOperations, type Step } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { createLearnedSagas } from '../learned-sagas.ts';
import { leftOpen } from '../saga-deadline.ts';

interface SagaStep {
  done: Operation | undefined;
  failed: Operation | undefined;
  undone: Operation | undefined;
}

interface Saga {
  readonly id: string;
  name: string;
  readonly steps: Map<string, SagaStep>;
  domain: string;
  told: boolean;
}

/** Steps run in several services, whose clocks differ. */
const skewUs = 100_000;
/** How long after the deadline it is waited for a sign of a service of the saga. */
const signUs = 30_000_000;

/** A saga stopped half way and did not take back what it had done. */
export const sagaUncompensated = traceDetector(
  {
    id: 'saga-uncompensated',
    scope: 'message',
    concerns: ['facts', 'writes'],
    grades: ['proven', 'risk'],
    title: 'Saga stopped half way',
    sentence: 'A step of a saga failed, and steps that had been committed before were not compensated within the deadline.',
    fix: 'Keep the saga’s progress durably, so that after a crash it goes on compensating; give each step a compensation that can be repeated, and alert on sagas that are neither finished nor compensated.',
    needs: 'nothing (risk, steps learned); consistency.saga.id, .step, .outcome (proven)',
    options: {
      deadlineMs: {
        is: 'number',
        unit: 'ms',
        default: 30_000,
        min: 1,
        max: 86_400_000,
        says: 'How long after the failure a compensation may still come.',
      },
      support: {
        is: 'number',
        unit: 'count',
        default: 3,
        min: 1,
        max: 10_000,
        says: 'How many complete runs teach the steps of a saga that has no attributes.',
      },
    },
    example: () => booking(false),
    twin: () => booking(true),
  },
  (settings, context) => {
    const deadlineUs = settings.deadlineMs * 1000;
    const sagas = createExpiringMap<Saga>(Math.max(3_600_000_000, 4 * deadlineUs));
    const failing = new Map<Saga, number>();
    const learned = createLearnedSagas({ deadlineUs, support: settings.support });

    const step = (operation: Operation): void => {
      const facts = operation.facts;
      if (facts === undefined || facts.sagaId === '' || operation.kind === 'read') return;
      let saga = sagas.get(facts.sagaId, operation.endUs);
      if (saga === undefined) {
        saga = { id: facts.sagaId, name: facts.sagaName, steps: new Map(), domain: facts.domain, told: false };
        sagas.set(facts.sagaId, saga, operation.endUs);
      }
      if (saga.name === '') saga.name = facts.sagaName;
      const outcome = facts.sagaOutcome.toLowerCase();
      const name = facts.sagaStep;
      const isUndo =
        operation.kind === 'compensate' ||
        /compensat|undone|reverted|rolled/.test(outcome) ||
        /^(undo|compensate|cancel|revert|rollback|release|refund)[-_ .:]/i.test(name);
      // A span that speaks of the saga as a whole names no step.
      if (name === '' && !isUndo && operation.kind !== 'saga-step') return;
      if (isUndo) {
        if (operation.failed || facts.transactionOutcome === 'aborted') return;
        const undone = undoneStep(saga, operation);
        if (undone !== undefined && (undone.undone === undefined || operation.endUs > undone.undone.endUs)) undone.undone = operation;
        return;
      }
      let known = saga.steps.get(name);
      if (known === undefined) {
        // A saga has a handful of steps; a sender of endless names must not fill memory.
        if (saga.steps.size >= 256) return;
        known = { done: undefined, failed: undefined, undone: undefined };
        saga.steps.set(name, known);
      }
      const isFailed = operation.failed || /fail|abort|error|reject|timeout|timed/.test(outcome) || facts.transactionOutcome === 'aborted';
      if (isFailed) {
        if (known.failed === undefined || operation.endUs > known.failed.endUs) known.failed = operation;
        failing.set(saga, Math.max(operation.endUs, failing.get(saga) ?? 0));
      } else if (facts.transactionOutcome === 'committed' && !/start|pending|running/.test(outcome)) {
        if (known.done === undefined || operation.endUs > known.done.endUs) known.done = operation;
      }
    };

    /** Whether a compensation would show: every service of the saga was heard all the time until the deadline, or one was not. */
    const heardOf = (saga: Saga, failedUs: number, atUs: number): 'heard' | 'open' | 'silent' => {
      let is: 'heard' | 'open' = 'heard';
      const services = new Set([...saga.steps.values()].flatMap(({ done, failed }) => [done?.service, failed?.service]));
      for (const service of services) {
        if (service === undefined) continue;
        const heard = context.learned.heardBetween(service, failedUs, failedUs + deadlineUs, atUs);
        if (heard === 'silent') return heard;
        if (heard === 'open') is = heard;
      }
      return is;
    };

    const judgeOne = (saga: Saga, report: Report, endsUs: number): void => {
      const failed = [...saga.steps.entries()].find(
        ([, { failed, done }]) =>
          failed !== undefined &&
          (done === undefined || done.endUs <= failed.startUs || done.traceId + done.spanId === failed.traceId + failed.spanId),
      );
      if (failed === undefined || saga.told) return;
      const [failedName, { failed: failure }] = failed;
      if (failure === undefined) return;
      const left = [...saga.steps.entries()].filter(
        ([name, { done, undone, failed: own }]) =>
          name !== failedName &&
          done !== undefined &&
          done.startUs <= failure.endUs + skewUs &&
          undone === undefined &&
          (own === undefined || own.endUs <= done.endUs),
      );
      const [first] = left;
      if (first?.[1].done === undefined) return;
      saga.told = true;
      const done = first[1].done;
      const place = context.placeOf(done.facts?.objectType ?? '', saga.domain);
      const names = left.map(([name]) => name);
      const open = leftOpen(failure.endUs, deadlineUs, endsUs);
      const isSilent = heardOf(saga, failure.endUs, endsUs) === 'silent';
      report({
        place: `${saga.name}\0${saga.id}`,
        // Where spans are lost on the way, so may be the compensation's.
        grade: open === '' && context.learned.lostShare() < 0.005 && !isSilent ? 'proven' : 'risk',
        atUs: failure.endUs,
        complete: open === '',
        spans: [spanOf(failure), ...left.slice(0, 4).flatMap(([, { done: kept }]) => (kept === undefined ? [] : [spanOf(kept)]))],
        domain: place.domainName,
        ...(place.collection === undefined ? {} : { collection: place.collection }),
        objectKey: done.facts?.objectKey ?? '',
        service: failure.service,
        facts: { saga: saga.name, sagaId: saga.id, failedStep: failedName, left: names.join(', '), deadlineMs: settings.deadlineMs },
        tell: () => ({
          title: `Saga ${saga.name === '' ? saga.id : `${saga.name} ${saga.id}`} failed at ${failedName} and left ${names.join(', ')} in place`,
          explanation: `Step ${failedName} failed in ${failure.service}; ${names.join(', ')} had been committed and no compensation of ${names.length === 1 ? 'it' : 'them'} shows.${isSilent ? ' A service of the saga showed nothing at all for some of the time, so a compensation may have been made and not been told.' : ''}${open}`,
        }),
      });
    };

    const judge = (atUs: number, report: Report): void => {
      for (const [saga, failedUs] of failing) {
        // Whether a compensation that does not show did not happen is known once it is known how many spans are lost.
        if (failedUs + deadlineUs > atUs || !context.learned.isLossKnown()) continue;
        if (failedUs + deadlineUs + signUs >= atUs && heardOf(saga, failedUs, atUs) === 'open') continue;
        failing.delete(saga);
        judgeOne(saga, report, atUs);
      }
      sagas.sweep(atUs);
    };

    return {
      inspect(trace, report) {
        let hasFacts = false;
        for (const operation of trace.operations) {
          if (operation.facts === undefined || operation.facts.sagaId === '') continue;
          hasFacts = true;
          step(operation);
        }
        if (!hasFacts) learned.inspect(trace, report, context);
      },
      advance(atUs, report) {
        if (failing.size > 0) judge(atUs, report);
        learned.advance(atUs, report, context);
      },
      finish(atUs, report) {
        // What is written down is all there is: a saga whose failure is on record and whose compensation is not.
        for (const saga of failing.keys()) judgeOne(saga, report, atUs);
        failing.clear();
        learned.finish(atUs, report, context);
      },
      bytes: () => (sagas.size + failing.size) * 1_000,
    };
  },
);

/** The step that a compensation takes back: by name, by the name within its own (`cancel-payment`), by the object, else the last one done. */
function undoneStep(saga: Saga, undo: Operation): SagaStep | undefined {
  const name = undo.facts?.sagaStep ?? '';
  const exact = saga.steps.get(name);
  if (exact !== undefined) return exact;
  const key = undo.facts?.objectKey ?? '';
  for (const [other, step] of saga.steps)
    if (other !== '' && (name.includes(other) || (name !== '' && other.includes(name.replace(/^[a-z]+[-_ .:]/i, ''))))) return step;
  for (const step of saga.steps.values())
    if (key !== '' && step.done?.facts?.objectKey === key && step.done.facts.objectType === undo.facts?.objectType) return step;
  if (name === '') return [...saga.steps.values()].findLast((step) => step.done !== undefined && step.undone === undefined);
  // The compensation came before its step in this order of traces: keep it for the step.
  const early: SagaStep = { done: undefined, failed: undefined, undone: undefined };
  if (saga.steps.size < 256) saga.steps.set(name, early);
  return early;
}

function booking(isCompensated: boolean) {
  const saga = { sagaId: 'b-1', sagaName: 'booking' };
  const steps: Step[] = [
    { kind: 'saga-step', at: 0, service: 'trips', facts: { ...saga, sagaStep: 'flight', sagaOutcome: 'committed' } },
    { kind: 'saga-step', at: 20, service: 'trips', facts: { ...saga, sagaStep: 'hotel', sagaOutcome: 'committed' } },
    {
      kind: 'saga-step',
      at: 40,
      service: 'trips',
      failed: true,
      facts: { ...saga, sagaStep: 'car', sagaOutcome: 'failed', transactionOutcome: 'aborted' },
    },
  ];
  if (isCompensated) {
    steps.push({ kind: 'compensate', at: 60, service: 'trips', facts: { ...saga, sagaStep: 'hotel' } });
    steps.push({ kind: 'compensate', at: 70, service: 'trips', facts: { ...saga, sagaStep: 'flight' } });
  }
  // The recording goes on beyond the deadline.
  steps.push({ kind: 'request', at: 40_000, service: 'trips', trace: 'another' });
  return exampleOperations(steps);
}
