import { context, trace } from '@opentelemetry/api';
import { nextTransactionId, sayOperation, sayTransaction } from './consistency-events.mjs';
import { commitsImplicitly, standardText } from './mysql-text.mjs';
import { attributesAfter, attributesBefore, lastReads, statementPlans, transactionVerb } from './statement-plan.mjs';

/**
 * A `mysql2` connection or pool (of `mysql2` or `mysql2/promise`) whose statements on declared tables become events named
 * `consistency.operation` on the span that is active. Writes in a transaction are said once it has ended, with its outcome.
 *
 * What is open is known from the server: every answer without rows carries its status. So transactions of connections without autocommit,
 * and those that a CREATE TABLE commits or a deadlock rolls back, are told as what they were.
 *
 * @type {import('./instrument.d.mts').wrapMysql}
 */
export function wrapMysql(target, tables) {
  const planFor = statementPlans(tables, standardText);
  // The promise variants hold the others.
  const core = target.pool ?? target.connection ?? target;
  if (typeof core.getConnection === 'function') wrapPool(core, planFor);
  else wrapConnection(core, planFor);
  return target;
}

const wrapped = new WeakSet();
const reads = lastReads();

function wrapPool(pool, planFor) {
  if (wrapped.has(pool)) return;
  wrapped.add(pool);
  pool.on('connection', (connection) => wrapConnection(connection, planFor));
  // A request that waits gets its connection from the one that gives it back: it has to go on in its own context.
  const { getConnection } = pool;
  pool.getConnection = function boundGetConnection(callback) {
    return getConnection.call(this, context.bind(context.active(), callback));
  };
}

/** Bits of the status that the server gives with an answer. */
const IN_TRANSACTION = 1;
const AUTOCOMMIT = 2;
/** The server rolled back all of the transaction. */
const DEADLOCK = 1213;
/** It may have rolled back all of it, or only the statement, as it is set up. */
const LOCK_WAIT_TIMEOUT = 1205;

function wrapConnection(connection, planFor) {
  if (wrapped.has(connection)) return;
  wrapped.add(connection);
  /** Writes since BEGIN. */
  let transaction = null;
  let isAutocommit = true;

  const begun = (span) => ({ id: nextTransactionId(span), writes: [], isClear: true });
  const settle = (outcome) => {
    const ended = transaction;
    transaction = null;
    if (ended !== null) sayTransaction(ended, outcome);
  };

  /** Follows the transaction: before what the statement itself did is looked at. */
  const follow = (span, text, verb, status) => {
    if (status !== undefined) isAutocommit = (status & AUTOCOMMIT) !== 0;
    if (verb === 'rollback to') {
      if (transaction !== null) transaction.isClear = false;
      return;
    }
    if (verb === 'commit' || verb === 'begin' || commitsImplicitly(text)) settle('committed');
    else if (verb === 'rollback') settle('aborted');
    // Ended by something that was not seen.
    else if (status !== undefined && (status & IN_TRANSACTION) === 0) transaction = null;
    const isOpen = status === undefined ? verb === 'begin' || transaction !== null || !isAutocommit : (status & IN_TRANSACTION) !== 0;
    if (isOpen) transaction ??= begun(span);
  };

  const observerOf = (text, values) => {
    if (typeof text !== 'string') return null;
    const span = trace.getActiveSpan();
    const verb = transactionVerb(text);
    const plan = planFor(text);
    const before = plan === null || span === undefined ? null : attributesBefore(plan, values);
    return (error, answer) => {
      if (error) return fail(error, verb);
      const status = answer?.serverStatus;
      const isRead = plan?.operation === 'read';
      // Of a SELECT the status is not known; that of a connection without autocommit opens nothing that could be lost.
      if (!isRead) follow(span, text, verb, status);
      if (before === null) return;
      const unit = span.spanContext().spanId;
      const { wrote, attributes } = attributesAfter(plan, values, resultOf(plan, answer), reads.of(unit, before));
      if (!wrote) return;
      if (isRead && plan.object.baseFromRead === true && attributes['consistency.version'] !== undefined)
        reads.note(unit, before, attributes['consistency.version']);
      const said = { ...before, ...attributes };
      if (transaction === null) sayOperation(span, { ...said, 'consistency.transaction.id': nextTransactionId(span) });
      else if (isRead) sayOperation(span, transaction.isClear ? { ...said, 'consistency.transaction.id': transaction.id } : said);
      else transaction.writes.push({ span, attributes: said });
    };
  };

  const fail = (error, verb) => {
    // A COMMIT whose answer was lost may have happened; anything else that was open went with the connection.
    if (error.fatal === true) settle(verb === 'commit' ? 'unknown' : 'aborted');
    else if (error.errno === DEADLOCK) settle('aborted');
    else if (transaction !== null && (error.errno === LOCK_WAIT_TIMEOUT || verb !== undefined)) transaction.isClear = false;
  };

  /** Both take (text, values?, callback), (options, values?, callback) or, from a pool, a command that holds all. */
  const observed = (method, ownFirst) =>
    function observedStatement(...args) {
      const [first, second] = args;
      const isCommand = typeof first?.onResult === 'function';
      const at = args.findIndex((arg) => typeof arg === 'function');
      // Rows that are streamed are not seen; what a statement without callback did is not known.
      if (!isCommand && at < 0) {
        if (transaction !== null) transaction.isClear = false;
        return method.apply(this, args);
      }
      const text = typeof first === 'string' ? first : first?.sql;
      const passed = typeof second === 'function' ? undefined : second;
      const own = typeof first === 'string' ? undefined : first?.values;
      const observe = observerOf(text, valuesOf(ownFirst ? (own ?? passed) : (passed ?? own)));
      if (observe === null) return method.apply(this, args);
      const holder = isCommand ? first : args;
      const place = isCommand ? 'onResult' : at;
      const callback = holder[place];
      holder[place] = function observedCallback(error, answer, ...rest) {
        observe(error, answer);
        return callback.call(this, error, answer, ...rest);
      };
      return method.apply(this, args);
    };
  // Where values are given twice, the driver takes the argument for `query` and the option for `execute`.
  connection.query = observed(connection.query, false);
  connection.execute = observed(connection.execute, true);
  // The server rolls back what is open when a session is given up.
  for (const name of ['reset', 'changeUser']) {
    const method = connection[name];
    if (typeof method !== 'function') continue;
    connection[name] = function endedSession(...args) {
      settle('aborted');
      return method.apply(this, args);
    };
  }
}

/** The driver takes one value as well as a list. */
const valuesOf = (values) => (values === undefined || values === null || Array.isArray(values) ? values : [values]);

/** An answer as `pg` gives it: rows, or how many were touched. MySQL counts the row that an upsert changed twice. */
function resultOf(plan, answer) {
  if (Array.isArray(answer)) return { rows: answer, rowCount: answer.length };
  const { affectedRows = 0, insertId } = answer ?? {};
  const isUpsert = plan.operation === 'write' && plan.isInsert === false;
  return { rowCount: isUpsert ? Math.min(affectedRows, 1) : affectedRows, insertId: insertId > 0 ? insertId : undefined };
}
