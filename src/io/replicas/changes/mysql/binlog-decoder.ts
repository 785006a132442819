/**
 * Events of the binary log: of a changed row only its key is read. Written for MariaDB 10.6 and newer and MySQL 8 (MySQL internals,
 * "Binary Log Event"; MariaDB knowledge base, "2-Binlog Event Header"), row format.
 */
import { inflateSync } from 'node:zlib';
import { canonicalText } from '../../../../domain/row-encoding.ts';
import type { Key } from '../../../../domain/row.ts';
import type { ChangeSink, WatchedReplica } from '../changes.ts';
import { formatLogPosition, type LogPosition } from './log-position.ts';
import { afterValue, type KeyType, loggedColumn, type LoggedColumn, metaBytes, readValue } from './row-values.ts';

/** A watched table with what the catalogue says about it. */
export interface LoggedTable {
  readonly watched: WatchedReplica;
  readonly schema: string;
  readonly table: string;
  /** Names of all its columns, in order. */
  readonly columns: readonly string[];
  /** By name in the collection. */
  readonly key: readonly ({ readonly name: string; readonly column: string } & KeyType)[];
}

interface Mapped {
  readonly columns: readonly LoggedColumn[];
  readonly tables: readonly LoggedTable[];
}

type Sink = Pick<ChangeSink, 'key' | 'everything' | 'reached'>;

const HEADER_BYTES = 19;
export const FORMAT_DESCRIPTION = 15;
/** Of a statement that names a table, this much is looked at. */
const statementBytes = 64 * 1024;

export class BinlogDecoder {
  #tables: readonly LoggedTable[];
  readonly #sink: Sink;
  readonly #mapped = new Map<number, Mapped>();
  /** By their domain; undefined on MySQL. */
  readonly #gtids: Map<number, string> | undefined;
  #file: string;
  #offset: number;
  /** When the file was begun. A file's first event says so, and is sent again to whoever begins in its middle. */
  #begunS: number;
  /** Of the checksum that ends each event; each file of the log says so anew. */
  #checksumBytes: number;

