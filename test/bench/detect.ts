import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly, Grade } from '../../src/domain/anomaly.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import type { Bench } from './bench.ts';
import { sampledRateError } from './fleet/sampled-rate.ts';
import { calm, emit, rough, type Weather } from './fleet/emit.ts';
import { simulateFleet } from './fleet/fleet.ts';
import type { TruthLog } from './fleet/truth.ts';
import { precisionOf, recallOf, type Score, score } from './fleet/score.ts';

/**
 * Precision and recall on a simulated fleet whose faults are written down by their injectors, apart from the spans. Seeds from 9101
 * are for this bench alone; whoever tunes a detector takes others. `*_precision` and `*_recall` are the worst kind's of each grade.
 * `structural_count_error` is how far the counts of structural findings are from the number of traces that show them, in the calm fleet;
 * `witness_spans_max` is the longest witness of all findings but those of cycles between transactions.
 */
const firstSeed = 9101;
const weathers: Readonly<Record<string, Weather>> = {
  calm,
  lossy: { ...calm, loss: 0.05 },
  skewed: { ...calm, skewMs: 50 },
  late: { ...calm, latenessMs: 10_000 },
  rough,
  sampled10: { ...rough, headSampling: 0.1 },
  sampled1: { ...rough, headSampling: 0.01 },
};

const ledger: ConsistencyDomain = {
  name: 'ledger',
  consistency: 'strict',
  stalenessMs: 1_000,
  residency: [],
  risk: 'high',
  repair: { mode: 'review', approvals: 2, rowsPerHour: 100, undoHours: 24, approvalExpiryMinutes: 30 },
  llm: { enabled: false, rawValues: false, tokensPerDay: 0 },
};

export const bench: Bench = {
  name: 'detect',
  says: 'precision and recall of the trace detectors on a labelled fleet, per grade and kind',
  parts: [...Object.keys(weathers), 'keys'],
  run: async ({ quick, only, log }) => {
    const wanted = Object.entries(weathers).filter(([name]) => only?.includes(name) !== false);
    const seeds = Array.from({ length: quick ? 1 : 6 }, (_, nth) => firstSeed + nth);
    const totals = new Map(wanted.map(([name]) => [name, new Map<string, Sum>()]));
    let spans = 0;
    let cpuSeconds = 0;
    let longestWitness = 0;
    const countErrors: number[] = [];
    for (const seed of wanted.length === 0 ? [] : seeds) {
      const world = simulateFleet(seed);
      const made = world.traces.reduce((sum, trace) => sum + trace.spans.length, 0);
      for (const [name, weather] of wanted) {
        const lines = emit(world, weather, seed);
        const before = process.cpuUsage();
        const findings = detect(lines);
        const used = process.cpuUsage(before);
        cpuSeconds += (used.user + used.system) / 1e6;
        spans += made * weather.headSampling;
        for (const finding of findings) if (finding.kind !== 'isolation') longestWitness = Math.max(longestWitness, finding.spans.length);
        const { scores, missed, wrong } = score(world.truth, findings);
        for (const [id, one] of scores) add(totals.get(name), id, one);
        log(`seed ${seed} ${name}: ${findings.length} findings, ${wrong.length} wrong`);
        for (const finding of wrong.slice(0, 20))
          log(
            `seed ${seed} ${name} wrong ${finding.kind} ${finding.grade} ${finding.model ?? ''} ${finding.service ?? ''} ${finding.title}`,
          );
        if (name !== 'calm') continue;
        countErrors.push(...countErrorsOf(world.truth, findings));
        for (const fault of missed.slice(0, 20))
          log(`seed ${seed} missed ${fault.kind} ${fault.grade} ${fault.model ?? ''} ${fault.about}`);
      }
    }
    const figures: Record<string, number> = {};
    for (const [name, total] of totals) Object.assign(figures, figuresOf(name === 'calm' ? '' : `${name}_`, total));
    if (countErrors.length > 0) figures['structural_count_error'] = Math.max(...countErrors);
    if (wanted.length > 0) {
      figures['witness_spans_max'] = longestWitness;
      figures['spans_per_cpu_s'] = Math.round(spans / cpuSeconds);
      figures['seeds'] = seeds.length;
    }
    if (only?.includes('keys') !== false) {
      const error = sampledRateError(firstSeed, 0.1);
      figures['sampled_keys10_trace_rate_error'] = error.traces;
      figures['sampled_keys10_object_rate_error'] = error.objects;
    }
    return { figures, baseline: {} };
  },
};

/** The worst kind of each grade, and every kind. */
function figuresOf(prefix: string, total: ReadonlyMap<string, Sum>): Record<string, number> {
  const figures: Record<string, number> = {};
  for (const grade of ['proven', 'structural', 'risk'] as const satisfies readonly Grade[]) {
    const ofGrade = [...total].filter(([id]) => id.endsWith(`/${grade}`));
    figures[`${prefix}${grade}_precision`] = Math.min(1, ...ofGrade.map(([, one]) => precisionOf(one)));
    figures[`${prefix}${grade}_recall`] = Math.min(1, ...ofGrade.map(([, one]) => recallOf(one)));
  }
  for (const [id, one] of [...total].toSorted(([a], [b]) => a.localeCompare(b))) {
    const kind = `${prefix}${id.replace('/', '_').replaceAll('-', '_')}`;
    figures[`${kind}_precision`] = precisionOf(one);
    figures[`${kind}_recall`] = recallOf(one);
  }
  return figures;
}

/** As they come from the Collector's file, a line after the other. */
function detect(lines: readonly string[]): readonly Anomaly[] {
  const detection = createDetection({ domains: [ledger] });
  const decoder = new JsonDecoder();
  const reader = new OperationReader();
  const batch = new SpanBatch();
  const found = new Map<string, Anomaly>();
  for (const line of lines) {
    const decoded = decoder.decodeText(line, batch);
    if (decoded.is === 'malformed') throw new Error(decoded.what);
    detection.add(reader.read(batch));
    for (const anomaly of detection.advanceToLateness()) found.set(anomaly.fingerprint, anomaly);
  }
  for (const anomaly of detection.finish()) found.set(anomaly.fingerprint, anomaly);
  return [...found.values()];
}

/** Relative difference between each structural finding's count and the number of traces that its injector wrote down. */
function countErrorsOf(truth: TruthLog, findings: readonly Anomaly[]): readonly number[] {
  const errors: number[] = [];
  for (const fault of truth.faults.values()) {
    if (fault.grade !== 'structural') continue;
    const counted = findings
      .filter(
        ({ kind, grade, spans }) => kind === fault.kind && grade === fault.grade && spans.some((span) => fault.traces.has(span.traceId)),
      )
      .reduce((sum, { count }) => sum + count, 0);
    errors.push(Math.abs(counted - fault.traces.size) / fault.traces.size);
  }
  return errors;
}

interface Sum {
  truths: number;
  found: number;
  findings: number;
  wrong: number;
}

function add(total: Map<string, Sum> | undefined, id: string, one: Score): void {
  const sum = total?.get(id) ?? { truths: 0, found: 0, findings: 0, wrong: 0 };
  total?.set(id, {
    truths: sum.truths + one.truths,
    found: sum.found + one.found,
    findings: sum.findings + one.findings,
    wrong: sum.wrong + one.wrong,
  });
}
