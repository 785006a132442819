import { asIs, asPresence, roles } from './attribute-roles.ts';
import { type FactsHome, factsHome } from './consistency-facts.ts';
import { documentKey, boundKey, rowsOf } from './describe-database.ts';
import { idempotencyKeyOf } from './describe-call.ts';
import { messageFactsOf } from './describe-message.ts';
import { describeRow } from './describe-span.ts';
import { type Described, hostCodes } from './described.ts';
import type { AttributeColumns, SpanBatch } from './span-batch.ts';
import type { OperationTemplate, SpanParts } from './span-operation.ts';
import type { SpanView } from './span-view.ts';
import type { StatementCache } from './sql-fingerprint.ts';
import { codeOf, attributeCodes, isConsistencyCode, firstConsistencyCode, lastConsistencyCode } from './wanted-attributes.ts';
import { WordTable } from './word-table.ts';

/** A description that spans share, and what has to be read of each of them. */
export interface SpanTemplate extends OperationTemplate {
  readonly varies: Described['varies'];
  readonly keyParameters: readonly number[];
  /** What those say that have nothing of their own. */
  readonly parts: SpanParts;
  /** Whether a span has an attribute that only it has, beyond `consistency.*`. */
  readonly hasOwn: boolean;
  readonly home: ResourceFacts;
}

export interface ResourceFacts extends FactsHome {
  readonly service: string;
  readonly language: string;
  readonly region: string;
}

export const noLinks: SpanParts['links'] = [];

/**
 * The descriptions of spans that are done with, by what they were made of: resource, name, kind and the attributes that say what a span is,
 * apart from those that say which one (ids, keys, offsets, counts). A service has as many as it has places in its code that make
 * spans, so nearly every span finds its own: then it is a look-up instead of a dozen decisions and a parsed statement. Compared in full, so
 * that two are never taken for one. Failed spans and those with an exception are few and are always described anew.
 */
export class SpanTemplates {
  readonly #view: SpanView;
  readonly #statements: StatementCache;
  readonly #table = new WordTable();
  #templates: SpanTemplate[] = [];
  readonly #resources = new WordTable();
  #homes: ResourceFacts[] = [];
  readonly #texts = new Map<string, number>();
  /** Numbers of texts that name a store of commands. */
  readonly #commandStores = new Set<number>();
  /** Whether the span that was looked up last has `consistency.*`. */
  hasFacts = false;
  /** By table of strings: the number of each text among all texts here, 0 where not known yet. */
  #numbers = new WeakMap<readonly string[], Int32Array>();
  #strings: readonly string[] = [];
  #number: Int32Array = new Int32Array(0);
  readonly #words = new Int32Array(3 + attributeCodes * 3);
  #generation = 1;
  /** Serials go on when descriptions are forgotten. */
  #lastSerial = 0;
  #batch: SpanBatch | undefined;

