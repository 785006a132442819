import type { Operation } from '../../domain/operation.ts';
import { grainUs } from '../causality.ts';
import { spanOf, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { bareName } from '../object-place.ts';
import { namedSessionOf, sessionOf } from '../session.ts';
import { keyOf, targetOf, type TraceView } from '../trace-view.ts';
import { writeOutcomes } from '../write-outcome.ts';

interface Written {
  readonly write: Operation;
  readonly settledUs: number;
}

/** Writes remembered per session. */
const writesMax = 64;

/** A session wrote on one host and read the same object on another, before the other can be sure to have it. */
export const replicaReadAfterWrite = traceDetector(
  {
    id: 'replica-read-after-write',
    scope: 'trace',
    concerns: ['writes', 'sessions'],
    grades: ['risk'],
    title: 'Read from a replica right after a write',
    sentence: 'A session writes on one host and reads the same object from another host while the change may still be on its way.',
    fix: 'Read from the host that was written for as long as the lag can last (pin the session to the primary after a write), or wait for the replica to reach the position of the write.',
    needs: 'nothing (server.address)',
    options: {
      withinMs: {
        is: 'number',
        unit: 'ms',
        default: 3000,
        min: 1,
        max: 600_000,
        says: 'How long after a write a read elsewhere is worth a look; about the longest lag to expect.',
      },
    },
    example: () => saveAndShow('db-replica'),
    twin: () => saveAndShow('db-primary'),
  },
  (settings, context) => {
    const withinUs = settings.withinMs * 1000;
    const sessions = createExpiringMap<Written[]>(withinUs * 2);
    return {
      mayConcern: hasTwoHosts,
      inspect(trace, report) {
        const named = trace.operations.find(isSessionNamed);
        if (named === undefined && !hasTwoHosts(trace)) return;
        const session = named === undefined ? '' : sessionOf(named);
        const written: Written[] = named === undefined ? [] : [...(sessions.get(session, trace.startUs) ?? [])];
        for (const unit of trace.units) {
          if (unit.writes.length === 0) continue;
          for (const { write, is, settledUs } of writeOutcomes(unit))
            if (is === 'committed' && write.host !== '' && targetOf(write) !== '') written.push({ write, settledUs });
        }
        if (written.length === 0) return;
        if (named !== undefined) sessions.set(session, written.slice(-writesMax), trace.endUs);
        // In the order in which others could see them: what was written long before a read is not looked at for it.
        written.sort((a, b) => a.settledUs - b.settledUs);
        for (const unit of trace.units) {
          for (const read of unit.reads) {
            if (read.host === '' || read.failed || read.statement?.isLocking === true) continue;
            const isWithin = (one: Written | undefined): one is Written => one !== undefined && read.startUs - one.settledUs <= withinUs;
            let nth = countSettledBy(written, read.startUs + grainUs) - 1;
            while (nth >= 0 && isWithin(written[nth]) && !isSameObject((written[nth] as Written).write, read)) nth -= 1;
            const last = written[nth];
            if (!isWithin(last) || last.write.host === read.host || isFresh(last.write, read)) continue;
            // A host that takes writes of the table is another primary or shard, not a copy that lags behind.
            const table = targetOf(read);
            if (context.learned.takesWrites(read.host, table)) continue;
            const place = context.placeOf(table, read.facts?.domain ?? '');
            const gapUs = Math.max(0, read.startUs - last.settledUs);
            report({
              place: `${read.service}\0${bareName(table)}\0${last.write.host}\0${read.host}`,
              grade: 'risk',
              atUs: read.endUs,
              complete: trace.complete,
              spans: [spanOf(last.write), spanOf(read)],
              domain: place.domainName,
              collection: place.collection ?? table,
              objectKey: keyOf(read),
              service: read.service,
              facts: { table, wroteHost: last.write.host, readHost: read.host, gapMs: Math.round(gapUs / 1000) },
              tell: () => ({
                title: `${read.service} reads \`${table}\` from ${read.host} right after it was written on ${last.write.host}`,
                explanation: `In one ${named === undefined ? 'trace' : 'session'} ${last.write.service} wrote \`${table}\` on ${last.write.host}, and ${durationWords(gapUs)} later ${read.service} read it from ${read.host}, which has not been seen to take writes of it. Whether the change had arrived there, nothing in the spans says.`,
              }),
            });
          }
        }
        sessions.sweep(trace.endUs);
      },
      bytes: () => sessions.size * 1_000,
    };
  },
);

/** How many could be seen by then, in the order in which they could. */
function countSettledBy(written: readonly Written[], byUs: number): number {
  let low = 0;
  let high = written.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((written[middle] as Written).settledUs <= byUs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Whether it writes on one host and reads or writes on another. */
function hasTwoHosts(trace: TraceView): boolean {
  if (!trace.hasWrites) return false;
  let host = '';
  for (const { writes } of trace.units)
    for (const write of writes) {
      if (write.host === '' || write.host === host) continue;
      if (host !== '') return true;
      host = write.host;
    }
  if (host === '') return false;
  for (const { reads } of trace.units) for (const read of reads) if (read.host !== '' && read.host !== host) return true;
  return false;
}

/** The session is more than the trace. */
function isSessionNamed(operation: Operation): boolean {
  const name = namedSessionOf(operation);
  return name !== '' && name !== operation.traceId;
}

function isSameObject(write: Operation, read: Operation): boolean {
  if (write.system !== read.system || bareName(targetOf(write)) !== bareName(targetOf(read))) return false;
  if (write.namespace !== '' && read.namespace !== '' && write.namespace !== read.namespace) return false;
  const one = keyOf(write);
  const two = keyOf(read);
  return one === '' || two === '' || one === two;
}

/** The read says that it got the written version, or a later one. */
function isFresh(write: Operation, read: Operation): boolean {
  const wrote = write.facts?.version;
  const got = read.facts?.version;
  if (wrote === undefined || got === undefined) return false;
  return typeof wrote === 'bigint' && typeof got === 'bigint' ? got >= wrote : got === wrote;
}

function saveAndShow(readHost: string) {
  return exampleOperations([
    { kind: 'request', span: 'root', at: 0, lasts: 60, target: 'POST /profile' },
    { kind: 'write', parent: 'root', at: 5, target: 'profiles', host: 'db-primary' },
    { kind: 'read', parent: 'root', at: 20, target: 'profiles', host: readHost },
  ]);
}
