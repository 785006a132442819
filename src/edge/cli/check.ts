import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import { createDetection, type Detection } from '../../detect/run.ts';
import type { Anomaly, Grade } from '../../domain/anomaly.ts';
import type { Operation } from '../../domain/operation.ts';
import { createSpanDedupe } from '../../ingest/dedupe.ts';
import { OperationReader } from '../../ingest/operation-from-span.ts';
import { dropRows, packBatch } from '../../ingest/packed-batch.ts';
import { SpanBatch } from '../../ingest/span-batch.ts';
import { WaitingRoom } from '../../ingest/waiting-room.ts';
import { readOtlpBatches } from '../../io/otlp/read-file.ts';
import { factWords } from './structure.ts';
import type { CliContext } from './program.ts';

/**
 * Bytes of spans that wait, packed, before the oldest are judged: about 600,000 spans. Files are often ordered by service or by exporter
 * rather than by time, so as much as fits is kept together; with what the detectors hold the process stays near 400 MB.
 */
const waitingBytes = 64 * 1024 * 1024;
/** Event time that is made into operations at once. */
const stepUs = 250_000;
/** Problems told in full; more are counted. */
const problemsTold = 10;
/** Operations of traces that are not over yet; beyond it traces are sampled, and findings say so. */
const defaultOperations = 300_000;
const progressEveryMs = 2_000;

const gradeOrder: Readonly<Record<Grade, number>> = { proven: 0, structural: 1, risk: 2 };

export function registerCheck(program: Command, context: CliContext): void {
  program
    .command('check')
    .argument('<files...>', 'OTLP files, as an exporter or the Collector wrote them')
    .option('--config <file>', 'domains, collections and detector options to apply')
    .option('--json', 'one JSON object per finding and line')
    .action(async (files: string[], options: { config?: string; json?: boolean }) => {
      const config = options.config === undefined ? undefined : await context.loadConfig(options.config);
      const detection = createDetection(
        config === undefined
          ? { maxOperations: defaultOperations }
          : {
              ...config.detect,
              declared: config.detect.structure,
              domains: Object.values(config.domains),
              collections: Object.values(config.collections),
              latenessMs: config.ingest.latenessMs,
            },
      );
      const found = new Map<string, Anomaly>();
      const keep = (anomalies: readonly Anomaly[]): void => {
        for (const anomaly of anomalies) found.set(anomaly.fingerprint, anomaly);
      };
      const sizes = files.map((file) => sizeOf(resolve(context.cwd, file)));
      const intake = new Intake((operations) => detection.add(operations));
      const tellProgress = options.json === true || !context.isTty ? undefined : progressOf(context, files, sizes, intake);
      let problems = 0;
      for (const [nth, file] of files.entries()) {
        const batches = readOtlpBatches(resolve(context.cwd, file), {
          logKeys: config?.ingest.logKeys ?? [],
          onProblem: (sentence) => {
            problems += 1;
            if (problems <= problemsTold) context.err(sentence.replace(resolve(context.cwd, file), file));
          },
          onPosition: (bytes) => tellProgress?.(nth, bytes),
        });
        for await (const batch of batches) {
          context.signal.throwIfAborted();
          intake.take(batch);
          while (intake.isOverBound) keep(detection.advance(intake.release()));
        }
      }
      while (intake.hasMore) keep(detection.advance(intake.release()));
      keep(detection.finish());

      const anomalies = [...found.values()].toSorted(
        (a, b) => gradeOrder[a.grade] - gradeOrder[b.grade] || b.count - a.count || (a.title < b.title ? -1 : 1),
      );
      if (options.json === true) for (const anomaly of anomalies) context.out(JSON.stringify(lineOf(anomaly)));
      else printForPeople(anomalies, detection, context);
      if (problems > problemsTold) context.err(`... and ${(problems - problemsTold).toLocaleString('en')} more that could not be read`);
      context.err(summary(detection, intake.duplicates + detection.stats.duplicates, anomalies.length, problems));
      // What could not be read may hold more: the answer is not whole.
      context.exit(problems > 0 ? 2 : anomalies.length === 0 ? 0 : 1);
    });
}

/** Spans on their way from files to the detectors: packed while they wait, in order of time when they leave, each once. */
class Intake {
  spans = 0;
  readonly #room = new WaitingRoom(waitingBytes);
  readonly #reader = new OperationReader();
  readonly #due = new SpanBatch();
  readonly #dedupe = createSpanDedupe({});
  readonly #add: (operations: readonly Operation[]) => void;
  #batches = 0;

  constructor(add: (operations: readonly Operation[]) => void) {
    this.#add = add;
  }

  get duplicates(): number {
    return this.#dedupe.dropped;
  }

  get isOverBound(): boolean {
    return this.#room.isOverBound;
  }

  get hasMore(): boolean {
    return this.#room.nextDueUs !== Number.POSITIVE_INFINITY;
  }

