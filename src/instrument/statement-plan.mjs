/**
 * What a SQL statement says of one object of a declared table: its key from the text and its bound parameters, the version from the rows
 * that came back (a SELECT, or RETURNING), the version that a write was derived from out of its version predicate.
 *
 * Only tables that are declared are touched, and only statements on one object: what cannot be told is left out, never guessed.
 */

/** Texts with literals in place of parameters are without end. */
const plansKept = 2000;

/** Plans of texts for some declared tables, made once each. */
export function statementPlans(tables) {
  const plans = new Map();
  return (text) => {
    if (typeof text !== 'string') return null;
    let plan = plans.get(text);
    if (plan === undefined) {
      if (plans.size >= plansKept) plans.clear();
      plan = planOf(text, tables);
      plans.set(text, plan);
    }
    return plan;
  };
}

/** `begin`, `commit`, `rollback`, `rollback to` (a savepoint), or undefined. */
export function transactionVerb(text) {
  if (typeof text !== 'string') return undefined;
  const match = /^\s*(begin\b|start\s+transaction\b|commit\b|end\b|rollback\b|abort\b)/i.exec(text);
  if (match === null) return undefined;
  const verb = match[1].toLowerCase();
  if (verb === 'begin' || verb.startsWith('start')) return 'begin';
  if (verb === 'commit' || verb === 'end') return /^\s*commit\s+prepared\b/i.test(text) ? undefined : 'commit';
  return /^\s*\w+\s+(?:work\s+|transaction\s+)?to\b/i.test(text) ? 'rollback to' : 'rollback';
}

/** What is known before the statement runs: attributes, or null where its parameters do not name an object. */
export function attributesBefore(plan, values) {
  const key = valueOf(plan.key, values);
  if (key === undefined || key === null) return null;
  return {
    'consistency.object.type': plan.object.type,
    'consistency.object.key': String(key),
    'consistency.operation': plan.operation,
    ...(plan.object.domain === undefined ? {} : { 'consistency.domain': plan.object.domain }),
  };
}

/**
 * What its result adds. `wrote`: false for a write that matched no row, and so wrote nothing. `readVersion`: the version that the same unit
 * of work read of the object, or undefined; it is the base of a write only where the table is declared so.
 */
export function attributesAfter(plan, values, result, readVersion) {
  const { version: column } = plan.object;
  const isRead = plan.operation === 'read';
  const rows = Array.isArray(result?.rows) ? result.rows : [];
  // Rows of `rowMode: 'array'` have no column names.
  const version = column !== undefined && rows.length === 1 && !Array.isArray(rows[0]) ? versionOf(rows[0][column]) : undefined;
  if (isRead) {
    if (column === undefined) return { wrote: true, attributes: {} };
    // One object was asked for and none was there: an empty version says so.
    const read = version ?? (rows.length === 0 ? '' : undefined);
    return { wrote: true, attributes: read === undefined ? {} : { 'consistency.version': read } };
  }
  if ((result?.rowCount ?? 0) !== 1) return { wrote: false, attributes: {} };
  if (column === undefined) return { wrote: true, attributes: {} };
  const derived = plan.object.baseFromRead === true && plan.setsValues ? readVersion : undefined;
  const matched = plan.isInsert ? '' : versionOf(valueOf(plan.base, values));
  const base = matched ?? derived;
  // Only a version that the statement itself compared is one below what it leaves; a version read before may have moved on since.
  const next = version ?? (plan.increments && typeof matched === 'number' ? matched + 1 : undefined);
  return {
    wrote: true,
    attributes: {
      ...(base === undefined ? {} : { 'consistency.version.base': base }),
      ...(next === undefined ? {} : { 'consistency.version': next }),
    },
  };
}

const name = '((?:"[^"]+"|[\\w$]+)(?:\\.(?:"[^"]+"|[\\w$]+))*)';
const select = new RegExp(`^\\s*select\\s[\\s\\S]*?\\sfrom\\s+${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?where\\s+([\\s\\S]+)$`, 'i');
const update = new RegExp(`^\\s*update\\s+(?:only\\s+)?${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?set\\s+([\\s\\S]+?)\\swhere\\s+([\\s\\S]+)$`, 'i');
const remove = new RegExp(`^\\s*delete\\s+from\\s+${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?where\\s+([\\s\\S]+)$`, 'i');
const insert = new RegExp(`^\\s*insert\\s+into\\s+${name}\\s*\\(([^)]*)\\)\\s*values\\s*\\(([^()]*)\\)\\s*(on\\s+conflict[\\s\\S]*)?(?:returning[\\s\\S]*)?;?\\s*$`, 'i');

