import { trace } from '@opentelemetry/api';
import { nextTransactionId, sayOperation, sayTransaction } from './consistency-events.mjs';
import { attributesAfter, attributesBefore, lastReads, statementPlans, transactionVerb } from './statement-plan.mjs';

/**
 * For services without `@opentelemetry/instrumentation-pg`: a `pg` client or pool whose statements on declared tables become events named
 * `consistency.operation` on the span that is active. Writes in a transaction are said once it has ended, with its outcome.
 *
 * @type {import('./instrument.d.mts').wrapPg}
 */
export function wrapPg(target, tables) {
  const planFor = statementPlans(tables);
  // A pool: every connection of it, as it is made. A client: itself.
  if (typeof target.totalCount === 'number') target.on('connect', (client) => wrapClient(client, planFor));
  else wrapClient(target, planFor);
  return target;
}

const wrapped = new WeakSet();
const reads = lastReads();

function wrapClient(client, planFor) {
  if (wrapped.has(client)) return;
  wrapped.add(client);
  const query = client.query;
  /** Writes since BEGIN. */
  let transaction = null;

  /** What to do with a result, or null for what is not looked at. */
  const observerOf = (text, values) => {
    const span = trace.getActiveSpan();
    const verb = transactionVerb(text);
    if (verb === 'begin') {
      return () => {
        transaction = { id: nextTransactionId(span), writes: [], isClear: true };
      };
    }
    if (verb === 'rollback to') {
      if (transaction !== null) transaction.isClear = false;
      return null;
    }
    if (verb !== undefined) {
      const ended = transaction;
      if (ended === null) return null;
      return (result) => {
        transaction = null;
        sayTransaction(ended, result?.command === 'COMMIT' ? 'committed' : 'aborted');
      };
    }
    const plan = planFor(text);
    const before = plan === null ? null : attributesBefore(plan, values);
    if (before === null || span === undefined) return null;
    const within = transaction;
    return (result) => {
      const unit = span.spanContext().spanId;
      const { wrote, attributes } = attributesAfter(plan, values, result, reads.of(unit, before));
      if (!wrote) return;
      if (plan.operation === 'read' && plan.object.baseFromRead === true && attributes['consistency.version'] !== undefined)
        reads.note(unit, before, attributes['consistency.version']);
      const said = { ...before, ...attributes };
      if (within === null) sayOperation(span, { ...said, 'consistency.transaction.id': nextTransactionId(span) });
      else if (plan.operation === 'read') sayOperation(span, within.isClear ? { ...said, 'consistency.transaction.id': within.id } : said);
      else within.writes.push({ span, attributes: said });
    };
  };

  client.query = function observedQuery(...args) {
    const [first, second] = args;
    // Cursors and streams give their rows elsewhere.
    if (typeof first?.submit === 'function') return query.apply(this, args);
    const text = typeof first === 'string' ? first : first?.text;
    const values = Array.isArray(second) ? second : first?.values;
    const observe = observerOf(text, values);
    if (observe === null) return query.apply(this, args);
    const at = args.findIndex((arg) => typeof arg === 'function');
    if (at >= 0) {
      const callback = args[at];
      args[at] = function observedCallback(error, result) {
        if (!error) observe(result);
        return callback.call(this, error, result);
      };
      return query.apply(this, args);
    }
    const answer = query.apply(this, args);
    return typeof answer?.then === 'function'
      ? answer.then((result) => {
          observe(result);
          return result;
        })
      : answer;
  };
}
