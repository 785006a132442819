import { Hash64 } from '../../base/hash64.ts';
import type { Operation } from '../../domain/operation.ts';
import { grainOf, grainUs } from '../causality.ts';
import { type Report, traceDetector } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { createExpiringMap } from '../expiring-map.ts';
import { durationWords } from '../findings.ts';
import { MissingCount } from '../missing-count.ts';
import { bareName } from '../object-place.ts';
import { hashLinkedTrace, hashSpan, hashTrace, idsOf } from '../span-ids.ts';
import { noteOf, type SpanNote, spanOfNote } from '../span-note.ts';
import { keyOf, storeOf, targetOf, type TraceView, type Unit } from '../trace-view.ts';
import { writeOutcomes } from '../write-outcome.ts';

interface Row {
  readonly insert: SpanNote;
  readonly domain: string;
  /** Its id is an attribute, so that it can be told among publishes. */
  readonly isDeclared: boolean;
  readonly settledUs: number;
  readonly id: string;
  readonly table: string;
  readonly tableKey: TableKey;
  /** Hashes under which it is found: as a row, and by its id where that is an attribute. */
  readonly placeLow: number;
  readonly placeHigh: number;
  readonly idLow: number;
  readonly idHigh: number;
  /** Published, or judged. */
  isDone: boolean;
  /** Judged as not published in time, where that could not be said: spans are lost. */
  isUnsaid: boolean;
}

/** How long a publish waits for the trace of its row to end. */
const earlyUs = 20_000_000;
/** How long a row that was published is known, for what comes twice. */
const doneUs = 600_000_000;
const fewRows = 3;
/** How long it is waited for a sign of a service from after the deadline of a row that it would have published. */
const signUs = 30_000_000;
/** Who published rows of a table this much earlier than others no longer does. */
const publisherUs = 120_000_000;
/** Publishes from which it shows whether their rows do. */
const enoughPublished = 50;
/** Rows that wait at most; beyond it new rows are not followed. */
const rowsMax = 200_000;
/** A row with its places in three maps, and one of which only the place is kept. */
const bytesPerRow = 500;
const bytesPerDone = 50;

