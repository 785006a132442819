import { declaredKind } from './consistency-facts.ts';
import { describeCall } from './describe-call.ts';
import { describeDatabase } from './describe-database.ts';
import { describeAwsSend, describeMessage } from './describe-message.ts';
import { type Described, hostOf } from './described.ts';
import { withNetworkFailure } from './network-failure.ts';
import type { SpanBatch } from './span-batch.ts';
import type { SpanView } from './span-view.ts';
import type { StatementCache } from './sql-fingerprint.ts';
import { sqlStateOf } from './sql-state.ts';
import { codeOf } from './wanted-attributes.ts';

// Celery asks for another run without calling the span failed; what its task did is given up.
const celeryStateCode = codeOf('celery.state');
const celeryActionCode = codeOf('celery.action');
const databaseSystemNameCode = codeOf('db.system.name');
const databaseSystemCode = codeOf('db.system');
const queryTextCode = codeOf('db.query.text');
const statementCode = codeOf('db.statement');
const collectionNameCode = codeOf('db.collection.name');
const sqlTableCode = codeOf('db.sql.table');
const responseStatusCode = codeOf('db.response.status_code');
const messagingSystemCode = codeOf('messaging.system');
const destinationNameCode = codeOf('messaging.destination.name');
const errorTypeCode = codeOf('error.type');
const exceptionTypeCode = codeOf('exception.type');
const exceptionMessageCode = codeOf('exception.message');
const sagaStepCode = codeOf('consistency.saga.step');

/** What row `row` says, which is then the selected span of `view`: with the exception that its events tell of, where one does. */
export function describeRow(view: SpanView, statements: StatementCache, batch: SpanBatch, row: number): Described {
  let exceptionType = '';
  let exceptionMessage = '';
  const last = batch.eventStart[row + 1] as number;
  for (let event = batch.eventStart[row] as number; event < last; event += 1) {
    if (batch.eventKind[event] !== 1) continue;
    view.select(batch.eventAttributes, batch.eventAttributeStart[event] as number, batch.eventAttributeStart[event + 1] as number);
    exceptionType = view.text(exceptionTypeCode);
    exceptionMessage = view.text(exceptionMessageCode);
  }
  view.select(batch.attributes, batch.attributeStart[row] as number, batch.attributeStart[row + 1] as number);
  const failed = batch.status[row] === 2 || view.text(celeryStateCode) === 'RETRY';
  const spanKind = batch.kind[row] as number;
  const spanName = batch.strings[batch.name[row] as number] as string;
  const queryText = view.either(queryTextCode, statementCode);
  const databaseSystem = view.either(databaseSystemNameCode, databaseSystemCode);
  const messagingSystem = view.text(messagingSystemCode);
  const declared = declaredKind(view);
  const errorType =
    failed || view.has(errorTypeCode) ? view.text(errorTypeCode) || exceptionType || view.text(exceptionTypeCode) : exceptionType;
  let described: Described;
  if (messagingSystem !== '' || view.has(destinationNameCode)) described = describeMessage(view, messagingSystem, spanKind, spanName);
  else if (view.has(celeryActionCode)) described = describeMessage(view, 'celery', spanKind, spanName);
  else if (databaseSystem !== '' || queryText !== '' || view.has(collectionNameCode) || view.has(sqlTableCode)) {
    described = describeDatabase(view, statements, databaseSystem, queryText, spanName);
    if (failed) {
      const message = exceptionMessage || view.text(exceptionMessageCode) || (batch.strings[batch.statusMessage[row] as number] as string);
      described.sqlState = sqlStateOf(databaseSystem, view.text(responseStatusCode), view.text(errorTypeCode), exceptionType, message);
    }
  } else described = describeAwsSend(view) ?? describeCall(view, spanKind, spanName);
  described.errorType =
    failed && described.kind !== 'internal' && described.kind !== 'request'
      ? withNetworkFailure(errorType, exceptionMessage || (batch.strings[batch.statusMessage[row] as number] as string))
      : errorType;
  if (described.host === '') described.host = hostOf(view);
  if (declared !== undefined) described.kind = declared;
  else if (view.has(sagaStepCode) && (described.kind === 'internal' || described.kind === 'request' || described.kind === 'call'))
    described.kind = 'saga-step';
  described.failed = failed;
  return described;
}
