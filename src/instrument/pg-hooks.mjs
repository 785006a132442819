/**
 * Hooks for `@opentelemetry/instrumentation-pg` that fill `consistency.*` on the span of a statement: the object's type and key from
 * the text and its bound parameters, the version from the rows that came back (a SELECT, or RETURNING), the version that a write was
 * derived from out of its version predicate. Plain JavaScript, so that any service can load it from node_modules as it is.
 *
 * Only tables that are declared are touched, and only statements on one object: what cannot be told is left out, never guessed.
 */

/** @type {import('./pg-hooks.d.mts').pgHooks} */
export function pgHooks(objects) {
  const plans = new Map();
  /** Facts of a span from its request to its response. */
  const pending = new WeakMap();
  return {
    requestHook: (span, info) => {
      const text = info.query?.text;
      if (typeof text !== 'string') return;
      let plan = plans.get(text);
      if (plan === undefined) {
        // Texts with literals in place of parameters are without end.
        if (plans.size >= 2000) plans.clear();
        plan = planOf(text, objects);
        plans.set(text, plan);
      }
      if (plan === null) return;
      const key = valueOf(plan.key, info.query.values);
      if (key === undefined || key === null) return;
      span.setAttribute('consistency.object.type', plan.object.type);
      span.setAttribute('consistency.object.key', String(key));
      span.setAttribute('consistency.operation', plan.operation);
      if (plan.object.domain !== undefined) span.setAttribute('consistency.domain', plan.object.domain);
      const base = valueOf(plan.base, info.query.values);
      pending.set(span, { plan, base: plan.isInsert ? '' : versionOf(base) });
    },
    responseHook: (span, { data }) => {
      const facts = pending.get(span);
      if (facts === undefined || facts.plan.object.version === undefined) return;
      const { plan, base } = facts;
      const rows = Array.isArray(data?.rows) ? data.rows : [];
      const version = rows.length === 1 ? versionOf(rows[0][plan.object.version]) : undefined;
      if (plan.operation === 'read') {
        if (version !== undefined) span.setAttribute('consistency.version', version);
        // One object was asked for and none was there: an empty version says so.
        else if (rows.length === 0) span.setAttribute('consistency.version', '');
        return;
      }
      // A write that matched nothing wrote nothing: it must not claim a version.
      if ((data?.rowCount ?? 0) !== 1) {
        span.setAttribute('consistency.transaction.outcome', 'aborted');
        return;
      }
      if (base !== undefined) span.setAttribute('consistency.version.base', base);
      if (version !== undefined) span.setAttribute('consistency.version', version);
      else if (plan.increments && typeof base === 'number') span.setAttribute('consistency.version', base + 1);
    },
  };
}

const name = '((?:"[^"]+"|[\\w$]+)(?:\\.(?:"[^"]+"|[\\w$]+))*)';
const select = new RegExp(`^\\s*select\\s[\\s\\S]*?\\sfrom\\s+${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?where\\s+([\\s\\S]+)$`, 'i');
const update = new RegExp(`^\\s*update\\s+(?:only\\s+)?${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?set\\s+([\\s\\S]+?)\\swhere\\s+([\\s\\S]+)$`, 'i');
const remove = new RegExp(`^\\s*delete\\s+from\\s+${name}\\s+(?:(?:as\\s+)?[\\w$]+\\s+)?where\\s+([\\s\\S]+)$`, 'i');
const insert = new RegExp(`^\\s*insert\\s+into\\s+${name}\\s*\\(([^)]*)\\)\\s*values\\s*\\(([^()]*)\\)\\s*(on\\s+conflict[\\s\\S]*)?(?:returning[\\s\\S]*)?;?\\s*$`, 'i');

/** What a text means for a declared table, or null. */
function planOf(text, objects) {
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
    return { object, operation: 'write', key, base: version === undefined ? undefined : compared(match[3], version), increments };
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

/** Where the value of `column = value` comes from, in a condition of ANDs; undefined under an OR, which may touch other rows. */
function compared(condition, column) {
  if (/\bor\b/i.test(condition.replaceAll(/'[^']*'/g, "''"))) return undefined;
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
