import type { Operation } from '../../domain/operation.ts';
import { grainOf } from '../causality.ts';
import { isCachedCopy, isCacheSystem } from '../cached-copy.ts';
import { spanOf, traceDetector } from '../detector.ts';
import { exampleOperations, type Step } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { lastReadIn } from '../last-read.ts';
import { bareName } from '../object-place.ts';
import { keyOf, storeOf, targetOf, type Unit } from '../trace-view.ts';
import { writeOutcomes } from '../write-outcome.ts';

/** A read of a row and the write derived from it, by the unit that did both. */
interface ReadModifyWrite {
  readonly read: Operation;
  readonly write: Operation;
  readonly settledUs: number;
}

/** Cycles remembered per table and key. */
const cyclesMax = 64;

/** Two read-modify-writes of one row ran at the same time with nothing that would have made the second notice. */
export const lostUpdateRisk = traceDetector(
  {
    id: 'lost-update-risk',
    scope: 'trace',
    concerns: ['writes'],
    grades: ['risk'],
    title: 'Unprotected read-modify-write',
    sentence: 'A service reads a row, computes and writes it back without a lock or a version predicate, and two such runs overlapped.',
    fix: 'Lock when reading (`SELECT ... FOR UPDATE`), write conditionally (`WHERE id = ? AND version = ?`), or let the database compute (`SET n = n + ?`).',
    needs: 'nothing',
    options: {
      retainMs: {
        is: 'number',
        unit: 'ms',
        default: 60_000,
        min: 100,
        max: 3_600_000,
        says: 'Longest time from a read to the write derived from it.',
      },
    },
    example: () => twoDebits('select * from accounts where id = ?'),
    twin: () => twoDebits('select * from accounts where id = ? for update'),
  },
  (settings, context) => {
    const cycles = createExpiringMap<ReadModifyWrite[]>(settings.retainMs * 1000);
    return {
      mayConcern: (trace) => trace.units.some(({ reads, writes }) => reads.length > 0 && writes.some(mayOverwrite)),
      inspect(trace, report) {
        if (!trace.hasWrites) return;
        for (const unit of trace.units) {
          if (unit.writes.length === 0 || unit.reads.length === 0) continue;
          let isUnguarded: boolean | undefined;
          let lastRead: ReturnType<typeof lastReadIn> | undefined;
          for (const { write, is, settledUs } of writeOutcomes(unit)) {
            if (is === 'aborted' || !isOverwrite(write)) continue;
            isUnguarded ??= !isGuarded(unit);
            if (!isUnguarded) break;
            const read = (lastRead ??= lastReadIn(unit))(write);
            if (read === undefined || isFill(unit, read, write)) continue;
            const now: ReadModifyWrite = { read, write, settledUs };
            const rowKey = `${storeOf(write)}\0${bareName(targetOf(write))}\0${keyOf(write)}`;
            const known = cycles.get(rowKey, settledUs);
            if (known === undefined) {
              cycles.set(rowKey, [now], settledUs);
              continue;
            }
            const other = known.find((cycle) => isOverlapping(cycle, now));
            if (known.length >= cyclesMax) known.shift();
            known.push(now);
            if (other === undefined) continue;
            const table = targetOf(write);
            const key = keyOf(write);
            const place = context.placeOf(table, write.facts?.domain ?? '');
            const [first, second] = other.settledUs <= settledUs ? [other, now] : [now, other];
            report({
              place: `${unit.service}\0${table}`,
              grade: 'risk',
              atUs: second.settledUs,
              complete: unit.complete,
              spans: [spanOf(second.read), spanOf(first.write), spanOf(second.write)],
              domain: place.domainName,
              collection: place.collection ?? table,
              objectKey: key,
              service: unit.service,
              facts: { table, keyShown: key !== '', overlapMs: Math.round((first.settledUs - second.read.startUs) / 1000) },
              tell: () => ({
                title: `${unit.service} updates \`${table}\` from what it read, unprotected`,
                explanation: `${second.write.service} read \`${table}\`${key === '' ? '' : ` (key ${key})`}, ${durationWords(Math.max(0, first.settledUs - second.read.startUs))} later ${first.write.service} committed an update of ${key === '' ? 'the same table, of rows that the spans do not name' : 'the same row'}, and then the first wrote what it had computed from the old row. Neither locked the row or checked its version.`,
              }),
            });
          }
        }
      },
      advance: (atUs) => cycles.sweep(atUs),
      bytes: () => cycles.size * 600,
    };
  },
);

