import type { Command } from 'commander';
import { durationWords } from '../../detect/findings.ts';
import { createDetection, type Detection } from '../../detect/run.ts';
import type { Anomaly, Grade } from '../../domain/anomaly.ts';
import { createSpanDedupe } from '../../ingest/dedupe.ts';
import { readOtlpFile } from '../../io/otlp/read-file.ts';
import type { CliContext } from './program.ts';

/**
 * Operations that may wait in memory before the oldest half is judged; about 400 bytes each. Files are often ordered by service or by
 * exporter rather than by time, so as much as fits is kept together.
 */
const waitingMax = 600_000;

const gradeOrder: Readonly<Record<Grade, number>> = { proven: 0, structural: 1, risk: 2 };

export function registerCheck(program: Command, context: CliContext): void {
  program
    .command('check')
    .description(
      'Run the trace detectors over OTLP files (.json, .jsonl, .pb, each also .gz); no server needed. Exit 0 nothing, 1 findings, 2 bad input.',
    )
    .argument('<files...>', 'OTLP files, as an exporter or the Collector wrote them')
    .option('--config <file>', 'domains, collections and detector options to apply')
    .option('--json', 'one JSON object per finding and line')
    .action(async (files: string[], options: { config?: string; json?: boolean }) => {
      const config = options.config === undefined ? undefined : context.loadConfig(options.config);
      const detection = createDetection(
        config === undefined
          ? {}
          : {
              ...config.detect,
              domains: Object.values(config.domains),
              collections: Object.values(config.collections),
              latenessMs: config.ingest.latenessMs,
            },
      );
      const dedupe = createSpanDedupe({});
      const found = new Map<string, Anomaly>();
      for (const file of files) {
        for await (const operations of readOtlpFile(file, { dedupe, logKeys: config?.ingest.logKeys ?? [] })) {
          context.signal.throwIfAborted();
          detection.add(operations);
          if (detection.stats.buffered > waitingMax)
            for (const anomaly of detection.advanceByHalf()) found.set(anomaly.fingerprint, anomaly);
        }
      }
      for (const anomaly of detection.finish()) found.set(anomaly.fingerprint, anomaly);

      const anomalies = [...found.values()].toSorted(
        (a, b) => gradeOrder[a.grade] - gradeOrder[b.grade] || b.count - a.count || (a.title < b.title ? -1 : 1),
      );
      if (options.json === true) for (const anomaly of anomalies) context.out(JSON.stringify(lineOf(anomaly)));
      else printForPeople(anomalies, detection, context);
      context.err(summary(detection, dedupe.dropped + detection.stats.duplicates, anomalies.length));
      context.exit(anomalies.length === 0 ? 0 : 1);
    });
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
    if (fact.is !== 'topic-lag')
      context.out(
        `Learned: ${fact.name} is ${fact.is === 'outbox' ? 'an outbox' : 'a replica'} (from ${fact.from}; ${fact.support} traces, confidence ${fact.confidence.toFixed(2)})`,
      );
    else context.out(`Learned: messages of ${fact.name} are taken up within ${durationWords(fact.value)} (${fact.support} messages)`);
}

function summary(detection: Detection, duplicates: number, findings: number): string {
  const { stats } = detection;
  const counted = (count: number, one: string, many: string) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
  const share = Math.min(stats.traceShare, stats.keyShare);
  return [
    counted(stats.operations, 'operation', 'operations'),
    counted(duplicates, 'duplicate span dropped', 'duplicate spans dropped'),
    ...(stats.late === 0 ? [] : [counted(stats.late, 'came late', 'came late')]),
    ...(share === 1 ? [] : [`${(share * 100).toPrecision(2)} % of the keys looked at`]),
    counted(findings, 'finding', 'findings'),
  ].join('; ');
}

function timeText(us: number): string {
  return new Date(us / 1000).toISOString();
}
