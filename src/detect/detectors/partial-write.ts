import type { Operation } from '../../domain/operation.ts';
import { grainUs, isAfter, skewUs } from '../causality.ts';
import { type Report, spanOf, traceDetector } from '../detector.ts';
import { exampleOperations, type Step } from '../example.ts';
import { createHabits } from '../habits.ts';
import { rootOf, type TraceView, targetOf, type Unit } from '../trace-view.ts';
import { mayStand, type WriteOutcome, writeOutcomes } from '../write-outcome.ts';

/** What became of a write, and the unit that made it. */
interface Placed extends WriteOutcome {
  readonly unit: Unit;
}

interface ServiceWrites {
  readonly committed: Placed[];
  readonly aborted: Placed[];
  isSaga: boolean;
}

interface Suspect {
  readonly traceId: string;
  readonly kept: Placed;
  readonly lost: Placed;
  readonly complete: boolean;
  readonly root: string;
}

/** One trace changed several services, and in one of them the change failed while another's stayed. */
export const partialWrite = traceDetector(
  {
    id: 'partial-write',
    scope: 'trace',
    concerns: ['writes'],
    grades: ['structural'],
    title: 'Partial write across services',
    sentence: 'A request writes in several services; one of the writes failed, another stayed and was not taken back.',
    fix: 'Run the steps as a saga with a compensation for each (kept durably, so that a crash does not forget it), or let the first service publish an event from an outbox and the others follow.',
    needs: 'nothing',
    options: {
      compensationMs: {
        is: 'number',
        unit: 'ms',
        default: 10_000,
        min: 0,
        max: 3_600_000,
        says: 'How long after the failure a later part of the trace may still take the other write back.',
      },
    },
    example: () => order(false),
    twin: () => order(true),
  },
  (settings, context) => {
    const settleUs = settings.compensationMs * 1000;
    let suspects: Suspect[] = [];
    const habits = createHabits(context.learned);

    const tell = (suspect: Suspect, report: Report): void => {
      const { kept, lost } = suspect;
      if (habits.isUsuallyRight(habitOf(lost))) return;
      const keptTable = targetOf(kept.write);
      const lostTable = targetOf(lost.write);
      const place = context.placeOf(keptTable, kept.write.facts?.domain ?? '');
      report({
        place: `${kept.write.service}\0${keptTable}\0${lost.write.service}\0${lostTable}`,
        grade: 'structural',
        atUs: lost.settledUs,
        complete: suspect.complete,
        spans: [
          spanOf(kept.write),
          spanOf(lost.write),
          ...(lost.settledBy === undefined || lost.settledBy === lost.write ? [] : [spanOf(lost.settledBy)]),
        ],
        writes: [kept.write, lost.write],
        domain: place.domainName,
        collection: place.collection ?? keptTable,
        service: kept.write.service,
        facts: {
          service: kept.write.service,
          table: keptTable,
          failedService: lost.write.service,
          failedTable: lostTable,
          sqlState: lost.write.sqlState,
          root: suspect.root,
        },
        tell: () => ({
          title: `${kept.write.service} kept its write to \`${keptTable}\` though ${lost.write.service} failed to write \`${lostTable}\``,
          explanation: `One ${suspect.root === '' ? 'trace' : `\`${suspect.root}\``} wrote \`${keptTable}\` in ${kept.write.service}, and ${lost.write.service}'s write to \`${lostTable}\` ${lost.settledBy === lost.write ? 'failed' : 'was rolled back'}${lost.write.sqlState === '' ? '' : ` (SQLSTATE ${lost.write.sqlState})`}. Nothing in the trace took the first write back.${kept.isHidden === true ? ` How ${kept.write.service}'s own transaction ended does not show in its spans.` : ''}`,
        }),
      });
    };

    return {
      inspect(trace) {
        if (!trace.hasWrites) return;
        if (suspects.length > 0)
          suspects = suspects.filter((suspect) => {
            if (suspect.traceId !== trace.traceId || !isTakenBack(suspect, trace)) return true;
            habits.note(habitOf(suspect.lost), true);
            return false;
          });
        if (trace.units.length < 2) return;
        const services = writesByService(trace, (table) => context.learned.isOutbox(table) || context.learned.isInbox(table));
        if (services.size < 2) return;
        for (const [service, theirs] of services) {
          const lost = theirs.isSaga ? undefined : theirs.aborted.find((outcome) => !isDoneLater(outcome, theirs.committed));
          if (lost === undefined) continue;
          // The nearest service that kept something: the one that wrote last before the failure, else the first that wrote after.
          const kept = [...services]
            .filter(([other, writes]) => other !== service && !writes.isSaga)
            .flatMap(([, writes]) => writes.committed)
            .filter((outcome) => !isSuperseded(outcome, lost, services.get(outcome.write.service)))
            .toSorted(
              (a, b) => Number(a.settledUs > lost.settledUs) - Number(b.settledUs > lost.settledUs) || b.settledUs - a.settledUs,
            )[0];
          habits.note(habitOf(lost), kept === undefined);
          if (kept === undefined) continue;
          const root = rootOf(trace);
          suspects.push({ traceId: trace.traceId, kept, lost, complete: trace.complete, root: root?.target || (root?.spanName ?? '') });
        }
      },
      advance(atUs, report) {
        if (suspects.length === 0) return;
        const open: Suspect[] = [];
        for (const suspect of suspects) {
          if (suspect.lost.settledUs + settleUs > atUs) open.push(suspect);
          else tell(suspect, report);
        }
        suspects = open;
      },
      finish(_atUs, report) {
        for (const suspect of suspects) tell(suspect, report);
        suspects = [];
      },
      bytes: () => suspects.length * 2_000,
    };
  },
);