/** Versions that units of work read, newest last; old ones go. */
export function lastReads() {
  const versions = new Map();
  return {
    note: (unit, attributes, version) => {
      const name = `${unit}/${attributes['consistency.object.type']}/${attributes['consistency.object.key']}`;
      versions.delete(name);
      if (versions.size >= readsKept) versions.delete(versions.keys().next().value);
      versions.set(name, version);
    },
    of: (unit, attributes) => versions.get(`${unit}/${attributes['consistency.object.type']}/${attributes['consistency.object.key']}`),
  };
}

const readsKept = 10_000;

/** Whether a SET clause gives some column a value from outside, rather than computing all of them from themselves. */
function setsValues(clause, version) {
  return clause.split(/,(?![^(]*\))/).some((assignment) => {
    const match = /^\s*(?:[\w$]+\.)?"?([\w$]+)"?\s*=\s*([\s\S]+)$/.exec(assignment);
    return match !== null && match[1].toLowerCase() !== version && !new RegExp(`\\b${escaped(match[1])}\\b`, 'i').test(match[2]) && /[$'\d]/.test(match[2]);
  });
}

/** What a text means for a declared table, or null. */
export function planOf(text, objects) {
  if (/\b(?:join|union)\b|,\s*\w+\s+where\b/i.test(text)) return null;
  let match = insert.exec(text);
  if (match !== null) {
    const object = objectOf(match[1], objects);
    const columns = match[2].split(',').map(plain);
    const at = object === undefined ? -1 : columns.indexOf(object.key);
    if (at < 0) return null;
    // An upsert may have found the row: then nothing is known of what was there.
    return { object, operation: 'write', key: sourceOf(match[3].split(',')[at]), isInsert: match[4] === undefined };
  }
  match = update.exec(text);
  if (match !== null) {
    const object = objectOf(match[1], objects);
    if (object === undefined) return null;
    const key = compared(match[3], object.key);
    if (key === undefined) return null;
    const version = object.version;
    const increments = version !== undefined && new RegExp(`(?:^|[\\s,"])${escaped(version)}"?\\s*=\\s*(?:[\\w$"]+\\.)?"?${escaped(version)}"?\\s*\\+\\s*1(?:[\\s,]|$)`, 'i').test(match[2]);
    return { object, operation: 'write', key, base: version === undefined ? undefined : compared(match[3], version), increments, setsValues: setsValues(match[2], version) };
  }
  match = remove.exec(text);
  if (match !== null) {
    const object = objectOf(match[1], objects);
    const key = object === undefined ? undefined : compared(match[2], object.key);
    return key === undefined ? null : { object, operation: 'delete', key, base: object.version === undefined ? undefined : compared(match[2], object.version) };
  }
  match = select.exec(text);
  if (match !== null) {
    const object = objectOf(match[1], objects);
    const key = object === undefined ? undefined : compared(match[2], object.key);
    return key === undefined ? null : { object, operation: 'read', key };
  }
  return null;
}

const plain = (identifier) => identifier.trim().replaceAll('"', '').toLowerCase();
const escaped = (text) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

function objectOf(table, objects) {
  const whole = plain(table);
  return objects[whole] ?? objects[whole.slice(whole.lastIndexOf('.') + 1)];
}

/** Where the value of `column = value` comes from, in a condition of ANDs; undefined with an OR or a NOT, which may touch other rows. */
function compared(condition, column) {
  const bare = condition.replaceAll(/'[^']*'/g, "''").replaceAll(/\bis\s+not\s+null\b/gi, '');
  if (/\b(?:or|not)\b/i.test(bare)) return undefined;
  const match = new RegExp(`(?:^|[\\s(."])${escaped(column)}"?\\s*=\\s*(\\$\\d+|'(?:[^']|'')*'|-?\\d+)`, 'i').exec(condition);
  return match === null ? undefined : sourceOf(match[1]);
}

function sourceOf(text) {
  const trimmed = text.trim();
  const parameter = /^\$(\d+)(?:::\w+)?$/.exec(trimmed);
  if (parameter !== null) return { parameter: Number(parameter[1]) - 1 };
  if (/^'(?:[^']|'')*'$/.test(trimmed)) return { literal: trimmed.slice(1, -1).replaceAll("''", "'") };
  return /^-?\d+$/.test(trimmed) ? { literal: trimmed } : undefined;
}

function valueOf(source, values) {
  if (source === undefined) return undefined;
  return 'literal' in source ? source.literal : values?.[source.parameter];
}

/** Integers as numbers, which order themselves; anything else as opaque text. */
function versionOf(value) {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  if (typeof value === 'bigint' || (typeof value === 'string' && /^-?\d{1,15}$/.test(value))) return Number(value);
  return value instanceof Date ? value.toISOString() : String(value);
}
