/**
 * SQLSTATE of a failed statement, from whatever the instrumentation left: the response status code, the error type, the exception's type,
 * its message. Detectors of contention look at 40001, 40P01, 55P03 and their kin, so vendors' own numbers are mapped to these.
 */
export function sqlStateOf(system: string, statusCode: string, errorType: string, exceptionType: string, message: string): string {
  return (
    fromCode(system, statusCode) || fromCode(system, errorType) || fromType(errorType) || fromType(exceptionType) || fromMessage(message)
  );
}

const sqlState = /^[0-9A-Z]{5}$/;

/** Vendors' numbers and names with the SQLSTATE that PostgreSQL gives the same event. */
const mysqlNumbers: Readonly<Record<string, string>> = {
  '1213': '40001',
  '1205': '55P03',
  '3572': '55P03',
  '1062': '23505',
  '1586': '23505',
  '1020': '40001',
  '1451': '23503',
  '1452': '23503',
  '3024': '57014',
  '1317': '57014',
};
const mssqlNumbers: Readonly<Record<string, string>> = {
  '1205': '40P01',
  '1222': '55P03',
  '3960': '40001',
  '2627': '23505',
  '2601': '23505',
};
const oracleNumbers: Readonly<Record<string, string>> = { '60': '40P01', '8177': '40001', '54': '55P03', '30006': '55P03', '1': '23505' };
const mongoCodes: Readonly<Record<string, string>> = {
  '112': '40001',
  '24': '55P03',
  '11000': '23505',
  WriteConflict: '40001',
  LockTimeout: '55P03',
  DuplicateKey: '23505',
};

function fromCode(system: string, code: string): string {
  if (code === '' || code === '0' || code === '00000') return '';
  if (system === 'mongodb') return mongoCodes[code] ?? '';
  if (system === 'mssql' || system === 'microsoft.sql_server') return mssqlNumbers[code] ?? (isState(code) ? code : '');
  const oracle = /^ORA-0*(\d+)$/.exec(code);
  if (oracle !== null) return oracleNumbers[oracle[1] as string] ?? '';
  if (system === 'oracle' || system === 'oracle.db') return oracleNumbers[code.replace(/^0+/, '')] ?? '';
  if (mysqlNumbers[code] !== undefined && (system === 'mysql' || system === 'mariadb' || system === 'tidb')) return mysqlNumbers[code];
  return isState(code) ? code : '';
}

/** Five characters that a SQLSTATE can have; class 00 is success, and a word such as ERROR is none. */
const isState = (code: string): boolean => sqlState.test(code) && !code.startsWith('00') && /\d/.test(code);

/** Names of exception classes, last part, any language. */
const types: readonly (readonly [RegExp, string])[] = [
  [/SerializationFailure|CannotSerializeTransaction|TransactionRollbackError|WriteConflict/, '40001'],
  [/Deadlock|DeadlockLoser/i, '40P01'],
  [/LockNotAvailable|CannotAcquireLock|LockTimeout|PessimisticLock|ER_LOCK_WAIT_TIMEOUT|LockWaitTimeout/, '55P03'],
  [/UniqueViolation|DuplicateKey|DuplicateEntry|ER_DUP_ENTRY|RecordNotUnique/, '23505'],
  [/ForeignKeyViolation/, '23503'],
  [/QueryCanceled|QueryTimeout/, '57014'],
];

function fromType(type: string): string {
  if (type === '') return '';
  if (type === 'ER_LOCK_DEADLOCK') return '40001';
  for (const [pattern, state] of types) if (pattern.test(type)) return state;
  return '';
}

const texts: readonly (readonly [RegExp, string])[] = [
  [
    /could not serialize access|could not serialize transaction|serialization failure|restart transaction|WriteConflict|Write conflict|can't serialize access|ORA-08177/i,
    '40001',
  ],
  [/Deadlock found when trying to get lock/i, '40001'],
  [/deadlock detected|was deadlocked on|ORA-00060/i, '40P01'],
  [/could not obtain lock|lock timeout|Lock wait timeout exceeded|lock request time ?out|ORA-00054|database is locked/i, '55P03'],
  [/duplicate key value|Duplicate entry|UNIQUE constraint failed|ORA-00001|E11000/i, '23505'],
  [/canceling statement due to statement timeout|Query execution was interrupted/i, '57014'],
  [/current transaction is aborted/i, '25P02'],
];

function fromMessage(message: string): string {
  if (message === '') return '';
  const text = message.slice(0, 2048);
  const named = /(?:\(code: |SQLSTATE[:[ ]{0,2}|sqlState[=:] ?'?|\bcode[=:] ?'?)([0-9A-Z]{5})\b/.exec(text)?.[1];
  if (named !== undefined && isState(named)) {
    // MySQL reports a lock wait timeout under the general state.
    if (named !== 'HY000') return named;
  }
  for (const [pattern, state] of texts) if (pattern.test(text)) return state;
  return '';
}
