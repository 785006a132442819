import { attributesAfter, attributesBefore, lastReads, statementPlans, transactionVerb } from './statement-plan.mjs';

/**
 * Hooks for `@opentelemetry/instrumentation-pg` that fill `consistency.*`. A statement by itself says on its own span what it read or wrote.
 * A write inside BEGIN ... COMMIT is not said before it is known to stay: it becomes an event on the span of COMMIT, together with all
 * others of its transaction, and one of ROLLBACK says that they were aborted. PostgreSQL answers the COMMIT of a failed transaction with
 * ROLLBACK, and that is what counts.
 *
 * The instrumentation does not say on which connection a statement runs, so a transaction is known by the span that its statements have in
 * common. Two at once under one span cannot be told apart; of those nothing is said. `wrapPg` knows the connection.
 */

/** Transactions that never end (a crash, a lost connection) must not stay for ever. */
const openKept = 10_000;

/** @type {import('./instrument.d.mts').pgHooks} */
export function pgHooks(tables) {
  const planFor = statementPlans(tables);
  /** Facts of a span from its request to its response. */
  const pending = new WeakMap();
  const open = new Map();
  const reads = lastReads();
  return {
    requestHook: (span, info) => {
      const text = info.query?.text;
      const place = placeOf(span);
      const verb = transactionVerb(text);
      if (verb !== undefined) {
        const transaction = open.get(place);
        if (verb === 'begin') {
          if (open.size >= openKept) open.delete(open.keys().next().value);
          open.set(place, { id: idOf(span), writes: [], isClear: transaction === undefined });
        } else if (transaction !== undefined) {
          // What was done since the savepoint is gone, and which that is, is not known here.
          if (verb === 'rollback to') transaction.isClear = false;
          else {
            open.delete(place);
            pending.set(span, { ends: transaction });
          }
        }
        return;
      }
      const plan = planFor(text);
      if (plan === null) return;
      const attributes = attributesBefore(plan, info.query.values);
      if (attributes === null) return;
      const transaction = open.get(place);
      if ((transaction === undefined || plan.operation === 'read') && 'consistency.object.key' in attributes) {
        span.setAttributes(attributes);
        if (transaction?.isClear === true) span.setAttribute('consistency.transaction.id', transaction.id);
      }
      pending.set(span, { plan, attributes, values: info.query.values, transaction, place });
    },
    responseHook: (span, { data }) => {
      const facts = pending.get(span);
      if (facts === undefined) return;
      if (facts.ends !== undefined) {
        const { id, writes, isClear } = facts.ends;
        if (!isClear) return;
        const outcome = data?.command === 'COMMIT' ? 'committed' : 'aborted';
        for (const attributes of writes)
          span.addEvent('consistency.operation', {
            ...attributes,
            'consistency.transaction.id': id,
            'consistency.transaction.outcome': outcome,
          });
        return;
      }
      const { wrote, attributes } = attributesAfter(facts.plan, facts.values, data, reads.of(facts.place, facts.attributes));
      if (facts.plan.operation === 'read' && facts.plan.object.baseFromRead === true && attributes['consistency.version'] !== undefined)
        reads.note(facts.place, facts.attributes, attributes['consistency.version']);
      if (facts.transaction === undefined || facts.plan.operation === 'read') {
        if (wrote) span.setAttributes('consistency.object.key' in facts.attributes ? attributes : { ...facts.attributes, ...attributes });
        else if ('consistency.object.key' in facts.attributes) span.setAttribute('consistency.transaction.outcome', 'aborted');
      } else if (wrote && facts.transaction.writes.length < writesKept) {
        facts.transaction.writes.push({ ...facts.attributes, ...attributes });
      }
    },
  };
}

/** Beyond this a span would hold more events than SDKs keep (128). */
const writesKept = 100;

const idOf = (span) => span.spanContext?.().spanId ?? '';

/** The trace and the span above: current SDKs and those before 2.0. */
function placeOf(span) {
  const context = span.spanContext?.();
  return `${context?.traceId ?? ''}/${span.parentSpanContext?.spanId ?? span.parentSpanId ?? ''}`;
}
