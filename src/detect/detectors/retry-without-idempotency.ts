import type { Operation } from '../../domain/operation.ts';
import { grainUs } from '../causality.ts';
import { spanOf, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createHabits } from '../habits.ts';
import { isRepeatable } from '../message-flow.ts';
import { calleeOf } from '../trace-lookups.ts';
import { isWithin, storeOf, type TraceView, targetOf, type Unit, unitWords } from '../trace-view.ts';

/** Failures after which nobody knows whether the other side did the work. A refused connection is not one: nothing was sent. */
const unknownOutcome =
  /time[-_ ]?d?[-_ ]?out|etimedout|econnreset|econnaborted|connection ?reset|reset by peer|socket ?hang ?up|hangup|premature|broken ?pipe|epipe|deadline|unavailable|interrupted|closed before|eof/i;
const unsent = /refused|enotfound|unknownhost|name resolution|notpermitted|circuit|bulkhead|certificate|\bssl|\btls|handshake/i;

/** An effect sent again after a failure that leaves its outcome unknown, with nothing by which the receiver could tell. */
export const retryWithoutIdempotency = traceDetector(
  {
    id: 'retry-without-idempotency',
    scope: 'trace',
    concerns: ['failures'],
    grades: ['structural'],
    title: 'Retry without idempotency key',
    sentence:
      'A call that changes something was sent again after a timeout or 5xx without an idempotency key: if the first attempt did its work, the work is done twice.',
    fix: 'Send an `Idempotency-Key` made before the first attempt and let the receiver keep it under a unique key beside its change.',
    needs: 'nothing',
    options: {},
    example: () => charge(''),
    twin: () => charge('order-17'),
  },
  (_options, context) => {
    const habits = createHabits(context.learned);
    return {
      inspect(trace, report) {
        if (!trace.hasFailures) return;
        for (const unit of trace.units) {
          const attempts = [...unit.calls, ...unit.publishes, ...unit.writes];
          if (attempts.length < 2) continue;
          if (!attempts.some(isUncertain)) continue;
          const told = new Set<string>();
          const same = Map.groupBy(attempts, whatOf);
          for (const first of attempts) {
            if (!isUncertain(first)) continue;
            const what = whatOf(first);
            if (what === undefined || told.has(what)) continue;
            const again = same
              .get(what)
              ?.find((other) => other !== first && other.startUs >= first.endUs - grainUs && isSameBody(first, other));
            if (again === undefined) continue;
            const place = `${unit.service}\0${what}`;
            const isRight =
              hasKey(first) ||
              hasKey(again) ||
              (first.kind === 'call' && !(isSameRoute(trace, first, again) && mayChange(trace, [first, again], what)));
            habits.note(place, isRight);
            if (isRight || habits.isUsuallyRight(place)) continue;
            told.add(what);
            const callees = [calleeOf(trace, first), calleeOf(trace, again)].filter((unit) => unit !== undefined);
            const [callee] = callees.toSorted((a, b) => a.number - b.number);
            const home = context.placeOf(targetOf(first), first.facts?.domain ?? '');
            report({
              place,
              grade: 'structural',
              atUs: again.endUs,
              complete: unit.complete,
              spans: [spanOf(first), spanOf(again)],
              domain: home.domainName,
              ...(home.collection === undefined ? {} : { collection: home.collection }),
              service: unit.service,
              facts: { what: wordsOf(first), reason: reasonOf(first), callee: callee?.service ?? first.host },
              tell: () => ({
                title: `${unit.service} sends ${wordsOf(first)} again after ${reasonOf(first)} without an idempotency key`,
                explanation: `${unitWords(unit)} sent ${wordsOf(first)}${callee === undefined ? '' : ` to ${callee.service}`}, got ${reasonOf(first)}, and sent it again. The first attempt may have done its work before the answer was lost, and no idempotency key lets the receiver see that the second is the same.`,
              }),
            });
          }
        }
      },
    };
  },
);

function isUncertain(operation: Operation): boolean {
  if (!operation.failed && operation.httpStatus < 500) return false;
  if (unsent.test(operation.errorType)) return false;
  if (operation.kind === 'call')
    return (
      operation.httpStatus >= 500 ||
      /^5\d\d$/.test(operation.errorType) ||
      // It was sent, as far as the error tells, and no answer came.
      operation.httpStatus === 0
    );
  if (!operation.failed) return false;
  // A statement that the server answered with an error did nothing; only a lost answer leaves the outcome open.
  if (operation.sqlState !== '') return operation.sqlState.startsWith('08');
  return unknownOutcome.test(operation.errorType);
}

