import type { OperationKind, Statement } from '../domain/operation.ts';
import { kindOfCommand, readRedisCommand } from './command-verbs.ts';
import { blank, canonicalSystem, type Described, firstOfList, listOf } from './described.ts';
import type { SpanView } from './span-view.ts';
import type { StatementCache } from './sql-fingerprint.ts';
import { codeOf, firstParameter } from './wanted-attributes.ts';

const querySummaryCode = codeOf('db.query.summary');
const operationNameCode = codeOf('db.operation.name');
const operationCode = codeOf('db.operation');
const collectionNameCode = codeOf('db.collection.name');
const sqlTableCode = codeOf('db.sql.table');
const mongoCollectionCode = codeOf('db.mongodb.collection');
const cassandraTableCode = codeOf('db.cassandra.table');
const elasticIndexCode = codeOf('db.elasticsearch.path_parts.index');
const elasticIdCode = codeOf('db.elasticsearch.path_parts.doc_id');
const dynamoTablesCode = codeOf('aws.dynamodb.table_names');
const namespaceCode = codeOf('db.namespace');
const databaseNameCode = codeOf('db.name');
const redisIndexCode = codeOf('db.redis.database_index');
const returnedRowsCode = codeOf('db.response.returned_rows');
const affectedRowsCode = codeOf('db.response.affected_rows');
const postgresValuesCode = codeOf('db.postgresql.values');

/** A statement or command sent to a store. */
export function describeDatabase(
  view: SpanView,
  statements: StatementCache,
  system: string,
  queryText: string,
  spanName: string,
): Described {
  const described = blank('call');
  described.system = canonicalSystem(system);
  described.namespace = view.either(namespaceCode, databaseNameCode) || view.text(redisIndexCode);
  described.varies = 'database';
  described.rows = rowsOf(view);
  const operationName = view.either(operationNameCode, operationCode);
  const collection =
    view.either(collectionNameCode, sqlTableCode) ||
    view.either(mongoCollectionCode, cassandraTableCode) ||
    view.text(elasticIndexCode) ||
    firstOfList(view.text(dynamoTablesCode));
  if (described.system === 'redis' || described.system === 'valkey' || described.system === 'memcached') {
    const command = readRedisCommand(queryText || operationName);
    described.kind = command.kind;
    described.key = command.key;
    described.target = collection || command.keySpace;
    described.statement = commandStatement(command.kind, command.fingerprint, described.target);
    return described;
  }
  const isDocument = documentStores.has(described.system);
  if (queryText !== '' && !isDocument) {
    const read = statements.read(queryText, described.system);
    described.statement = read.statement;
    described.kind = kindOfStatement(read.statement);
    // A procedure call or a text cut before its verb says nothing; the operation name may.
    if (described.kind === 'call' && operationName !== '') described.kind = kindOfCommand(firstWord(operationName));
    described.target = normalTable(collection) || (read.statement.tables[0] ?? '');
    described.key = read.key;
    if (read.key === '' && read.keyParameters.length > 0) {
      described.keyParameters = read.keyParameters;
      described.key = boundKey(view, read.keyParameters);
    }
    return described;
  }
  const summary = view.text(querySummaryCode);
  const name = operationName || firstWord(summary);
  // Go's database/sql wrappers show a transaction's ends as spans that have nothing but their name.
  if (name === '' && /\b(?:begin(?:_?tx)?|commit|rollback)\b/i.test(spanName)) {
    described.kind = 'transaction';
    return described;
  }
  described.kind = name === '' ? 'call' : kindOfCommand(name.includes(' ') ? firstWord(name) : name);
  described.target = isDocument ? collection : normalTable(collection) || (summary === '' ? '' : normalTable(summary.split(' ')[1] ?? ''));
  described.varies = 'document';
  described.key = documentKey(view);
  if (isDocument && name !== '') described.statement = commandStatement(described.kind, name.toLowerCase(), described.target);
  return described;
}

function kindOfStatement(statement: Statement): OperationKind {
  switch (statement.verb) {
    case 'select':
      return 'read';
    case 'insert':
    case 'update':
    case 'merge':
      return 'write';
    case 'delete':
      return 'delete';
    case 'begin':
    case 'commit':
    case 'rollback':
      return 'transaction';
    case 'ddl':
      return 'call';
    case 'other':
      return /^(?:prepare transaction|xa )/.test(statement.fingerprint) ? 'transaction' : 'call';
  }
}

const statementVerbs: Readonly<Partial<Record<OperationKind, Statement['verb']>>> = { read: 'select', write: 'update', delete: 'delete' };

/** Commands are few and statements are shared: cached by what they are made of, bounded by dropping all. */
const commandStatements = new Map<string, Statement>();

function commandStatement(kind: OperationKind, fingerprint: string, target: string): Statement {
  const id = `${kind} ${target} ${fingerprint}`;
  let statement = commandStatements.get(id);
  if (statement === undefined) {
    if (commandStatements.size >= 4096) commandStatements.clear();
    statement = {
      verb: kind === 'write' && /^(?:insert|create)/.test(fingerprint) ? 'insert' : (statementVerbs[kind] ?? 'other'),
      tables: target === '' ? [] : [target],
      keyColumns: [],
      hasVersionPredicate: false,
      isLocking: false,
      hasOnConflict: / (?:nx|xx)\b/.test(fingerprint) || fingerprint.startsWith('setnx'),
      hasReturning: false,
      isRelativeUpdate: /^(?:incr|decr|hincr|zincr|append|lpush|rpush|sadd|zadd)/.test(fingerprint),
      fingerprint,
    };
    commandStatements.set(id, statement);
  }
  return statement;
}

const documentStores: ReadonlySet<string> = new Set([
  'mongodb',
  'elasticsearch',
  'opensearch',
  'dynamodb',
  'aws.dynamodb',
  'cosmosdb',
  'azure.cosmosdb',
  'couchdb',
  'firestore',
]);

const firstWord = (text: string): string => text.trim().split(/\s/, 1)[0] ?? '';

/** Quotes off, lower case: as statements name tables. */
const normalTable = (name: string): string => (name === '' ? '' : name.replaceAll(/["`[\]]/g, '').toLowerCase());

/** Rows returned, else affected; -1 where neither is recorded. */
export function rowsOf(view: SpanView): number {
  const returned = view.number(returnedRowsCode, -1);
  return returned >= 0 ? returned : view.number(affectedRowsCode, -1);
}

export function documentKey(view: SpanView): string {
  return view.text(elasticIdCode);
}

/** The key from recorded parameters: `db.query.parameter.N`, or node-postgres's `db.postgresql.values`. */
export function boundKey(view: SpanView, positions: readonly number[]): string {
  if (positions.length === 0) return '';
  if (view.has(postgresValuesCode)) {
    const values = listOf(view.text(postgresValuesCode));
    return positions.every((position) => position < values.length) ? positions.map((position) => values[position] ?? '').join('|') : '';
  }
  let key = '';
  for (let i = 0; i < positions.length; i += 1) {
    const position = positions[i] as number;
    if (position > 15 || !view.has(firstParameter + position)) return '';
    key += `${i === 0 ? '' : '|'}${view.text(firstParameter + position)}`;
  }
  return key;
}
