import { Failure } from '../../base/failure.ts';
import type { Point } from '../../forecast/time-grid.ts';

/** Series of a CSV file, by name in order of appearance; '' names the only one of a `timestamp,value` file. */
export type CsvSeries = ReadonlyMap<string, readonly Point[]>;

/** Lines that are read at most: 10,000 series of a month of five-minute steps would be 86 million; such go through the service. */
const maxLines = 20_000_000;

/** Errors are squared and summed over thousands of windows: beyond this they would no longer be numbers. */
const largest = 1e140;

/**
 * Parses `timestamp,value` or `series,timestamp,value`, with or without a header, LF or CRLF, fields optionally in double quotes.
 * Timestamps are ISO 8601 (no zone: UTC; a space for the T is fine) or Unix seconds or milliseconds. An empty value or `NaN` is a
 * missing point. Throws Failure that names file and line.
 */
export function parseSeriesCsv(text: string, file: string): CsvSeries {
  const lines = text.split('\n');
  if (lines.length > maxLines) throw bad(file, maxLines, `more than ${maxLines} lines; split the file`);
  const series = new Map<string, Point[]>();
  let columns = 0;
  let places: Places = { series: -1, timestamp: 0, value: 1 };
  lines.forEach((raw, i) => {
    const line = (i === 0 ? raw.replace(/^\uFEFF/, '') : raw).trim();
    if (line === '' || line.startsWith('#')) return;
    const fields = splitFields(line);
    if (columns === 0) {
      columns = fields.length;
      if (columns !== 2 && columns !== 3) throw bad(file, i + 1, `${columns} columns; give timestamp,value or series,timestamp,value`);
      places = columns === 2 ? { series: -1, timestamp: 0, value: 1 } : { series: 0, timestamp: 1, value: 2 };
      // A first line whose last field is no number is a header.
      if (
        Number.isNaN(parseValue(fields.at(-1) ?? '')) &&
        !isMissing(fields.at(-1) ?? '') &&
        parseTimestamp(fields.at(-1) ?? '') === null
      ) {
        places = placesOf(fields, places, (says) => bad(file, i + 1, says));
        return;
      }
    }
    if (fields.length !== columns) throw bad(file, i + 1, `${fields.length} columns where the lines before have ${columns}`);
    const time = fields[places.timestamp] ?? '';
    const atMs = parseTimestamp(time);
    if (atMs === null) throw bad(file, i + 1, `"${time.slice(0, 40)}" is no timestamp; give ISO 8601 or Unix seconds`);
    const text = fields[places.value] ?? '';
    const name = fields[places.series] ?? '';
    // Numbers are times as well: a column too many would be read as if it were the value of another year.
    if (isDate(name) && !isDate(time)) throw bad(file, i + 1, `the first column is a time; give timestamp,value or series,timestamp,value`);
    const list = series.get(name) ?? [];
    series.set(name, list);
    if (isMissing(text)) return;
    const value = parseValue(text);
    if (!Number.isFinite(value)) throw bad(file, i + 1, `"${text.slice(0, 40)}" is no number`);
    if (Math.abs(value) > largest) throw bad(file, i + 1, `${text.slice(0, 40)} is too large to forecast; give it in another unit`);
    list.push({ atMs, value });
  });
  for (const [name, points] of series) {
    if (points.length === 0) throw new Failure('bad-csv', `${file}: series "${name}" has no value; leave it out`, 'never');
  }
  if (series.size === 0) throw new Failure('bad-csv', `${file}: no data lines; give timestamp,value or series,timestamp,value`, 'never');
  return series;
}

/** Where a line has what. */
interface Places {
  readonly series: number;
  readonly timestamp: number;
  readonly value: number;
}

/** By the names in the header, where it has those of time and value; else in the order that is asked for. */
function placesOf(names: readonly string[], usual: Places, bad: (says: string) => Failure): Places {
  const at = (pattern: RegExp): number => names.findIndex((name) => pattern.test(name));
  const timestamp = at(/^(timestamp|time|ts|date|datetime)$/i);
  const value = at(/^value$/i);
  if (timestamp < 0 || value < 0) return usual;
  const others = names.flatMap((name, nth) => (nth === timestamp || nth === value ? [] : [{ name, nth }]));
  const series = others.find(({ name, nth }) => nth === 0 || /^(series|name|id)$/i.test(name))?.nth ?? -1;
  const unknown = others.find(({ nth }) => nth !== series);
  if (unknown !== undefined) throw bad(`column "${unknown.name.slice(0, 40)}" is none of series, timestamp and value; leave it out`);
  return { series, timestamp, value };
}

const isDate = (text: string): boolean => text.includes('-') && parseTimestamp(text) !== null;
const bad = (file: string, line: number, says: string): Failure => new Failure('bad-csv', `${file}:${line}: ${says}`, 'never');
const isMissing = (text: string): boolean => text === '' || /^(nan|null|na)$/i.test(text);
const parseValue = (text: string): number => (text.trim() === '' ? Number.NaN : Number(text));

function splitFields(line: string): string[] {
  if (!line.includes('"')) return line.split(',').map((field) => field.trim());
  const fields: string[] = [];
  for (const match of line.matchAll(/(?:^|,)\s*(?:"((?:[^"]|"")*)"|([^,]*))/g))
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2]?.trim() ?? '');
  return fields;
}

function parseTimestamp(text: string): number | null {
  if (/^-?\d+(\.\d+)?$/.test(text)) {
    const value = Number(text);
    // Unix seconds reach 1e11 in the year 5138; beyond that it is milliseconds, beyond 1e14 microseconds, beyond 1e17 nanoseconds.
    if (value > 1e17) return value / 1e6;
    if (value > 1e14) return value / 1e3;
    return value > 1e11 ? value : value * 1000;
  }
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?))?\s*(Z|[+-]\d{2}:?\d{2})?$/.exec(text);
  if (match === null) return null;
  const atMs = Date.parse(`${match[1]}T${(match[2] ?? '00:00').replace(',', '.')}${match[3] ?? 'Z'}`);
  return Number.isNaN(atMs) ? null : atMs;
}