/** What is sent, so that a second attempt is recognised; undefined where a repetition is harmless by its kind. */
function whatOf(operation: Operation): string | undefined {
  switch (operation.kind) {
    // Everything else changes nothing elsewhere, or says what to expect by itself.
    case 'read':
    case 'delete':
    case 'compensate':
    case 'consume':
    case 'request':
    case 'internal':
    case 'saga-step':
    case 'transaction':
      return undefined;
    case 'call': {
      const verb = /^([A-Za-z]+)(?: |$)/.exec(operation.target)?.[1]?.toUpperCase() ?? '';
      if (/^(GET|HEAD|OPTIONS|PUT|DELETE|TRACE|CONNECT)$/.test(verb)) return undefined;
      // RPC: `service/Method` names what it does more often than not.
      if (
        verb !== 'POST' &&
        verb !== 'PATCH' &&
        /\/(get|list|find|search|query|read|check|watch|describe|health)[a-z]*$/i.test(operation.target)
      )
        return undefined;
      return `call\0${operation.host}\0${operation.target === '' ? operation.spanName : operation.target}`;
    }
    case 'publish':
      return operation.message !== undefined && operation.message.id !== ''
        ? undefined
        : `publish\0${operation.system}\0${operation.target}`;
    case 'write':
    case 'append':
      if (isRepeatable(operation)) return undefined;
      if (operation.statement?.verb !== 'insert' && operation.kind !== 'append' && operation.statement?.isRelativeUpdate !== true)
        return undefined;
      return `write\0${storeOf(operation)}\0${targetOf(operation)}\0${operation.statement?.fingerprint ?? ''}`;
  }
}

/** Client spans often name no path: then the two calls must have arrived at the same route, as far as the callees show. */
function isSameRoute(trace: TraceView, first: Operation, again: Operation): boolean {
  if (/[/.]/.test(first.target) || /[/.]/.test(first.spanName)) return true;
  const [one, two] = [first, again].map((call) => calleeOf(trace, call)?.entry.target);
  if (one !== undefined && two !== undefined) return one === two;
  // Neither path nor callee shows: two such calls in a row are as likely two different things.
  return false;
}

/** Where both show a key, it is the same effect only if the keys agree. */
function isSameBody(a: Operation, b: Operation): boolean {
  const one = a.message?.key ?? a.key ?? '';
  const two = b.message?.key ?? b.key ?? '';
  return one === '' || two === '' || one === two;
}

function hasKey(operation: Operation): boolean {
  return (operation.idempotencyKey ?? '') !== '' || (operation.facts !== undefined && operation.facts.idempotencyKey !== '');
}

/**
 * Whether the called side may have changed something. Where its spans are in the trace they say so: a callee that only read is safe, and so
 * is one whose writes are made to be repeated. Where they are not, a POST is taken to change something.
 */
function mayChange(trace: TraceView, calls: readonly Operation[], what: string): boolean {
  const callees = trace.units.filter((unit) => unit.calledBy !== undefined && calls.includes(unit.calledBy));
  if (callees.length === 0) return !/search|query|lookup|graphql|_msearch|_bulk_get/i.test(what);
  const below = trace.units.filter((unit) => callees.some((callee) => isWithin(unit, callee)));
  const hasEffect = (unit: Unit) => unit.writes.some((write) => !isRepeatable(write)) || unit.publishes.length > 0;
  if (below.some(hasEffect)) return !below.some((unit) => unit.writes.some(isRepeatable));
  const leaves = below.filter((unit) => unit.reads.length === 0 && unit.writes.length === 0 && unit.calls.length === 0);
  // Only a callee that shows nothing of what it does at all stays under suspicion.
  return leaves.length === below.length;
}

function wordsOf(operation: Operation): string {
  if (operation.kind === 'call') return `\`${operation.target === '' ? operation.spanName : operation.target}\``;
  if (operation.kind === 'publish') return `a message to \`${operation.target}\``;
  return `its ${operation.statement?.verb ?? 'write'} on \`${targetOf(operation)}\``;
}

function reasonOf(operation: Operation): string {
  if (operation.httpStatus >= 500) return `status ${operation.httpStatus}`;
  return operation.errorType === '' ? 'an error' : operation.errorType;
}

function charge(key: string) {
  const call = {
    kind: 'call' as const,
    parent: 'root',
    service: 'checkout',
    target: 'POST /charges',
    host: 'payments',
    idempotencyKey: key,
  };
  return exampleOperations([
    { kind: 'request', span: 'root', at: 0, lasts: 5200, service: 'checkout', target: 'POST /orders' },
    { ...call, at: 10, lasts: 5000, failed: true, errorType: 'timeout' },
    { ...call, at: 5100, lasts: 40, httpStatus: 201 },
  ]);
}