  take(batch: SpanBatch): void {
    const packed = packBatch(batch);
    if (packed === undefined) return;
    this.spans += packed.rows;
    const kept = dropRows(packed, (ids, row) => packed.isLog || this.#dedupe.isNew(ids, row * 32));
    this.#room.add(this.#batches, packed, batch.strings, kept);
    this.#batches += 1;
  }

  /** Lets go of the oldest step of time that waits; says up to when (event time) nothing waits any more. */
  release(): number {
    const upToUs = this.#room.nextDueUs + stepUs;
    const into = (): SpanBatch => this.#due;
    while (this.#room.release(upToUs, into, (batch, rows, count) => this.#add(this.#reader.readRows(batch, rows, count))));
    return upToUs;
  }
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    throw new Failure('bad-input', `${file}: no such file, or it may not be read`, 'never');
  }
}

/** A line now and then for whoever waits: how far it is, and how fast. */
function progressOf(
  context: CliContext,
  files: readonly string[],
  sizes: readonly number[],
  intake: Intake,
): (nth: number, bytes: number) => void {
  const startedMs = systemClock.monotonicMs();
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let shownMs = startedMs;
  return (nth, bytes) => {
    const nowMs = systemClock.monotonicMs();
    if (nowMs - shownMs < progressEveryMs) return;
    shownMs = nowMs;
    const done = sizes.slice(0, nth).reduce((sum, size) => sum + size, 0) + bytes;
    const perSecond = Math.round(intake.spans / ((nowMs - startedMs) / 1000));
    context.err(
      `${files[nth] ?? ''} · ${total === 0 ? 100 : Math.floor((100 * done) / total)} % · ${intake.spans.toLocaleString('en')} spans, ${perSecond.toLocaleString('en')} a second`,
    );
  };
}

function lineOf(anomaly: Anomaly): object {
  return {
    kind: anomaly.kind,
    ...(anomaly.model === undefined ? {} : { model: anomaly.model }),
    grade: anomaly.grade,
    title: anomaly.title,
    explanation: anomaly.explanation,
    ...(anomaly.domain === undefined ? {} : { domain: anomaly.domain }),
    ...(anomaly.collection === undefined ? {} : { collection: anomaly.collection }),
    ...(anomaly.objectKey === undefined ? {} : { objectKey: anomaly.objectKey }),
    ...(anomaly.service === undefined ? {} : { service: anomaly.service }),
    count: anomaly.count,
    complete: anomaly.complete,
    spans: anomaly.spans,
    fix: anomaly.fix,
    sampledShare: anomaly.sampledShare,
    firstSeen: timeText(anomaly.firstSeenUs),
    lastSeen: timeText(anomaly.lastSeenUs),
    fingerprint: anomaly.fingerprint,
    facts: anomaly.facts,
  };
}

function printForPeople(anomalies: readonly Anomaly[], detection: Detection, context: CliContext): void {
  if (anomalies.length === 0) context.out('Nothing found.');
  for (const anomaly of anomalies) {
    context.out(
      `${anomaly.grade.toUpperCase().padEnd(10)} ${anomaly.kind}${anomaly.model === undefined ? '' : ` ${anomaly.model}`}  ${anomaly.count > 1 ? `${anomaly.count}x  ` : ''}${anomaly.title}`,
    );
    context.out(`  ${anomaly.explanation}`);
    context.out(`  Fix: ${anomaly.fix}`);
    context.out(`  Spans: ${anomaly.spans.map((span) => `${span.traceId}/${span.spanId}`).join(', ')}`);
    context.out('');
  }
  for (const fact of detection.learned())
    if (fact.is !== 'edge')
      context.out(
        `Learned: ${fact.is} ${fact.name}: ${factWords(fact)} (from ${fact.from}; ${fact.support} traces, confidence ${fact.confidence.toFixed(2)})`,
      );
}

function summary(detection: Detection, duplicates: number, findings: number, problems: number): string {
  const { stats } = detection;
  const counted = (count: number, one: string, many: string) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
  const share = Math.min(stats.traceShare, stats.keyShare);
  return [
    counted(stats.operations, 'operation', 'operations'),
    counted(duplicates, 'duplicate span dropped', 'duplicate spans dropped'),
    ...(stats.late === 0 ? [] : [counted(stats.late, 'came late', 'came late')]),
    ...(share === 1 ? [] : [`${(share * 100).toPrecision(2)} % of the keys looked at`]),
    ...(stats.unordered === 0
      ? []
      : [`isolation unknown for ${counted(stats.unordered, 'object', 'objects')} whose versions have no known order`]),
    ...(problems === 0 ? [] : [counted(problems, 'part could not be read', 'parts could not be read')]),
    counted(findings, 'finding', 'findings'),
  ].join('; ');
}

function timeText(us: number): string {
  return new Date(us / 1000).toISOString();
}
