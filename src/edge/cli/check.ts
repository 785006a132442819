import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import type { Anomaly, Grade } from '../../domain/anomaly.ts';
import { checkFiles } from '../../runtime/check-files.ts';
import type { CheckResult } from '../../runtime/check-stage.ts';
import { factWords } from './structure.ts';
import type { CliContext } from './program.ts';

/** Problems told in full; more are counted. */
const problemsTold = 10;
/**
 * Operations of traces that are not over yet, and messages and rows remembered of those that are: beyond either, traces are sampled, and
 * findings say so. Room for the spans of a second at 150,000 a second.
 */
export const checkBounds = { maxOperations: 150_000, maxHeld: 300_000 };
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
      const paths = files.map((file) => resolve(context.cwd, file));
      const sizes = paths.map(sizeOf);
      const tellProgress = context.isTty && options.json !== true ? progressOf(context, files, sizes) : undefined;
      let problems = 0;
      const result = await checkFiles(paths, {
        detection:
          config === undefined
            ? checkBounds
            : {
                ...config.detect,
                declared: config.detect.structure,
                domains: Object.values(config.domains),
                collections: Object.values(config.collections),
                latenessMs: config.ingest.latenessMs,
              },
        logKeys: config?.ingest.logKeys ?? [],
        signal: context.signal,
        onProblem: (sentence, path) => {
          problems += 1;
          if (problems <= problemsTold) context.err(sentence.replace(path, files[paths.indexOf(path)] ?? path));
        },
        onPosition: (nth, bytes, spans) => tellProgress?.(nth, bytes, spans),
      });
      const anomalies = result.anomalies.toSorted(
        (a, b) => gradeOrder[a.grade] - gradeOrder[b.grade] || b.count - a.count || (a.title < b.title ? -1 : 1),
      );
      if (options.json === true) for (const anomaly of anomalies) context.out(JSON.stringify(lineOf(anomaly)));
      else printForPeople(anomalies, result, problems === 0, context);
      if (problems > problemsTold) context.err(`... and ${(problems - problemsTold).toLocaleString('en')} more that could not be read`);
      context.err(summary(result, anomalies.length, problems));
      // What could not be read may hold more: the answer is not whole.
      context.exit(problems > 0 ? 2 : anomalies.length === 0 ? 0 : 1);
    });
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
): (nth: number, bytes: number, spans: number) => void {
  const startedMs = systemClock.monotonicMs();
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let shownMs = startedMs;
  return (nth, bytes, spans) => {
    const nowMs = systemClock.monotonicMs();
    if (nowMs - shownMs < progressEveryMs) return;
    shownMs = nowMs;
    const done = sizes.slice(0, nth).reduce((sum, size) => sum + size, 0) + bytes;
    const perSecond = Math.round(spans / ((nowMs - startedMs) / 1000));
    context.err(
      `${files[nth] ?? ''} · ${total === 0 ? 100 : Math.floor((100 * done) / total)} % · ${spans.toLocaleString('en')} spans, ${perSecond.toLocaleString('en')} a second`,
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

function printForPeople(anomalies: readonly Anomaly[], result: CheckResult, isWhole: boolean, context: CliContext): void {
  if (anomalies.length === 0) context.out(isWhole ? 'Nothing found.' : 'Nothing found in what could be read.');
  for (const anomaly of anomalies) {
    context.out(
      `${anomaly.grade.toUpperCase().padEnd(10)} ${anomaly.kind}${anomaly.model === undefined ? '' : ` ${anomaly.model}`}  ${anomaly.count > 1 ? `${anomaly.count}x  ` : ''}${anomaly.title}`,
    );
    context.out(`  ${anomaly.explanation}`);
    context.out(`  Fix: ${anomaly.fix}`);
    context.out(`  Spans: ${anomaly.spans.map((span) => `${span.traceId}/${span.spanId}`).join(', ')}`);
    context.out('');
  }
  for (const fact of result.learned)
    if (fact.is !== 'edge')
      context.out(
        `Learned: ${fact.is} ${fact.name}: ${factWords(fact)} (from ${fact.from}; ${fact.support} traces, confidence ${fact.confidence.toFixed(2)})`,
      );
}

function summary({ stats, duplicates }: CheckResult, findings: number, problems: number): string {
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