  constructor(view: SpanView, statements: StatementCache) {
    this.#view = view;
    this.#statements = statements;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Descriptions held. */
  get size(): number {
    return this.#templates.length;
  }

  /** Turns to a batch; between rows only. */
  open(batch: SpanBatch): void {
    if (this.#texts.size > textsMax || this.#table.size > templatesMax || this.#resources.size > templatesMax) this.#clear();
    this.#batch = batch;
    if (batch.describedGeneration !== this.#generation) batch.forgetDescriptions(this.#generation);
    const { strings } = batch;
    if (strings === this.#strings && this.#number.length >= strings.length) return;
    this.#strings = strings;
    let number = this.#numbers.get(strings);
    if (number === undefined || number.length < strings.length) {
      const larger = new Int32Array(Math.max(1024, strings.length * 2));
      if (number !== undefined) larger.set(number);
      number = larger;
      this.#numbers.set(strings, number);
    }
    this.#number = number;
  }

  /** The resource of a row, as a number. */
  #resourceOf(batch: SpanBatch, row: number): number {
    const resource = batch.resource[row] as number;
    const known = batch.resourceNumber[resource + 1] as number;
    if (known >= 0) return known;
    const from = resource < 0 ? 0 : (batch.resourceAttributeStart[resource] as number);
    const to = resource < 0 ? 0 : (batch.resourceAttributeStart[resource + 1] as number);
    const columns = batch.resourceAttributes;
    let words = this.#words;
    if (words.length < (to - from) * 2) words = new Int32Array((to - from) * 2);
    let count = 0;
    for (let at = from; at < to; at += 1) count = this.#add(words, columns, at, count);
    let number = this.#resources.find(words, count);
    if (number < 0) {
      number = -1 - number;
      this.#view.selectResource(batch, resource);
      this.#homes[number] = {
        service: this.#view.resourceText(serviceNameCode) || 'unknown_service',
        language: this.#view.resourceText(languageCode),
        region: this.#view.resourceText(regionCode),
        ...factsHome(this.#view),
      };
    }
    batch.resourceNumber[resource + 1] = number;
    return number;
  }

  /** The template of a row, where another one of its class was looked up before. */
  known(batch: SpanBatch, row: number): SpanTemplate | undefined {
    if (batch.classes === 0 || batch.eventStart[row + 1] !== batch.eventStart[row]) return undefined;
    const known = batch.classTemplate[batch.classOf[row] as number] as number;
    if (known === 0) return undefined;
    this.hasFacts = (known & 1) === 1;
    return this.#templates[(known >>> 1) - 1];
  }

  /** The template of a row of the batch; the view stands on the row. A new one where the span is described on its own. */
  of(row: number): SpanTemplate {
    const batch = this.#batch;
    if (batch === undefined) throw new Error('no batch is open');
    const view = this.#view;
    const resource = this.#resourceOf(batch, row);
    const home = this.#homes[resource] as ResourceFacts;
    const firstEvent = batch.eventStart[row] as number;
    const isAlone = batch.status[row] === 2 || (batch.eventStart[row + 1] as number) > firstEvent || view.has(celeryStateCode);
    const words = this.#words;
    let hasOwn = false;
    let hasFacts = false;
    let isCommand = false;
    let count = 3;
    if (!isAlone) {
      words[0] = resource;
      words[1] = this.#textNumber(batch.name[row] as number);
      words[2] = batch.kind[row] as number;
      const columns = batch.attributes;
      const from = batch.attributeStart[row] as number;
      const to = batch.attributeStart[row + 1] as number;
      if (to - from > attributeCodes) {
        this.hasFacts = view.hasAny(firstConsistencyCode, lastConsistencyCode);
        return this.#describe(batch, row, home, true);
      }
      for (let at = from; at < to; at += 1) {
        const code = columns.code[at] as number;
        switch (roles[code] as number) {
          case asIs:
            break;
          case asPresence: {
            hasOwn = true;
            hasFacts ||= isConsistencyCode(code);
            words[count++] = code;
            const kind = columns.kind[at] as number;
            words[count++] = (kind === 1 || kind === 6) && this.#strings[columns.value[at] as number] === '' ? 0 : 1;
            continue;
          }
          default:
            hasFacts ||= isConsistencyCode(code);
            continue;
        }
        hasFacts ||= isConsistencyCode(code);
        count = this.#add(words, columns, at, count);
        // A command holds its key: each would be a description of its own.
        if (code === databaseSystemNameCode || code === databaseSystemCode)
          isCommand ||= this.#commandStores.has(words[count - 1] as number) && (view.has(queryTextCode) || view.has(statementCode));
      }
      this.hasFacts = hasFacts;
      for (const [address, port] of hostCodes) {
        if (!view.has(address)) continue;
        count = this.#add(words, columns, view.placeOf(address), count);
        if (view.has(port)) count = this.#add(words, columns, view.placeOf(port), count);
        break;
      }
      if (!isCommand) {
        const found = this.#table.find(words, count);
        const number = found < 0 ? -1 - found : found;
        if (found < 0) {
          this.#lastSerial += 1;
          this.#templates[number] = this.#describe(batch, row, home, hasOwn, this.#lastSerial);
        }
        if (batch.classes > 0) batch.classTemplate[batch.classOf[row] as number] = ((number + 1) << 1) | (hasFacts ? 1 : 0);
        return this.#templates[number] as SpanTemplate;
      }
    }
    this.hasFacts = view.hasAny(firstConsistencyCode, lastConsistencyCode);
    return this.#describe(batch, row, home, true);
  }

  /** Adds an attribute to the words: its code and kind, and its value, a text or a number that is no word by the number of the text. */
  #add(words: Int32Array, columns: AttributeColumns, at: number, count: number): number {
    const kind = columns.kind[at] as number;
    const value = columns.value[at] as number;
    const isText = kind === 1 || kind === 5 || kind === 6;
    const isWord = isText || ((value | 0) === value && !Object.is(value, -0));
    words[count] = (columns.code[at] as number) | (kind << 8) | (isWord ? 0 : 0x10000);
    words[count + 1] = isText ? this.#textNumber(value) : isWord ? value : this.#numberOf(Object.is(value, -0) ? '-0' : String(value));
    return count + 2;
  }

  #describe(batch: SpanBatch, row: number, home: ResourceFacts, hasOwn: boolean, serial = 0): SpanTemplate {
    const view = this.#view;
    view.selectResource(batch, batch.resource[row] as number);
    const span = describeRow(view, this.#statements, batch, row);
    return {
      serial,
      kind: span.kind,
      service: home.service,
      spanName: batch.strings[batch.name[row] as number] as string,
      spanKind: batch.kind[row] as number,
      failed: span.failed,
      sqlState: span.sqlState,
      errorType: span.errorType,
      httpStatus: span.httpStatus,
      system: span.system,
      host: span.host,
      namespace: span.namespace,
      target: span.target,
      statement: span.statement,
      language: home.language,
      region: home.region,
      varies: span.varies,
      keyParameters: span.keyParameters,
      parts: { links: noLinks, message: span.message, key: span.key, rows: span.rows, session: '', idempotencyKey: span.idempotencyKey },
      hasOwn,
      home,
    };
  }

  /** What a span says beyond its template. */
  partsOf(template: SpanTemplate, links: SpanParts['links']): SpanParts {
    const { parts, varies } = template;
    if (!template.hasOwn && links.length === 0) return parts;
    const view = this.#view;
    const isDatabase = varies === 'database' || varies === 'document';
    return {
      links,
      message: varies === 'message' ? messageFactsOf(view) : parts.message,
      key:
        template.keyParameters.length > 0 ? boundKey(view, template.keyParameters) : varies === 'document' ? documentKey(view) : parts.key,
      rows: isDatabase ? rowsOf(view) : parts.rows,
      session: view.text(sessionIdCode),
      idempotencyKey: varies === 'call' ? idempotencyKeyOf(view) : parts.idempotencyKey,
    };
  }

  #textNumber(string: number): number {
    const known = this.#number[string] as number;
    if (known > 0) return known;
    const number = this.#numberOf(this.#strings[string] as string);
    this.#number[string] = number;
    return number;
  }

  #numberOf(text: string): number {
    let number = this.#texts.get(text);
    if (number === undefined) {
      number = this.#texts.size + 1;
      if (commandStores.has(text.toLowerCase())) this.#commandStores.add(number);
      this.#texts.set(text, number);
    }
    return number;
  }

  #clear(): void {
    this.#table.clear();
    this.#templates = [];
    this.#resources.clear();
    this.#homes = [];
    this.#texts.clear();
    this.#commandStores.clear();
    this.#numbers = new WeakMap();
    this.#strings = [];
    this.#generation += 1;
  }
}

/** Beyond these a sender makes up names: everything is forgotten and learned again. */
const templatesMax = 20_000;
const textsMax = 50_000;

const serviceNameCode = codeOf('service.name');
const languageCode = codeOf('telemetry.sdk.language');
const regionCode = codeOf('cloud.region');
const sessionIdCode = codeOf('session.id');
const celeryStateCode = codeOf('celery.state');
const queryTextCode = codeOf('db.query.text');
const statementCode = codeOf('db.statement');
const databaseSystemNameCode = codeOf('db.system.name');
const databaseSystemCode = codeOf('db.system');

const commandStores: ReadonlySet<string> = new Set(['redis', 'valkey', 'memcached']);
