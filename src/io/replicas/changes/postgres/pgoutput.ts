/**
 * Messages of PostgreSQL's `pgoutput` plug-in, protocol version 1 (PostgreSQL documentation, "Logical Replication Message Formats"):
 * of a change only its key columns are read, everything else is skipped unread. Cost: a few hundred nanoseconds a change.
 */
import { canonicalText } from '../../../../domain/row-encoding.ts';
import type { CanonicalType, Key } from '../../../../domain/row.ts';
import type { ChangeSink, WatchedReplica } from '../changes.ts';

/** A watched replica with the name of its table, unquoted, as relation messages give it. */
export interface PublishedTable {
  readonly watched: WatchedReplica;
  readonly schema: string;
  readonly table: string;
  /** Key columns of type char(n): their blanks at the end are no part of the value. */
  readonly padded: ReadonlySet<string>;
}

interface KeyColumn {
  /** Name in the collection. */
  readonly name: string;
  readonly type: CanonicalType;
  /** Place among the relation's columns. */
  readonly at: number;
  readonly isPadded: boolean;
}

interface Relation {
  readonly tables: readonly { readonly watched: WatchedReplica; readonly key: readonly KeyColumn[] }[];
  readonly signature: string;
}

type Sink = Pick<ChangeSink, 'key' | 'everything' | 'reached'>;

/** Tells changes when their transaction's end was read: what is told has committed. */
export class PgoutputDecoder {
  readonly #tables: readonly PublishedTable[];
  readonly #sink: Sink;
  readonly #relations = new Map<number, Relation>();
  readonly #signatures = new Map<string, string>();

  constructor(tables: readonly PublishedTable[], sink: Sink) {
    this.#tables = tables;
    this.#sink = sink;
  }

  /** One message without its XLogData header. Returns the end of the transaction that it ends, undefined otherwise. */
  decode(bytes: Buffer): bigint | undefined {
    switch (bytes.readUInt8(0)) {
      case 0x49: // I, insert
        this.#insert(bytes);
        return undefined;
      case 0x55: // U, update
        this.#update(bytes);
        return undefined;
      case 0x44: // D, delete
        this.#delete(bytes);
        return undefined;
      case 0x43: // C, commit: flags, LSN of the commit, LSN of its end
        return bytes.readBigUInt64BE(10);
      case 0x52: // R, relation
        this.#relation(bytes);
        return undefined;
      case 0x54: // T, truncate
        this.#truncate(bytes);
        return undefined;
      default: // B, O, Y, M: begin, origin, type, logical message
        return undefined;
    }
  }

