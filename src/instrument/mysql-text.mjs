/**
 * MySQL's spelling of a statement in the one that `statement-plan` reads: `?` as $1, $2 ..., backticks and double quotes as the standard has
 * them, comments gone, ON DUPLICATE KEY UPDATE as ON CONFLICT DO UPDATE. What a REPLACE does to a row that is there is an upsert.
 *
 * undefined where the text means something else than it says: comments that are executed.
 */
export function standardText(text) {
  if (/\/\*M?!/.test(text)) return undefined;
  let parameters = 0;
  const standard = text.replaceAll(tokens, (token) => {
    const first = token[0];
    if (first === '`') return quotedName(token.slice(1, -1).replaceAll('``', '`'));
    if (first === "'" || first === '"') return quotedText(token.slice(1, -1), first);
    if (token === '?' || token === '??') {
      parameters += 1;
      // A name that is bound names no declared table: it stays a parameter.
      return `$${parameters}`;
    }
    if (token === '&&') return ' AND ';
    if (token === '||') return ' OR ';
    return ' ';
  });
  return standard
    .replace(/^\s*insert\s+(?:(?:low_priority|delayed|high_priority)\s+)?(?:ignore\s+)?(?:into\s+)?/i, 'insert into ')
    .replace(/^\s*replace\s+(?:(?:low_priority|delayed)\s+)?(?:into\s+)?/i, 'upsert into ')
    .replace(/^\s*update\s+(?:low_priority\s+)?(?:ignore\s+)?/i, 'update ')
    .replace(/^\s*delete\s+(?:low_priority\s+)?(?:quick\s+)?(?:ignore\s+)?from\b/i, 'delete from')
    .replace(/\bon\s+duplicate\s+key\s+update\b/i, 'on conflict do update set');
}

const tokens = /`(?:[^`]|``)*`|'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*"|\/\*[\s\S]*?\*\/|#[^\n]*|--(?:[ \t][^\n]*)?(?=\n|$)|\?\??|&&|\|\|/g;

const quotedName = (name) => (/^[\w$]+$/.test(name) ? name : `"${name.replaceAll('"', '')}"`);

function quotedText(inner, quote) {
  const text = inner.replaceAll(quote + quote, quote).replaceAll(/\\([\s\S])/g, (_all, char) => escapes[char] ?? char);
  return `'${text.replaceAll("'", "''")}'`;
}

const escapes = { n: '\n', t: '\t', r: '\r', b: '\b', 0: '\0', Z: '\u001a', '%': '\\%', _: '\\_' };

/** Whether a statement ends the transaction that is open by committing it, without being a COMMIT. */
export function commitsImplicitly(text) {
  return /^\s*(?:begin|start\s+transaction|create(?!\s+(?:or\s+replace\s+)?temporary)|alter|drop(?!\s+temporary)|rename|truncate|grant|revoke|lock\s+tables|set\s+(?:session\s+|@@(?:session\.)?)?autocommit\s*:?=\s*(?:1|on|true))\b/i.test(
    text,
  );
}