function writesByService(trace: TraceView, isPlumbing: (table: string) => boolean): Map<string, ServiceWrites> {
  const services = new Map<string, ServiceWrites>();
  for (const unit of trace.units) {
    if (unit.writes.length === 0) continue;
    let writes = services.get(unit.service);
    if (writes === undefined) {
      writes = { committed: [], aborted: [], isSaga: false };
      services.set(unit.service, writes);
    }
    // Sagas have their own detector, which knows steps and compensations by name.
    if (unit.sagaSteps.length > 0) writes.isSaga = true;
    for (const settled of writeOutcomes(unit)) {
      const outcome = { ...settled, unit };
      if (isPlumbing(targetOf(outcome.write))) continue;
      // A refusal that the service answered well: the row was there already, or it had another way.
      if (outcome.is === 'aborted' && !isFailed(unit, trace)) continue;
      if (outcome.write.facts !== undefined && outcome.write.facts.sagaId !== '') writes.isSaga = true;
      if (mayStand(outcome)) writes.committed.push(outcome);
      else if (outcome.is === 'aborted') writes.aborted.push(outcome);
    }
  }
  return services;
}

function habitOf(lost: WriteOutcome): string {
  return `${lost.write.service}\0${targetOf(lost.write)}`;
}

function isFailed(unit: Unit, trace: TraceView): boolean {
  // Without its entry, whether the unit failed shows in what it was asked for.
  if (!unit.complete) return rootOf(trace)?.failed === true;
  return unit.entry.failed || unit.entry.httpStatus >= 400 || unit.calledBy?.failed === true || (unit.calledBy?.httpStatus ?? 0) >= 400;
}

/** The failed write was tried again and went through. */
function isDoneLater(lost: WriteOutcome, committed: readonly WriteOutcome[]): boolean {
  return committed.some((other) => other.write.startUs >= lost.write.endUs - grainUs && targetOf(other.write) === targetOf(lost.write));
}

/** After the failure the keeping service wrote the same table again: it took the change back or marked it. */
function isSuperseded(kept: Placed, lost: Placed, writes: ServiceWrites | undefined): boolean {
  if (writes === undefined) return false;
  return writes.committed.some(
    (other) =>
      isAfter(other.write, other.unit, lost.write, lost.unit) &&
      targetOf(other.write) === targetOf(kept.write) &&
      isTakingBack(other.write),
  );
}

function isTakingBack(write: Operation): boolean {
  const verb = write.statement?.verb;
  return (
    write.kind === 'compensate' ||
    write.kind === 'delete' ||
    verb === 'update' ||
    verb === 'delete' ||
    (verb === undefined && write.kind === 'write')
  );
}

function isTakenBack(suspect: Suspect, trace: TraceView): boolean {
  return trace.units.some(
    (unit) =>
      unit.service === suspect.kept.write.service &&
      unit.writes.some(
        (write) =>
          !write.failed &&
          write.startUs >= suspect.lost.write.endUs - skewUs &&
          targetOf(write) === targetOf(suspect.kept.write) &&
          isTakingBack(write),
      ),
  );
}

function order(isCompensated: boolean) {
  const steps: Step[] = [
    { kind: 'request', span: 'root', at: 0, lasts: 90, service: 'orders', target: 'POST /orders' },
    { kind: 'append', parent: 'root', at: 5, service: 'orders', target: 'orders' },
    {
      kind: 'call',
      span: 'call',
      parent: 'root',
      at: 10,
      lasts: 40,
      service: 'orders',
      target: 'POST /reserve',
      failed: true,
      httpStatus: 500,
    },
    {
      kind: 'request',
      span: 'reserve',
      parent: 'call',
      at: 12,
      lasts: 35,
      service: 'stock',
      target: 'POST /reserve',
      failed: true,
      httpStatus: 500,
    },
    { kind: 'write', parent: 'reserve', at: 20, service: 'stock', target: 'items', failed: true, sqlState: '23514' },
  ];
  if (isCompensated)
    steps.push({
      kind: 'write',
      parent: 'root',
      at: 60,
      service: 'orders',
      target: 'orders',
      sql: "update orders set status = 'cancelled' where id = ?",
    });
  return exampleOperations(steps);
}