/** Sets a value that the client computed, on rows chosen by key. Attributes with a base version say exactly what happened: no need to guess. */
function isOverwrite(write: Operation): boolean {
  if (write.facts?.versionBase !== undefined || !mayOverwrite(write)) return false;
  return write.statement === undefined || !isCachedCopy(write);
}

function mayOverwrite(write: Operation): boolean {
  const statement = write.statement;
  if (statement === undefined) return write.kind === 'write' && /^update/i.test(write.spanName);
  return (
    statement.verb === 'update' && !statement.hasVersionPredicate && !statement.isRelativeUpdate && !onlyClock.test(statement.fingerprint)
  );
}

/** Every new value is the time of the database, which nobody read before. */
const onlyClock =
  /\bset (?:[\w."`[\]]+ ?= ?(?:now ?\( ?\)|current_timestamp(?: ?\( ?\?? ?\))?|clock_timestamp ?\( ?\)|sysdate|getdate ?\( ?\)|utc_timestamp ?\( ?\)) ?,? ?)+(?:where|$)/i;

/** A cache that had not got it is filled from the store that has: the value is not computed from what the cache said. */
function isFill(unit: Unit, read: Operation, write: Operation): boolean {
  return (
    isCacheSystem(write.system) &&
    unit.reads.some((other) => other.system !== write.system && other.startUs >= read.startUs && other.endUs <= write.endUs)
  );
}

/** Row locks, advisory locks and isolation levels under which the database itself refuses the second writer. */
function isGuarded(unit: Unit): boolean {
  return (
    unit.reads.some((read) => read.statement?.isLocking === true || /advisory|get_lock/i.test(read.statement?.fingerprint ?? '')) ||
    unit.transactions.some((step) => /serializable|repeatable read|lock table/i.test(step.statement?.fingerprint ?? '')) ||
    unit.writes.some((write) => write.system === 'redis' && /\bnx\b|setnx/i.test(write.statement?.fingerprint ?? write.spanName))
  );
}

const begunByUs = ({ read }: ReadModifyWrite): number => read.startUs + grainOf(read);

/** Each surely read before the other's write was visible. */
function isOverlapping(a: ReadModifyWrite, b: ReadModifyWrite): boolean {
  if (a.write.traceId === b.write.traceId && a.write.spanId === b.write.spanId) return false;
  if (a.read.traceId === b.read.traceId && a.read.spanId === b.read.spanId) return false;
  return begunByUs(a) < b.settledUs && begunByUs(b) < a.settledUs;
}

function twoDebits(select: string) {
  const debit = (trace: string, at: number): Step[] => [
    { kind: 'request', trace, span: `${trace}r`, at, lasts: 40, service: 'ledger', target: 'POST /debit' },
    {
      kind: 'read',
      trace,
      parent: `${trace}r`,
      span: `${trace}s`,
      at: at + 2,
      service: 'ledger',
      target: 'accounts',
      sql: select,
      key: 'A1',
    },
    {
      kind: 'write',
      trace,
      parent: `${trace}r`,
      span: `${trace}u`,
      at: at + 25,
      service: 'ledger',
      target: 'accounts',
      sql: 'update accounts set balance = ? where id = ?',
      key: 'A1',
    },
  ];
  return exampleOperations([...debit('a', 0), ...debit('b', 10)]);
}
