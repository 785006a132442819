import type { AttributeColumns, SpanBatch } from './span-batch.ts';
import { type AttributeKey, codeOf } from './wanted-attributes.ts';

/**
 * Which spans may concern one of the configured collections: those that hold its name, or a table's, in an attribute that says what was
 * touched. Write evidence and load series are wanted the moment a span comes in, and only of these; operations of all the others are made
 * when detectors are due to see them. A name inside a statement is enough, so it errs towards too many, and each distinct text is looked
 * at once.
 */
export class ConcernedRows {
  readonly #names: readonly string[];
  /** By table of strings: 0 not looked at yet, 1 no, 2 yes. */
  #known = new WeakMap<readonly string[], Uint8Array>();
  #rows: Int32Array = new Int32Array(256);

  /** `names`: of collections and tables, with or without schema. */
  constructor(names: readonly string[]) {
    this.#names = [...new Set(names.map((name) => (name.split('.').at(-1) ?? '').replaceAll(/["`[\]]/g, '').toLowerCase()))].filter(
      (name) => name !== '',
    );
  }

  get isEmpty(): boolean {
    return this.#names.length === 0;
  }

  /** Calls `each` with the numbers of the rows and how many they are, if any; the array is used again. */
  find(batch: SpanBatch, isWanted: (row: number) => boolean, each: (rows: Int32Array, count: number) => void): void {
    if (this.#names.length === 0) return;
    if (this.#rows.length < batch.count) this.#rows = new Int32Array(batch.count * 2);
    const { strings } = batch;
    let known = this.#known.get(strings);
    if (known === undefined || known.length < strings.length) {
      const larger = new Uint8Array(strings.length * 2);
      if (known !== undefined) larger.set(known);
      known = larger;
      this.#known.set(strings, known);
    }
    let count = 0;
    for (let row = 0; row < batch.count; row += 1) {
      if (!isWanted(row)) continue;
      const attributes = this.#concerns(
        batch.attributes,
        batch.attributeStart[row] as number,
        batch.attributeStart[row + 1] as number,
        strings,
        known,
      );
      const firstEvent = batch.eventStart[row] as number;
      const lastEvent = batch.eventStart[row + 1] as number;
      const isConcerned =
        attributes ||
        (lastEvent > firstEvent &&
          this.#concerns(
            batch.eventAttributes,
            batch.eventAttributeStart[firstEvent] as number,
            batch.eventAttributeStart[lastEvent] as number,
            strings,
            known,
          ));
      if (!isConcerned) continue;
      this.#rows[count] = row;
      count += 1;
    }
    if (count > 0) each(this.#rows, count);
  }

  #concerns(columns: AttributeColumns, from: number, to: number, strings: readonly string[], known: Uint8Array): boolean {
    for (let at = from; at < to; at += 1) {
      if (namingCodes[columns.code[at] as number] !== 1) continue;
      const kind = columns.kind[at] as number;
      if (kind !== 1 && kind !== 6) continue;
      const number = columns.value[at] as number;
      let answer = known[number];
      if (answer === 0) {
        const text = (strings[number] as string).toLowerCase();
        answer = this.#names.some((name) => text.includes(name)) ? 2 : 1;
        known[number] = answer;
      }
      if (answer === 2) return true;
    }
    return false;
  }
}

/** Attributes that name a table, a key space, a topic or an object's type, or hold a statement that does. */
const naming: readonly AttributeKey[] = [
  'consistency.object.type',
  'db.query.text',
  'db.statement',
  'db.query.summary',
  'db.operation.name',
  'db.operation',
  'db.collection.name',
  'db.sql.table',
  'db.mongodb.collection',
  'db.cassandra.table',
  'db.elasticsearch.path_parts.index',
  'aws.dynamodb.table_names',
  'messaging.destination.name',
  'messaging.destination',
  'messaging.destination.template',
  'messaging.rabbitmq.destination.routing_key',
  'messaging.rabbitmq.routing_key',
  'messaging.url',
  'aws.sqs.queue.url',
];
const namingCodes = new Uint8Array(256);
for (const key of naming) namingCodes[codeOf(key)] = 1;
