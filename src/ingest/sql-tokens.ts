/**
 * SQL text into tokens, for PostgreSQL, MySQL and SQL Server spellings at once. It must be right about where literals, quoted names and
 * comments end, because a key word inside one of them means nothing; it does not judge the grammar. Text that instrumentations have
 * sanitised (`?` in place of literals) or cut off is tokenised like any other: an open literal ends with the text.
 */
export interface Token {
  readonly is: 'word' | 'name' | 'text' | 'number' | 'parameter' | 'symbol';
  /** Words in lower case, names without quotes and in lower case, texts unescaped, the rest as written. */
  readonly text: string;
  /** Parameters: position from 0, -1 where the name does not say. */
  readonly position: number;
}

export type SqlDialect = 'ansi' | 'mysql' | 'mssql';

export function dialectOf(system: string): SqlDialect {
  if (system === 'mysql' || system === 'mariadb' || system === 'tidb') return 'mysql';
  if (system === 'mssql' || system === 'microsoft.sql_server') return 'mssql';
  return 'ansi';
}

/** Longer texts are cut: a statement says what it is at its start, and a bulk insert of megabytes must not cost seconds. */
const longestTextRead = 32_768;

export function tokenizeSql(sql: string, dialect: SqlDialect): readonly Token[] {
  const text = sql.length > longestTextRead ? sql.slice(0, longestTextRead) : sql;
  const end = text.length;
  const tokens: Token[] = [];
  const push = (is: Token['is'], content: string, position = -1): number => tokens.push({ is, text: content, position });
  let placeholders = 0;
  /** Executable comments of MySQL that are open: their text is read as code, their end as a space. */
  let executable = 0;
  let at = 0;
  while (at < end) {
    const char = text.charCodeAt(at);
    if (char <= 32 || char === 0xa0) {
      at += 1;
      continue;
    }
    const next = at + 1 < end ? text.charCodeAt(at + 1) : 0;
    // Comments: -- to the line's end (in MySQL only before a space: 5--1 is a sum), nested block comments, and # in MySQL.
    if (
      (char === 45 && next === 45 && (dialect !== 'mysql' || at + 2 >= end || text.charCodeAt(at + 2) <= 32)) ||
      (char === 35 && dialect === 'mysql')
    ) {
      const line = text.indexOf('\n', at);
      at = line < 0 ? end : line + 1;
      continue;
    }
    if (dialect === 'mysql' && char === 47 && next === 42) {
      // /*! ... */, /*!50101 ... */ and MariaDB's /*M! ... */ are executed.
      const mark = /^\/\*M?!\d*/.exec(text.slice(at, at + 12));
      if (mark !== null) {
        executable += 1;
        at += mark[0].length;
        continue;
      }
    }
    if (executable > 0 && char === 42 && next === 47) {
      executable -= 1;
      at += 2;
      continue;
    }
    if (char === 47 && next === 42) {
      at = endOfBlockComment(text, at, dialect);
      continue;
    }
    if (char === 39 || (char === 34 && dialect === 'mysql')) {
      const stop = endOfQuoted(text, at, char, dialect === 'mysql');
      push('text', unquoted(text, at, stop, char, dialect === 'mysql'));
      at = stop;
      continue;
    }
    if (char === 34 || char === 96) {
      const stop = endOfQuoted(text, at, char, false);
      push('name', unquoted(text, at, stop, char, false).toLowerCase());
      at = stop;
      continue;
    }
    if (char === 91 && dialect === 'mssql') {
      const close = text.indexOf(']', at);
      const stop = close < 0 ? end : close + 1;
      push('name', text.slice(at + 1, stop - 1).toLowerCase());
      at = stop;
      continue;
    }
    if (isWordStart(char)) {
      let stop = at + 1;
      while (stop < end && isWordPart(text.charCodeAt(stop))) stop += 1;
      // E'...' with backslashes, N'', B'', X'', U&'' prefixes, and MySQL's character sets: _latin1'...'.
      const prefix = text.slice(at, stop).toLowerCase();
      const quote = text.charCodeAt(stop);
      const isQuote = quote === 39 || (quote === 34 && dialect === 'mysql');
      if (isQuote && (stringPrefixes.has(prefix) || (dialect === 'mysql' && char === 95))) {
        const hasBackslashes = dialect === 'mysql' || prefix === 'e';
        const close = endOfQuoted(text, stop, quote, hasBackslashes);
        push('text', unquoted(text, stop, close, quote, hasBackslashes));
        at = close;
      } else {
        push('word', prefix);
        at = stop;
      }
      continue;
    }
    if (isDigit(char) || (char === 46 && isDigit(next))) {
      const found = numberPattern(text, at);
      push('number', text.slice(at, found));
      at = found;
      continue;
    }
    if (char === 36) {
      if (isDigit(next)) {
        let stop = at + 1;
        while (stop < end && isDigit(text.charCodeAt(stop))) stop += 1;
        push('parameter', text.slice(at, stop), Number(text.slice(at + 1, stop)) - 1);
        at = stop;
        continue;
      }
      const tag = /^\$([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/.exec(text.slice(at, at + 64));
      if (tag !== null) {
        const close = text.indexOf(tag[0], at + tag[0].length);
        push('text', text.slice(at + tag[0].length, close < 0 ? end : close));
        at = close < 0 ? end : close + tag[0].length;
        continue;
      }
    }
    if (char === 63) {
      // `??` and `?|`, `?&` are PostgreSQL's JSON operators; a lone `?` is a placeholder.
      if (dialect === 'ansi' && (next === 124 || next === 38) && text.charCodeAt(at + 2) !== next) {
        push('symbol', text.slice(at, at + 2));
        at += 2;
        continue;
      }
      push('parameter', '?', placeholders);
      placeholders += 1;
      at += 1;
      continue;
    }
    if ((char === 58 && next !== 58 && next !== 61 && isWordStart(next)) || (char === 64 && (isWordStart(next) || next === 64))) {
      // `a:b` in an array slice is no parameter, but nothing here depends on slices.
      let stop = at + 1;
      while (stop < end && (isWordPart(text.charCodeAt(stop)) || text.charCodeAt(stop) === 64)) stop += 1;
      push('parameter', text.slice(at, stop));
      at = stop;
      continue;
    }
    if (char === 37 && next === 115) {
      push('parameter', '%s', placeholders);
      placeholders += 1;
      at += 2;
      continue;
    }
    if (char === 37 && next === 40) {
      const close = text.indexOf(')s', at);
      if (close > 0 && close - at < 64) {
        push('parameter', text.slice(at, close + 2));
        at = close + 2;
        continue;
      }
    }
    if (dialect === 'mysql' && isOperator(char)) {
      mysqlOperator.lastIndex = at;
      mysqlOperator.test(text);
      const operator = text.slice(at, mysqlOperator.lastIndex);
      const word = operatorWords[operator];
      push(word === undefined ? 'symbol' : 'word', word ?? operator);
      at += operator.length;
      continue;
    }
    if (isOperator(char)) {
      let stop = at + 1;
      while (
        stop < end &&
        isOperator(text.charCodeAt(stop)) &&
        !(text.charCodeAt(stop) === 45 && text.charCodeAt(stop + 1) === 45) &&
        !(text.charCodeAt(stop) === 47 && text.charCodeAt(stop + 1) === 42)
      ) {
        // `=-1`, `=@p`, `=%(x)s`, `=%s`: a sign or parameter starts anew.
        const here = text.charCodeAt(stop);
        if ((here === 45 || here === 43) && !/[~!@#%^&|`?]/.test(text.slice(at, stop))) break;
        const after = text.charCodeAt(stop + 1);
        if (here === 64 && isWordStart(after) && text.charCodeAt(at) === 61) break;
        if (here === 37 && (after === 40 || after === 115) && /[=<>]$/.test(text.slice(at, stop))) break;
        stop += 1;
      }
      push('symbol', text.slice(at, stop));
      at = stop;
      continue;
    }
    if (char === 58) {
      const stop = next === 58 || next === 61 ? at + 2 : at + 1;
      push('symbol', text.slice(at, stop));
      at = stop;
      continue;
    }
    push('symbol', text[at] as string);
    at += 1;
  }
  return tokens;
}

const stringPrefixes = new Set(['e', 'n', 'b', 'x', 'u&']);
/** MySQL has no operators but these, and three of them are words written otherwise (with PIPES_AS_CONCAT, which is rare, || is not). */
const mysqlOperator = /<=>|->>|->|<=|>=|<>|!=|<<|>>|\|\||&&|[-+*/<>=~!@#%^&|]/y;
const operatorWords: Readonly<Record<string, string>> = { '||': 'or', '&&': 'and', '!': 'not' };
const isDigit = (char: number): boolean => char >= 48 && char <= 57;
const isWordStart = (char: number): boolean => (char >= 97 && char <= 122) || (char >= 65 && char <= 90) || char === 95 || char >= 128;
const isWordPart = (char: number): boolean => isWordStart(char) || isDigit(char) || char === 36;
/** + - * / < > = ~ ! @ # % ^ & | */
const isOperator = (char: number): boolean =>
  char === 43 ||
  char === 45 ||
  char === 42 ||
  char === 47 ||
  char === 60 ||
  char === 61 ||
  char === 62 ||
  char === 126 ||
  char === 33 ||
  char === 64 ||
  char === 35 ||
  char === 37 ||
  char === 94 ||
  char === 38 ||
  char === 124;

function numberPattern(text: string, start: number): number {
  const pattern = /0[xX][\da-fA-F]+|(?:\d[\d_]*)?\.?\d*(?:[eE][+-]?\d+)?/y;
  pattern.lastIndex = start;
  pattern.test(text);
  return Math.max(pattern.lastIndex, start + 1);
}

function endOfBlockComment(text: string, start: number, dialect: SqlDialect): number {
  // MySQL's blocks do not nest; PostgreSQL's do.
  let depth = 0;
  let at = start;
  for (;;) {
    const close = text.indexOf('*/', at + 2);
    if (close < 0) return text.length;
    if (dialect === 'mysql') return close + 2;
    const open = text.indexOf('/*', at + 2);
    if (open >= 0 && open < close) {
      depth += 1;
      at = open;
    } else {
      if (depth === 0) return close + 2;
      depth -= 1;
      at = close;
    }
  }
}

function endOfQuoted(text: string, start: number, quote: number, hasBackslashes: boolean): number {
  let at = start + 1;
  while (at < text.length) {
    const char = text.charCodeAt(at);
    if (char === 92 && hasBackslashes) at += 2;
    else if (char === quote) {
      if (text.charCodeAt(at + 1) !== quote) return at + 1;
      at += 2;
    } else at += 1;
  }
  return text.length;
}

function unquoted(text: string, start: number, stop: number, quote: number, hasBackslashes: boolean): string {
  const mark = String.fromCharCode(quote);
  const isClosed = stop > start + 1 && text.charCodeAt(stop - 1) === quote;
  const inner = text.slice(start + 1, isClosed ? stop - 1 : stop).replaceAll(mark + mark, mark);
  return hasBackslashes ? inner.replaceAll(/\\(.)/gs, (_whole, escaped: string) => escapes[escaped] ?? escaped) : inner;
}

/** Escapes that stand for another character than the one that is written. */
const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', '0': '\0', Z: '\u001a', '%': '\\%', _: '\\_' };