/** An outbox row that was committed and not published within its deadline. */
export const outboxLag = traceDetector(
  {
    id: 'outbox-lag',
    scope: 'message',
    concerns: ['writes', 'messages'],
    grades: ['proven', 'risk'],
    title: 'Outbox row published late or never',
    sentence: 'A row was committed to an outbox and its message was not published within the deadline.',
    fix: 'Run the relay where it is watched: alert on the age of the oldest row, let it take small batches by `FOR UPDATE SKIP LOCKED`, wake it by LISTEN/NOTIFY or change data capture, and park rows that fail so that they do not block the rest.',
    needs: 'consistency.outbox.id, or an outbox table whose relay shows in the traces',
    options: {
      deadlineMs: {
        is: 'number',
        unit: 'ms',
        default: 10_000,
        min: 1,
        max: 86_400_000,
        says: 'How long a committed outbox row may wait to be published.',
      },
    },
    example: () => relay(60_000),
    twin: () => relay(800),
  },
  (settings, context) => {
    const deadlineUs = settings.deadlineMs * 1000;
    const byId = createExpiringMap<Row>(3_600_000_000);
    /** Places of rows that were published: seen again they are no news. */
    const done = createExpiringMap<true>(doneUs);
    const waiting = new Set<Row>();
    /** Rows without an id, by their trace and by their table. */
    const byTrace = createExpiringMap<Row[]>(Number.POSITIVE_INFINITY);
    const hash = new Hash64();
    const byTable = new Map<string, Set<Row>>();
    /** Publishes that link to a trace which is not over yet. */
    const earlyByTrace = createExpiringMap<SpanNote>(earlyUs);
    let lastTickUs = Number.NEGATIVE_INFINITY;
    /** Newest activity of a relay on a table: it has taken what was committed before. */
    const relayed = createExpiringMap<SpanNote>(3_600_000_000);
    const noteRelayed = ({ low, high }: TableKey, by: SpanNote, atUs: number): void => relayed.setAt(low, high, by, atUs);
    let oldestUs = Number.POSITIVE_INFINITY;
    // Publishes of rows by id, and those whose row was never seen: where there are such, spans are sampled or lost, and then a publish
    // that was not seen proves nothing.
    const published = new MissingCount(enoughPublished);
    let matched = 0;
    /** Rows whose publish did not show in time. */
    let overdue = 0;
    /** Overdue rows from before the first publish that could be tied to its row: whether publishes show at all is not known yet. */
    const unsure = new Set<Row>();
    /** Services that lately published rows of a table, by the table's place. */
    const publishers = new Map<string, Map<string, number>>();
    /** Publishes whose row's trace is not over yet. */
    const early = createExpiringMap<SpanNote>(earlyUs);

    const tell = (row: Row, publishedBy: SpanNote | undefined, report: Report): void => {
      const place = context.placeOf(row.table, row.domain);
      const lateUs = publishedBy === undefined ? undefined : publishedBy.startUs - row.settledUs;
      report({
        place: `${row.insert.service}\0${row.table}\0${row.id}`,
        grade: 'proven',
        atUs: row.settledUs,
        complete: true,
        spans: [spanOfNote(row.insert), ...(publishedBy === undefined ? [] : [spanOfNote(publishedBy)])],
        domain: place.domainName,
        collection: place.collection ?? row.table,
        objectKey: row.id,
        service: row.insert.service,
        facts: {
          table: row.table,
          outboxId: row.id,
          deadlineMs: settings.deadlineMs,
          ...(lateUs === undefined ? {} : { tookMs: Math.round(lateUs / 1000) }),
        },
        tell: () => ({
          title: `An outbox row of ${row.insert.service} was ${lateUs === undefined ? 'not published in time' : `published only after ${durationWords(lateUs)}`}`,
          explanation: `${row.insert.service} committed ${row.id === '' ? 'a row' : `row ${row.id}`} to its outbox${row.table === '' ? '' : ` \`${row.table}\``}, and ${lateUs === undefined ? `no publish of it shows within ${durationWords(deadlineUs)}` : `it was published ${durationWords(lateUs)} later; the deadline is ${durationWords(deadlineUs)}`}.`,
        }),
      });
    };

    /** Rows whose publish does not show while those who would have published them did not show at all. */
    const tellSilence = (row: Row, silent: string, report: Report): void => {
      const place = context.placeOf(row.table, row.domain);
      report({
        place: `${silent}\0${row.table}\0silent`,
        grade: 'risk',
        atUs: row.settledUs,
        complete: true,
        spans: [spanOfNote(row.insert)],
        domain: place.domainName,
        collection: place.collection ?? row.table,
        objectKey: row.id,
        service: silent,
        facts: { table: row.table, outboxId: row.id, deadlineMs: settings.deadlineMs, silent },
        tell: () => ({
          title: `${silent} was silent while outbox rows of ${row.insert.service} waited for it`,
          explanation: `${row.insert.service} committed ${row.id === '' ? 'a row' : `row ${row.id}`} to its outbox${row.table === '' ? '' : ` \`${row.table}\``}, and no publish of it shows within ${durationWords(deadlineUs)}; but ${silent}, which published earlier ones, showed nothing at all for some of that time. Either it stands still, or what it does is not told here.`,
        }),
      });
    };

    const notePublisher = (row: Row, by: SpanNote): void => {
      const known = publishers.get(row.tableKey.text) ?? new Map<string, number>();
      if (known.size < tableKeysMax || known.has(by.service)) known.set(by.service, Math.max(by.startUs, known.get(by.service) ?? 0));
      if (publishers.size < tableKeysMax) publishers.set(row.tableKey.text, known);
    };

    /** Whether a publish of the row would show: who might have published it was heard all the time until its deadline, or not; the silent one's name. */
    const heardOf = (row: Row, atUs: number): { readonly is: 'heard' | 'open' } | { readonly is: 'silent'; readonly service: string } => {
      const known = publishers.get(row.tableKey.text);
      if (known === undefined) return { is: 'heard' };
      const newestUs = Math.max(...known.values());
      let is: 'heard' | 'open' = 'heard';
      for (const [service, lastUs] of known) {
        if (lastUs < newestUs - publisherUs) {
          known.delete(service);
          continue;
        }
        const heard = context.learned.heardBetween(service, row.settledUs, row.settledUs + deadlineUs, atUs);
        if (heard === 'silent') return { is: heard, service };
        if (heard === 'open') is = heard;
      }
      return { is };
    };

    const countMatched = (atUs: number): void => {
      matched += 1;
      published.add(context.learned.mayBeCut(atUs), 1, 0);
    };

    const isPublishedSeen = (): boolean => {
      const { of, missing } = context.learned.countOf(published);
      return missing * 200 <= of - missing;
    };

    const finishRow = (row: Row, atUs: number): void => {
      row.isDone = true;
      byId.deleteAt(row.placeLow, row.placeHigh);
      // A row that is known by its span alone comes twice only with its whole trace, and then so does what published it.
      if (row.id !== '') done.setAt(row.placeLow, row.placeHigh, true, atUs);
      if (!row.isDeclared) return;
      byId.deleteAt(row.idLow, row.idHigh);
      done.setAt(row.idLow, row.idHigh, true, atUs);
    };

    const unindex = (row: Row): void => {
      const { low, high } = row.insert.hashTrace(hash);
      const rows = byTrace.getAt(low, high, row.insert.endUs);
      if (rows === undefined) return;
      const left = rows.filter((other) => other !== row);
      if (left.length === 0) byTrace.deleteAt(low, high);
      else byTrace.setAt(low, high, left, row.insert.endUs);
      byTable.get(row.tableKey.text)?.delete(row);
    };

    /** Whether a publish that does not show did not happen: without ids a relay that never shows (change data capture) may well have published. */
    const isVisible = (): boolean =>
      isPublishedSeen() &&
      // Most rows are seen to be published, or there are so few that one says nothing of the other: else their publishes are sampled away.
      overdue <= Math.max(matched, fewRows) &&
      context.learned.lostShare() < 0.005 &&
      context.learned.missingLinkShare() < 0.3;

    /** `isExact`: it says which row it published; otherwise an earlier publish, which does not show, may have. */
    const settle = (row: Row, by: SpanNote, isExact: boolean, report: Report): void => {
      if (row.isUnsaid && isExact) {
        // The publish that came too late shows: that needs no span that may be lost.
        row.isUnsaid = false;
        if (by.startUs - row.settledUs > deadlineUs) tell(row, by, report);
      }
      if (row.isDone) return;
      finishRow(row, Math.max(by.endUs, row.insert.endUs));
      waiting.delete(row);
      unsure.delete(row);
      unindex(row);
      countMatched(by.startUs);
      notePublisher(row, by);
      if (by.startUs - row.settledUs > deadlineUs && isExact) tell(row, by, report);
    };

    /** A publish that names a row, by the outbox's id or its message's. */
    const settleById = (publish: Operation, id: string, declared: string, report: Report): void => {
      if (id === '' || (declared === '' && byId.size === 0)) return;
      const { low, high } = hashId(id);
      const row = byId.getAt(low, high, publish.endUs);
      if (row !== undefined) settle(row, noteOf(publish), true, report);
      else if (declared !== '' && done.getAt(low, high, publish.endUs) === undefined)
        early.setAt(low, high, noteOf(publish), publish.endUs);
    };

    const hashId = (id: string): Hash64 => hash.start().text('id').text(id).end();
    const hashRow = (write: Operation, id: string): Hash64 =>
      hash
        .start()
        .text('row')
        .text(bareName(targetOf(write)))
        .text(id)
        .end();

    const inspectUnit = (trace: TraceView, unit: Unit, report: Report): void => {
      for (const publish of unit.publishes) {
        if (publish.failed) continue;
        const declared = publish.facts?.outboxId ?? '';
        settleById(publish, declared, declared, report);
        settleById(publish, publish.message?.id ?? '', declared, report);
      }
      for (const { write, is, settledUs } of writeOutcomes(unit)) {
        const table = targetOf(write);
        const isOutbox = context.learned.isOutbox(table);
        const id = write.facts?.outboxId ?? '';
        if (!isOutbox && id === '') continue;
        if (is !== 'committed') continue;
        const isInsert =
          write.kind === 'append' ||
          write.statement?.verb === 'insert' ||
          (write.statement === undefined && write.kind === 'write' && !/^(update|delete)/i.test(write.spanName));
        if (!isInsert) {
          // A row that is marked or removed has been taken, by whatever published it.
          const { low, high } = hashRow(write, id === '' ? keyOf(write) : id);
          const marked = byId.getAt(low, high, write.endUs);
          // When it was published shows where it is marked so, or by its own relay; it may be cleared away long after that.
          const isExact = unit.publishes.length > 0 || write.statement?.verb === 'update';
          if (marked !== undefined && (marked.id !== '' || unit.publishes.length > 0)) settle(marked, noteOf(write), isExact, report);
          if (unit.publishes.length > 0) noteRelayed(tableKey(write), noteOf(unit.publishes[0] as Operation), write.endUs);
          continue;
        }
        const shown = id === '' ? keyOf(write) : id;
        if (waiting.size >= rowsMax) continue;
        if (shown === '' && settleAtOnce(trace, write, settledUs)) continue;
        const { low, high } = shown === '' ? hashSpan(hash, idsOf(write)) : hashRow(write, shown);
        if (byId.getAt(low, high, write.endUs) !== undefined || done.getAt(low, high, write.endUs) !== undefined) continue;
        const ofId = hashId(shown);
        const idLow = ofId.low;
        const idHigh = ofId.high;
        const row: Row = {
          insert: noteOf(write),
          domain: write.facts?.domain ?? '',
          isDeclared: id !== '',
          settledUs,
          id: shown,
          table,
          tableKey: tableKey(write),
          placeLow: low,
          placeHigh: high,
          idLow,
          idHigh,
          isDone: false,
          isUnsaid: false,
        };
        byId.setAt(low, high, row, write.endUs);
        if (id !== '') byId.setAt(idLow, idHigh, row, write.endUs);
        waiting.add(row);
        if (settledUs < oldestUs) oldestUs = settledUs;
        if (id === '') {
          const ofTrace = hashTrace(hash, idsOf(write));
          const traceLow = ofTrace.low;
          const traceHigh = ofTrace.high;
          const rows = byTrace.getAt(traceLow, traceHigh, write.endUs);
          if (rows === undefined) byTrace.setAt(traceLow, traceHigh, [row], write.endUs);
          else rows.push(row);
          const key = row.tableKey;
          const ofTable = byTable.get(key.text);
          if (ofTable === undefined) byTable.set(key.text, new Set([row]));
          else ofTable.add(row);
          const linked = earlyByTrace.getAt(traceLow, traceHigh, write.endUs);
          if (linked !== undefined && linked.endUs + grainOf(linked) >= settledUs) {
            noteRelay(row, linked, report);
            continue;
          }
          const relay = relayed.getAt(key.low, key.high, write.endUs);
          // A relay whose trace ended first may have taken the row already.
          if (relay !== undefined && relay.startUs + grainOf(relay) >= settledUs) {
            settle(row, relay, false, report);
            continue;
          }
        }
        const before = early.getAt(idLow, idHigh, write.endUs);
        if (before === undefined) continue;
        early.deleteAt(idLow, idHigh);
        settle(row, before, true, report);
      }
    };

    /** Rows without an id are published by whatever continues their trace, links to it, or relays their table afterwards. */
    const settleByTrace = (trace: TraceView, report: Report): void => {
      for (const unit of trace.units) {
        for (const publish of unit.publishes) {
          if (publish.failed) continue;
          if (byTrace.size > 0) {
            const { low, high } = hashTrace(hash, idsOf(publish));
            settleTrace(low, high, true, publish, report);
          }
          for (const link of publish.links) {
            const { low, high } = hashLinkedTrace(hash, link.traceId);
            settleTrace(low, high, link.traceId === publish.traceId, publish, report);
          }
        }
        const last = unit.publishes.findLast((publish) => !publish.failed);
        if (last === undefined) continue;
        if (byTable.size === 0) continue;
        for (const step of unit.reads) settleTable(step, last, report);
        for (const step of unit.writes) settleTable(step, last, report);
      }
    };

    const settleTable = (step: Operation, last: Operation, report: Report): void => {
      const place = tableKey(step);
      const rows = byTable.get(place.text);
      if (rows === undefined) return;
      const by = noteOf(last);
      noteRelayed(place, by, by.endUs);
      // A step that names its row took that one; one that reads a batch may have taken any of them.
      const key = keyOf(step);
      for (const row of rows)
        if (row.settledUs <= by.endUs + grainOf(by) && (key === '' || row.id === '' || key === row.id)) noteRelay(row, by, report);
    };

    const settleTrace = (low: number, high: number, isOwn: boolean, publish: Operation, report: Report): void => {
      const rows = byTrace.getAt(low, high, publish.endUs);
      if (rows !== undefined) {
        for (const row of rows) if (publish.startUs >= row.settledUs - grainUs) noteRelay(row, noteOf(publish), report);
      } else if (!isOwn) earlyByTrace.setAt(low, high, noteOf(publish), publish.endUs);
    };

    /**
     * A row without an id that its own trace publishes afterwards: it would wait for no longer than this inspection. Most outboxes whose
     * relay runs in the request, or continues its trace, are such, so no row is made for it.
     */
    const settleAtOnce = (trace: TraceView, write: Operation, settledUs: number): boolean => {
      for (const { publishes } of trace.units)
        for (const publish of publishes) {
          if (publish.failed || publish.startUs < settledUs - grainUs) continue;
          countMatched(publish.startUs);
          const place = tableKey(write);
          const known = relayed.getAt(place.low, place.high, publish.endUs);
          if (known === undefined || known.startUs < publish.startUs) noteRelayed(place, noteOf(publish), publish.endUs);
          return true;
        }
      return false;
    };

    const noteRelay = (row: Row, by: SpanNote, report: Report): void => {
      noteRelayed(row.tableKey, by, by.endUs);
      settle(row, by, false, report);
    };

    const judgeRow = (row: Row, atUs: number, report: Report): void => {
      if (row.isDone) return;
      // It stays known by its id: the publish may come much later, and is not one of a row that was never seen.
      row.isDone = true;
      overdue += 1;
      const isKnown = isVisible() && (row.isDeclared || relayed.getAt(row.tableKey.low, row.tableKey.high, atUs) !== undefined);
      const heard = heardOf(row, atUs);
      if (isKnown && heard.is !== 'silent') tell(row, undefined, report);
      else row.isUnsaid = true;
      if (isKnown && heard.is === 'silent') tellSilence(row, heard.service, report);
    };

    const judge = (atUs: number, report: Report, isLast = false): void => {
      if (oldestUs + deadlineUs >= atUs || !context.learned.isLossKnown()) return;
      oldestUs = Number.POSITIVE_INFINITY;
      for (const row of waiting) {
        if (row.settledUs + deadlineUs >= atUs) {
          if (row.settledUs < oldestUs) oldestUs = row.settledUs;
          continue;
        }
        if (!isLast && row.settledUs + deadlineUs + signUs >= atUs && heardOf(row, atUs).is === 'open') {
          if (row.settledUs < oldestUs) oldestUs = row.settledUs;
          continue;
        }
        waiting.delete(row);
        unindex(row);
        if (matched > 0 || unsure.size >= rowsMax) judgeRow(row, atUs, report);
        else unsure.add(row);
      }
      if (matched > 0 && unsure.size > 0) {
        for (const row of unsure) judgeRow(row, atUs, report);
        unsure.clear();
      }
      byId.sweep(atUs);
      done.sweep(atUs);
      relayed.sweep(atUs);
    };
    const countStrangers = (atUs: number): void =>
      early.sweep(atUs, ({ startUs }) => published.add(context.learned.mayBeCut(startUs), 1, 1));

    return {
      inspect(trace, report) {
        if (!trace.hasWrites && !trace.hasMessages) return;
        for (const unit of trace.units) if (unit.writes.length > 0 || unit.publishes.length > 0) inspectUnit(trace, unit, report);
        if (trace.hasMessages) settleByTrace(trace, report);
      },
      advance(atUs, report) {
        const tickUs = Math.floor(atUs / 250_000) * 250_000;
        if (tickUs <= lastTickUs) return;
        lastTickUs = tickUs;
        countStrangers(tickUs);
        earlyByTrace.sweep(tickUs);
        judge(tickUs, report);
      },
      finish(atUs, report) {
        countStrangers(Number.POSITIVE_INFINITY);
        judge(atUs, report, true);
        // In a history without any publish of an outbox row, the rows were published nowhere that it shows.
        for (const row of unsure) judgeRow(row, atUs, report);
      },
      bytes: () => waiting.size * bytesPerRow + done.size * bytesPerDone,
    };
  },
);

/** A table in its store, with the hash of that. */
interface TableKey {
  readonly text: string;
  readonly low: number;
  readonly high: number;
}

/** Both are few and this is asked with every statement: put together once. */
const tableKeys = new Map<string, Map<string, TableKey>>();

function tableKey(operation: Operation): TableKey {
  const store = storeOf(operation);
  const table = bareName(targetOf(operation));
  const known = tableKeys.get(store)?.get(table);
  if (known !== undefined) return known;
  const text = `${store}\0${table}`;
  const { low, high } = new Hash64().start().text(text).end();
  const key = { text, low, high };
  const ofStore = tableKeys.get(store) ?? new Map<string, TableKey>();
  if (tableKeys.size < tableKeysMax && ofStore.size < tableKeysMax) {
    ofStore.set(table, key);
    tableKeys.set(store, ofStore);
  }
  return key;
}

/** Stores, tables of one, publishers of one; a sender of endless names gets no more of them remembered. */
const tableKeysMax = 1000;

function relay(afterMs: number) {
  return exampleOperations([
    { kind: 'append', trace: 'a', at: 0, service: 'shop', target: 'outbox', facts: { outboxId: 'o-1' } },
    { kind: 'publish', trace: 'b', at: afterMs, service: 'relay', target: 'orders', facts: { outboxId: 'o-1' } },
    { kind: 'request', trace: 'c', at: afterMs + 70_000, service: 'shop', target: 'GET /' },
  ]);
}
