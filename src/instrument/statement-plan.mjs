/**
 * What a SQL statement says of one object of a declared table: its key from the text and its bound parameters, the version from the rows
 * that came back (a SELECT, or RETURNING), the version that a write was derived from out of its version predicate.
 *
 * Only tables that are declared are touched, and only statements on one object: what cannot be told is left out, never guessed.
 */

/** Texts with literals in place of parameters are without end. */
const plansKept = 2000;

/** Plans of texts for some declared tables, made once each. `standard` gives a dialect's text as it is read here, or undefined. */
export function statementPlans(tables, standard = (text) => text) {
  const plans = new Map();
  return (text) => {
    if (typeof text !== 'string') return null;
    let plan = plans.get(text);
    if (plan === undefined) {
      if (plans.size >= plansKept) plans.clear();
      const read = standard(text);
      plan = read === undefined ? null : planOf(read, tables);
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

/**
 * What is known before the statement runs: attributes, or null where its parameters do not name an object. Without a key where the database
 * makes it.
 */
export function attributesBefore(plan, values) {
  const key = keyText(valueOf(plan.key, values));
  if (key === undefined && !isGenerated(plan, values)) return null;
  return {
    'consistency.object.type': plan.object.type,
    ...(key === undefined ? {} : { 'consistency.object.key': key }),
    'consistency.operation': plan.operation,
    ...(plan.object.domain === undefined ? {} : { 'consistency.domain': plan.object.domain }),
  };
}

/** An insert that says nothing of its key: RETURNING does, or the id that MySQL made. */
function isGenerated({ isInsert, key }, values) {
  if (isInsert !== true) return false;
  return key === undefined || (key.field !== undefined && isFields(values?.[key.parameter]) && !(key.field in values[key.parameter]));
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
  const row = rows.length === 1 && !Array.isArray(rows[0]) ? rows[0] : undefined;
  const version = column === undefined ? undefined : versionOf(row?.[column]);
  if (isRead) {
    if (column === undefined) return { wrote: true, attributes: {} };
    // One object was asked for and none was there: an empty version says so.
    const read = version ?? (rows.length === 0 ? '' : undefined);
    return { wrote: true, attributes: read === undefined ? {} : { 'consistency.version': read } };
  }
  if ((result?.rowCount ?? 0) !== 1) return { wrote: false, attributes: {} };
  const made = isGenerated(plan, values) ? keyText(row?.[plan.object.key] ?? result?.insertId) : '';
  // A write on an object that has no name is not said.
  if (made === undefined) return { wrote: false, attributes: {} };
  const key = made === '' ? {} : { 'consistency.object.key': made };
  if (column === undefined) return { wrote: true, attributes: key };
  const derived = plan.object.baseFromRead === true && plan.setsValues ? readVersion : undefined;
  const matched = plan.isInsert ? '' : versionOf(valueOf(plan.base, values));
  const base = matched ?? derived;
  // Only a version that the statement itself compared is one below what it leaves; a version read before may have moved on since.
  const next = version ?? versionOf(valueOf(plan.next, values)) ?? (plan.increments && typeof matched === 'number' ? matched + 1 : undefined);
  return {
    wrote: true,
    attributes: {
      ...key,
      ...(base === undefined ? {} : { 'consistency.version.base': base }),
      ...(next === undefined ? {} : { 'consistency.version': next }),
    },
  };
}

const name = '((?:"[^"]+"|[\\w$]+)(?:\\.(?:"[^"]+"|[\\w$]+))*)';
const select = new RegExp(`^\\s*select\\s[\\s\\S]*?\\sfrom\\s+${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?where\\s+([\\s\\S]+)$`, 'i');
const update = new RegExp(`^\\s*update\\s+(?:only\\s+)?${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?set\\s+([\\s\\S]+?)\\swhere\\s+([\\s\\S]+)$`, 'i');
const remove = new RegExp(`^\\s*delete\\s+from\\s+${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?where\\s+([\\s\\S]+)$`, 'i');
const insert = new RegExp(`^\\s*(insert|upsert)\\s+into\\s+${name}\\s*\\(([^()]*)\\)\\s*values?\\s*(?=\\()`, 'i');
/** MySQL's `INSERT INTO orders SET ?`, with the columns in an object. */
const insertFields = new RegExp(`^\\s*(insert|upsert)\\s+into\\s+${name}\\s+set\\s+\\$(\\d+)\\s*(on\\s+conflict[\\s\\S]*)?;?\\s*$`, 'i');

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

/** What a SET clause does to each column: `[column, value]`. */
const assignments = (clause) =>
  listOf(clause, ',').flatMap((assignment) => {
    const match = /^\s*(?:[\w$]+\.)?"?([\w$]+)"?\s*=\s*([\s\S]+?)\s*$/.exec(assignment);
    return match === null ? [] : [[match[1].toLowerCase(), match[2]]];
  });

/** Whether a SET clause gives some column a value from outside, rather than computing all of them from themselves. */
const setsValues = (assigned, version) =>
  assigned.some(([column, value]) => column !== version && !new RegExp(`\\b${escaped(column)}\\b`, 'i').test(value) && /[$'\d]/.test(value));

/** What a text means for a declared table, or null. */
export function planOf(text, objects) {
  if (/\b(?:join|union)\b|,\s*\w+\s+where\b/i.test(text)) return null;
  const fields = insertFields.exec(text);
  if (fields !== null) {
    const object = objectOf(fields[2], objects);
    if (object === undefined) return null;
    const parameter = Number(fields[3]) - 1;
    // An upsert may have found the row: then nothing is known of what was there.
    const isInsert = fields[1].toLowerCase() === 'insert' && fields[4] === undefined;
    const next = isInsert && object.version !== undefined ? { parameter, field: object.version } : undefined;
    return { object, operation: 'write', key: { parameter, field: object.key }, isInsert, next };
  }
  let match = insert.exec(text);
  if (match !== null) {
    const object = objectOf(match[2], objects);
    const list = bracketed(text, match[0].length);
    if (object === undefined || list === undefined) return null;
    const tail = /^\s*(?:as\s+\w+\s+)?(on\s+conflict\b[\s\S]*|returning\b[\s\S]*)?;?\s*$/i.exec(text.slice(list.end));
    if (tail === null) return null;
    const columns = match[3].split(',').map(plain);
    const values = listOf(list.inner, ',');
    const isInsert = match[1].toLowerCase() === 'insert' && !/^on\b/i.test(tail[1] ?? '');
    const sourceAt = (column) => (columns.includes(column) ? sourceOf(values[columns.indexOf(column)] ?? '') : undefined);
    const key = sourceAt(object.key);
    // A key that is computed, or one that an upsert does not give, is not known.
    if (key === undefined && (!isInsert || (columns.includes(object.key) && !/^\s*default\s*$/i.test(values[columns.indexOf(object.key)] ?? ''))))
      return null;
    return { object, operation: 'write', key, isInsert, next: isInsert ? sourceAt(object.version) : undefined };
  }
  match = update.exec(text);
  if (match !== null) {
    const object = objectOf(match[1], objects);
    if (object === undefined) return null;
    const terms = termsOf(match[3]);
    const key = compared(terms, object.key);
    if (key === undefined) return null;
    const { version } = object;
    const assigned = assignments(match[2]);
    const set = assigned.find(([column]) => column === version)?.[1] ?? '';
    const increments = version !== undefined && new RegExp(`^(?:[\\w$"]+\\.)?"?${escaped(version)}"?\\s*\\+\\s*1$`, 'i').test(set);
    const base = version === undefined ? undefined : compared(terms, version);
    return { object, operation: 'write', key, base, next: sourceOf(set), increments, setsValues: setsValues(assigned, version) };
  }
  match = remove.exec(text);
  if (match !== null) {
    const object = objectOf(match[1], objects);
    const terms = object === undefined ? [] : termsOf(match[2]);
    const key = object === undefined ? undefined : compared(terms, object.key);
    if (key === undefined) return null;
    return { object, operation: 'delete', key, base: object.version === undefined ? undefined : compared(terms, object.version) };
  }
  match = select.exec(text);
  if (match !== null) {
    const object = objectOf(match[1], objects);
    const key = object === undefined ? undefined : compared(termsOf(match[2]), object.key);
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

/** Text with what stands in quotes blanked out, of the same length. */
const masked = (text) => text.replaceAll(/'(?:[^']|'')*'/g, (quoted) => `'${'_'.repeat(quoted.length - 2)}'`);

/** Pieces between separators that stand outside of quotes and parentheses. */
function listOf(text, separator) {
  const bare = masked(text);
  const pieces = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < bare.length; i += 1) {
    if (bare[i] === '(') depth += 1;
    else if (bare[i] === ')') depth -= 1;
    else if (depth === 0 && bare.startsWith(separator, i)) {
      pieces.push(text.slice(start, i));
      start = i + separator.length;
    }
  }
  pieces.push(text.slice(start));
  return pieces;
}

/** What the parenthesis at `open` holds, and where the text goes on; undefined where it is not closed. */
function bracketed(text, open) {
  const bare = masked(text);
  let depth = 0;
  for (let i = open; i < bare.length; i += 1) {
    if (bare[i] === '(') depth += 1;
    else if (bare[i] === ')') {
      depth -= 1;
      if (depth === 0) return { inner: text.slice(open + 1, i), end: i + 1 };
    }
  }
  return undefined;
}

/** What follows a condition. */
const afterCondition = /\s(?:group\s+by|having|window|order\s+by|limit|offset|fetch|returning|for\s+(?:update|share|no\s+key|key)|lock\s+in|into)\b/i;

/**
 * The terms of a condition that have all to hold; none with an OR, a NOT or the like, which may touch other rows, or where another
 * statement follows.
 */
function termsOf(condition) {
  const bare = masked(condition);
  const tail = bare.search(afterCondition);
  const own = (tail < 0 ? condition : condition.slice(0, tail)).replace(/[\s;]+$/, '');
  const logic = masked(own)
    .replaceAll(/\bis\s+not\s+null\b/gi, (text) => text.replaceAll(/\S/g, '_'))
    .replaceAll(/\bbetween\s+[^\s()]+\s+and\b/gi, (text) => text.replaceAll(/\S/g, '_'));
  if (/\b(?:or|xor|not|case|between|except|intersect)\b|[;!]|\|\|/i.test(logic)) return [];
  const split = (text, start) => {
    const terms = [];
    let depth = 0;
    let from = 0;
    const add = (end) => {
      const one = text.slice(from, end);
      const inner = one.trim();
      const offset = start + from + one.indexOf(inner);
      if (inner.startsWith('(') && bracketed(inner, 0)?.end === inner.length) terms.push(...split(inner.slice(1, -1), offset + 1));
      else terms.push(own.slice(offset, offset + inner.length));
    };
    for (const match of text.matchAll(/[()]|\band\b/gi)) {
      if (match[0] === '(') depth += 1;
      else if (match[0] === ')') depth -= 1;
      else if (depth === 0) {
        add(match.index);
        from = match.index + 3;
      }
      // A parenthesis that was opened before: the statement is another one's part.
      if (depth < 0) return ['('];
    }
    add(text.length);
    return terms;
  };
  const terms = split(logic, 0);
  return terms.includes('(') ? [] : terms;
}

const value = String.raw`(\$\d+(?:::\w+)?|'(?:[^']|'')*'|-?\d+)`;

/** Where the value of `column = value` comes from; undefined where no term is that and nothing else. */
function compared(terms, column) {
  const one = String.raw`(?:[\w$"]+\.)*"?${escaped(column)}"?`;
  const pattern = new RegExp(`^(?:${one}\\s*=\\s*${value}|${value}\\s*=\\s*${one})$`, 'i');
  for (const term of terms) {
    const match = pattern.exec(term);
    if (match !== null) return sourceOf(match[1] ?? match[2]);
  }
  return undefined;
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
  if ('literal' in source) return source.literal;
  const bound = values?.[source.parameter];
  if (source.field === undefined) return bound;
  return isFields(bound) ? bound[source.field] : undefined;
}

const isFields = (bound) => typeof bound === 'object' && bound !== null && !Array.isArray(bound) && !Buffer.isBuffer(bound) && !(bound instanceof Date);

/** An object's key as text; undefined for what is no single value. */
function keyText(key) {
  if (key === undefined || key === null) return undefined;
  if (Buffer.isBuffer(key)) return key.toString('hex');
  if (key instanceof Date) return key.toISOString();
  return typeof key === 'object' ? undefined : String(key);
}

/** Integers as numbers, which order themselves; anything else as opaque text. */
function versionOf(value) {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  if (typeof value === 'bigint' || (typeof value === 'string' && /^-?\d{1,15}$/.test(value))) return Number(value);
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'object' ? (Buffer.isBuffer(value) ? value.toString('hex') : undefined) : String(value);
}