  /** `from`: the position that the log is read from. */
  constructor(tables: readonly LoggedTable[], sink: Sink, from: LogPosition, hasChecksums: boolean) {
    this.#checksumBytes = hasChecksums ? 4 : 0;
    this.#tables = tables;
    this.#sink = sink;
    this.#gtids = from.gtids === undefined ? undefined : new Map(from.gtids.map((gtid) => [domainOf(gtid), gtid]));
    ({ file: this.#file, offset: this.#offset, begunS: this.#begunS } = from);
  }

  /** The tables as the catalogue has them now. */
  retable(tables: readonly LoggedTable[]): void {
    this.#tables = tables;
    this.#mapped.clear();
  }

  /** One event with its header. Returns true where the catalogue has to be read again before the next one. */
  decode(event: Buffer): boolean {
    const type = event.readUInt8(4);
    if (type === FORMAT_DESCRIPTION) {
      // At its end the algorithm, 1 for CRC32, and a checksum of its own.
      this.#checksumBytes = event[event.length - 5] === 1 ? 4 : 0;
      this.#begunS = event.readUInt32LE(0);
      // From here on it can be said where we are: before the first event of a file, or where we began.
      this.#sink.reached(this.#position());
      return false;
    }
    const bytes = event.subarray(0, event.length - this.#checksumBytes);
    const nextOffset = bytes.readUInt32LE(13);
    let isAltered = false;
    switch (type) {
      case 2: // QUERY
      case 165: // QUERY, compressed
        isAltered = this.#query(bytes, type === 165);
        break;
      case 4: // ROTATE; a made-up one at the start has no offset of its own
        this.#file = bytes.toString('utf8', HEADER_BYTES + 8);
        this.#offset = Number(bytes.readBigUInt64LE(HEADER_BYTES));
        return false;
      case 16: // XID
        this.#commit(nextOffset);
        break;
      case 19: // TABLE_MAP
        this.#map(bytes);
        break;
      case 162: // MariaDB's GTID: sequence, domain
        this.#gtid = `${bytes.readUInt32LE(HEADER_BYTES + 8)}-${bytes.readUInt32LE(5)}-${bytes.readBigUInt64LE(HEADER_BYTES)}`;
        break;
      case 23:
      case 24:
      case 25:
        this.#rows(bytes, type - 23, 8, false);
        break;
      case 30:
      case 31:
      case 32:
        this.#rows(bytes, type - 30, 8 + bytes.readUInt16LE(HEADER_BYTES + 8), false);
        break;
      case 166:
      case 167:
      case 168:
        this.#rows(bytes, type - 166, 8, true);
        break;
      case 169:
      case 170:
      case 171:
        this.#rows(bytes, type - 169, 8 + bytes.readUInt16LE(HEADER_BYTES + 8), true);
        break;
      case 27: // HEARTBEAT: nothing has happened
        this.#sink.reached(this.#position());
        break;
      default:
        break;
    }
    return isAltered;
  }

  #gtid = '';

  #commit(nextOffset: number): void {
    if (this.#gtid !== '') this.#gtids?.set(domainOf(this.#gtid), this.#gtid);
    this.#gtid = '';
    if (nextOffset > 0) this.#offset = nextOffset;
    this.#sink.reached(this.#position());
  }

  #position(): string {
    const [file, offset, begunS] = [this.#file, this.#offset, this.#begunS];
    return formatLogPosition({ gtids: this.#gtids && [...this.#gtids.values()].toSorted(), file, offset, begunS });
  }

  /** Ends of transactions, definitions, and whatever was logged as a statement, which does not say which rows it wrote. */
  #query(bytes: Buffer, isCompressed: boolean): boolean {
    const schemaBytes = bytes.readUInt8(HEADER_BYTES + 8);
    const statusBytes = bytes.readUInt16LE(HEADER_BYTES + 11);
    const schemaAt = HEADER_BYTES + 13 + statusBytes;
    const body = bytes.subarray(schemaAt + schemaBytes + 1);
    const text = (isCompressed ? inflateLogged(body) : body).toString('utf8', 0, statementBytes);
    const verb = /^\s*(?:\/\*.*?\*\/\s*)*(\w+)/s.exec(text)?.[1]?.toUpperCase() ?? '';
    if (verb === 'BEGIN' || verb === 'SAVEPOINT' || verb === 'START') return false;
    const isEnd = verb === 'COMMIT' || verb === 'ROLLBACK' || verb === 'XA';
    let isAltered = false;
    if (!isEnd) {
      for (const { watched, table } of this.#tables) {
        if (!names(text, table)) continue;
        const isDefinition = ['ALTER', 'CREATE', 'DROP', 'RENAME'].includes(verb);
        isAltered ||= isDefinition;
        this.#sink.everything(
          watched,
          isDefinition
            ? 'the table was changed'
            : verb === 'TRUNCATE'
              ? 'the table was truncated'
              : 'a statement was logged instead of its rows',
        );
      }
    }
    this.#commit(bytes.readUInt32LE(13));
    return isAltered;
  }

  #map(bytes: Buffer): void {
    const id = bytes.readUIntLE(HEADER_BYTES, 6);
    let at = HEADER_BYTES + 8;
    const schema = bytes.toString('utf8', at + 1, at + 1 + (bytes[at] ?? 0));
    at += 2 + (bytes[at] ?? 0);
    const table = bytes.toString('utf8', at + 1, at + 1 + (bytes[at] ?? 0));
    at += 2 + (bytes[at] ?? 0);
    const tables = this.#tables.filter((one) => one.schema === schema && one.table === table);
    if (tables.length === 0) {
      this.#mapped.delete(id);
      return;
    }
    const [count, typesAt] = lengthAt(bytes, at);
    const [, metaAt] = lengthAt(bytes, typesAt + count);
    const columns: LoggedColumn[] = [];
    let meta = metaAt;
    for (let n = 0; n < count; n += 1) {
      const type = bytes[typesAt + n] ?? 0;
      columns.push(loggedColumn(type, [bytes[meta] ?? 0, bytes[meta + 1] ?? 0]));
      meta += metaBytes(type);
    }
    this.#mapped.set(id, { columns, tables });
  }

  /** `kind`: 0 insert, 1 update, 2 delete. `headBytes`: from the header to the count of columns. */
  #rows(bytes: Buffer, kind: number, headBytes: number, isCompressed: boolean): void {
    const mapped = this.#mapped.get(bytes.readUIntLE(HEADER_BYTES, 6));
    if (mapped === undefined) return;
    const [count, bitmapAt] = lengthAt(bytes, HEADER_BYTES + headBytes);
    const width = (count + 7) >> 3;
    const before = bytes.subarray(bitmapAt, bitmapAt + width);
    const after = kind === 1 ? bytes.subarray(bitmapAt + width, bitmapAt + 2 * width) : before;
    const rest = bytes.subarray(bitmapAt + (kind === 1 ? 2 : 1) * width);
    const rows = isCompressed ? inflateLogged(rest) : rest;
    // The catalogue was read before or after a change of the table: which column is which cannot be said.
    const known = mapped.tables.filter((one) => {
      if (one.columns.length === mapped.columns.length) return true;
      this.#sink.everything(one.watched, 'the columns of the table were changed');
      return false;
    });
    if (known.length === 0) return;
    for (let at = 0; at < rows.length; ) {
      const first = readImage(rows, at, mapped.columns, before, known);
      at = first.next;
      const second = kind === 1 ? readImage(rows, at, mapped.columns, after, known) : undefined;
      at = second?.next ?? at;
      for (const [index, table] of known.entries()) {
        const before = first.keys[index];
        if (before === undefined) this.#sink.everything(table.watched, 'a change did not hold its key');
        for (const key of before ?? []) this.#sink.key(table.watched, key);
        // An image after the change may leave out what did not change, its key above all.
        for (const key of second?.keys[index] ?? [])
          if (before?.some((one) => table.key.every(({ name }) => key[name] === one[name])) !== true) this.#sink.key(table.watched, key);
      }
    }
  }
}

const domainOf = (gtid: string): number => Number(gtid.split('-')[0]);

function readImage(
  rows: Buffer,
  start: number,
  columns: readonly LoggedColumn[],
  present: Buffer,
  tables: readonly LoggedTable[],
): { readonly keys: readonly (readonly Key[] | undefined)[]; readonly next: number } {
  let count = 0;
  for (let n = 0; n < columns.length; n += 1) if (isSet(present, n)) count += 1;
  let at = start + ((count + 7) >> 3);
  let bit = 0;
  const places = new Map<number, number>();
  for (const [n, column] of columns.entries()) {
    if (!isSet(present, n)) continue;
    const isNull = isSet(rows.subarray(start), bit);
    bit += 1;
    if (isNull) continue;
    places.set(n, at);
    at = afterValue(rows, at, column);
  }
  const keys = tables.map((table) => keysOf(rows, places, columns, table));
  return { keys, next: at };
}

/** The key, or the keys of which one is it; undefined where the image does not hold it. */
function keysOf(
  rows: Buffer,
  places: ReadonlyMap<number, number>,
  columns: readonly LoggedColumn[],
  table: LoggedTable,
): readonly Key[] | undefined {
  const { shape } = table.watched;
  let keys: readonly Key[] = [{}];
  for (const part of table.key) {
    const place = table.columns.indexOf(part.column);
    const at = places.get(place);
    const column = columns[place];
    if (at === undefined || column === undefined) return undefined;
    const type = shape.columns.find((one) => one.name === part.name)?.type ?? 'text';
    try {
      const texts = new Set(readValue(rows, at, column, part).map((text) => canonicalText(type, text)));
      keys = keys.flatMap((key) => [...texts].map((text) => ({ ...key, [part.name]: text })));
    } catch (error) {
      if (error instanceof RangeError || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
  return keys;
}

const isSet = (bitmap: Buffer, bit: number): boolean => ((bitmap[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;

/** A length-encoded integer and where it ends. */
function lengthAt(bytes: Buffer, at: number): readonly [number, number] {
  const first = bytes[at] ?? 0;
  if (first < 251) return [first, at + 1];
  if (first === 252) return [bytes.readUInt16LE(at + 1), at + 3];
  return first === 253 ? [bytes.readUIntLE(at + 1, 3), at + 4] : [Number(bytes.readBigUInt64LE(at + 1)), at + 9];
}

/** MariaDB's compression: a byte with the width of the length, the length, and a zlib stream. */
function inflateLogged(bytes: Buffer): Buffer {
  return inflateSync(bytes.subarray(1 + ((bytes[0] ?? 0) & 7)));
}

/** Whether a statement names the table, as a word of its own; a comment or a text that does counts too. */
function names(statement: string, table: string): boolean {
  const lower = statement.toLowerCase();
  const wanted = table.toLowerCase();
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, at + 1)) {
    if (!/[\w$]/.test(lower[at - 1] ?? ' ') && !/[\w$]/.test(lower[at + wanted.length] ?? ' ')) return true;
  }
  return false;
}