  #insert(bytes: Buffer): void {
    const relation = this.#relations.get(bytes.readUInt32BE(1));
    if (relation !== undefined) this.#tell(relation, bytes, 6);
  }

  #update(bytes: Buffer): void {
    const relation = this.#relations.get(bytes.readUInt32BE(1));
    if (relation === undefined) return;
    let at = 5;
    const kind = bytes[at];
    // K: the key changed; O: the table's identity is the whole row. The row as it was names another key perhaps.
    if (kind === 0x4b || kind === 0x4f) {
      this.#tell(relation, bytes, at + 1);
      at = afterTuple(bytes, at + 1);
    }
    this.#tell(relation, bytes, at + 1);
  }

  #delete(bytes: Buffer): void {
    const relation = this.#relations.get(bytes.readUInt32BE(1));
    if (relation !== undefined) this.#tell(relation, bytes, 6);
  }

  #tell(relation: Relation, bytes: Buffer, tupleAt: number): void {
    for (const { watched, key } of relation.tables) {
      const values = readKey(bytes, tupleAt, key);
      if (values === undefined) this.#sink.everything(watched, 'a change did not hold its key');
      else this.#sink.key(watched, values);
    }
  }

  #truncate(bytes: Buffer): void {
    const count = bytes.readUInt32BE(1);
    for (let n = 0; n < count; n += 1) {
      for (const { watched } of this.#relations.get(bytes.readUInt32BE(6 + 4 * n))?.tables ?? []) {
        this.#sink.everything(watched, 'the table was truncated');
      }
    }
  }

  /** Comes before the first change of a table in a session, and again when the table was altered. */
  #relation(bytes: Buffer): void {
    const id = bytes.readUInt32BE(1);
    const schema = cString(bytes, 5);
    const table = cString(bytes, schema.next);
    let at = table.next + 1; // the replica identity
    const count = bytes.readUInt16BE(at);
    at += 2;
    const columns: string[] = [];
    for (let n = 0; n < count; n += 1) {
      const name = cString(bytes, at + 1);
      columns.push(name.text);
      at = name.next + 8; // type and modifier
    }
    const signature = JSON.stringify(columns);
    const tables = this.#tables
      .filter((one) => one.schema === schema.text && one.table === table.text)
      .map((published) => ({ watched: published.watched, key: keyColumns(published, columns) }));
    const before = this.#signatures.get(`${schema.text}.${table.text}`);
    this.#signatures.set(`${schema.text}.${table.text}`, signature);
    this.#relations.set(id, { tables: tables.filter(({ key, watched }) => key.length === watched.shape.key.length), signature });
    for (const { watched, key } of tables) {
      if (key.length < watched.shape.key.length) this.#sink.everything(watched, 'the table has lost a key column');
      else if (before !== undefined && before !== signature) this.#sink.everything(watched, 'the columns of the table were changed');
    }
  }
}

function keyColumns({ watched, padded }: PublishedTable, columns: readonly string[]): readonly KeyColumn[] {
  const { shape, replica } = watched;
  return shape.key.flatMap((name) => {
    const at = columns.indexOf(replica.columnNames[name] ?? name);
    const type = shape.columns.find((column) => column.name === name)?.type ?? 'text';
    return at < 0 ? [] : [{ name, type, at, isPadded: padded.has(name) }];
  });
}

/**
 * undefined where a key column is not among the values: NULL, or a value that was left out because it did not change. Throws
 * `RangeError` on text that is no value of the agreed type.
 */
function keyOfTuple(bytes: Buffer, tupleAt: number, key: readonly KeyColumn[]): Key | undefined {
  const count = bytes.readUInt16BE(tupleAt);
  const values: Record<string, string> = {};
  let found = 0;
  let at = tupleAt + 2;
  for (let column = 0; column < count && found < key.length; column += 1) {
    const kind = bytes[at];
    at += 1;
    if (kind !== 0x74) continue; // n: NULL, u: unchanged
    const length = bytes.readInt32BE(at);
    at += 4;
    const wanted = key.find((one) => one.at === column);
    if (wanted !== undefined) {
      const text = bytes.toString('utf8', at, at + length);
      values[wanted.name] = canonicalText(wanted.type, wanted.isPadded ? text.replace(/ +$/, '') : text);
      found += 1;
    }
    at += length;
  }
  return found === key.length ? values : undefined;
}

function readKey(bytes: Buffer, tupleAt: number, key: readonly KeyColumn[]): Key | undefined {
  try {
    return keyOfTuple(bytes, tupleAt, key);
  } catch (error) {
    // A key that its agreed type cannot hold (text where the peers have numbers): which row it is cannot be said.
    if (error instanceof RangeError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function afterTuple(bytes: Buffer, tupleAt: number): number {
  const count = bytes.readUInt16BE(tupleAt);
  let at = tupleAt + 2;
  for (let column = 0; column < count; column += 1) {
    const kind = bytes[at];
    at += 1;
    if (kind === 0x74 || kind === 0x62) at += 4 + bytes.readInt32BE(at);
  }
  return at;
}

function cString(bytes: Buffer, at: number): { readonly text: string; readonly next: number } {
  const end = bytes.indexOf(0, at);
  return { text: bytes.toString('utf8', at, end), next: end + 1 };
}
