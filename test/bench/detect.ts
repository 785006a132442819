import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly, Grade } from '../../src/domain/anomaly.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import { readOtlpFile } from '../../src/io/otlp/read-file.ts';
import type { Bench } from './bench.ts';
import { sampledRateError } from './fleet/sampled-rate.ts';
import { calm, emit, rough, type Weather } from './fleet/emit.ts';
import { simulateFleet } from './fleet/fleet.ts';
import type { TruthLog } from './fleet/truth.ts';
import { precisionOf, recallOf, type Score, score } from './fleet/score.ts';

/**
 * Precision and recall on a simulated fleet whose faults are written down by their injectors, apart from the spans. Seeds from 9001
 * are for this bench alone; whoever tunes a detector takes others. `*_precision` and `*_recall` are the worst kind's of each grade.
 * `structural_count_error` is how far the counts of structural findings are from the number of traces that show them, in the calm fleet.
 */
const firstSeed = 9001;
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
  run: async ({ quick, log }) => {
    const seeds = Array.from({ length: quick ? 2 : 6 }, (_, nth) => firstSeed + nth);
    const figures: Record<string, number> = {};
    let spans = 0;
    let cpuSeconds = 0;
    const countErrors: number[] = [];
    for (const [name, weather] of Object.entries(weathers)) {
      const total = new Map<string, { truths: number; found: number; findings: number; wrong: number }>();
      for (const seed of seeds) {
        const world = simulateFleet(seed);
        const before = process.cpuUsage();
        const findings = await detect(emit(world, weather, seed));
        const used = process.cpuUsage(before);
        cpuSeconds += (used.user + used.system) / 1e6;
        spans += world.traces.reduce((sum, trace) => sum + trace.spans.length, 0) * weather.headSampling;
        const { scores, missed, wrong } = score(world.truth, findings);
        for (const [id, one] of scores) add(total, id, one);
        if (name !== 'calm') continue;
        countErrors.push(...countErrorsOf(world.truth, findings));
        for (const fault of missed.slice(0, 20))
          log(`seed ${seed} missed ${fault.kind} ${fault.grade} ${fault.model ?? ''} ${fault.about}`);
        for (const finding of wrong.slice(0, 20))
          log(`seed ${seed} wrong ${finding.kind} ${finding.grade} ${finding.model ?? ''} ${finding.service ?? ''} ${finding.title}`);
      }
      const prefix = name === 'calm' ? '' : `${name}_`;
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
    }
    figures['structural_count_error'] = Math.max(0, ...countErrors);
    figures['sampled_keys10_trace_rate_error'] = sampledRateError(firstSeed, 0.1).traces;
    figures['sampled_keys10_object_rate_error'] = sampledRateError(firstSeed, 0.1).objects;
    figures['spans_per_cpu_s'] = Math.round(spans / cpuSeconds);
    figures['seeds'] = seeds.length;
    return { figures, baseline: {} };
  },
};

async function detect(lines: readonly string[]): Promise<readonly Anomaly[]> {
  const folder = mkdtempSync(join(tmpdir(), 'homeostat-fleet-'));
  try {
    const path = join(folder, 'fleet.jsonl');
    writeFileSync(path, lines.join('\n'));
    const detection = createDetection({ domains: [ledger] });
    const found = new Map<string, Anomaly>();
    for await (const operations of readOtlpFile(path)) {
      detection.add(operations);
      for (const anomaly of detection.advanceToLateness()) found.set(anomaly.fingerprint, anomaly);
    }
    for (const anomaly of detection.finish()) found.set(anomaly.fingerprint, anomaly);
    return [...found.values()];
  } finally {
    rmSync(folder, { recursive: true });
  }
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

function add(total: Map<string, { truths: number; found: number; findings: number; wrong: number }>, id: string, one: Score): void {
  const sum = total.get(id) ?? { truths: 0, found: 0, findings: 0, wrong: 0 };
  total.set(id, {
    truths: sum.truths + one.truths,
    found: sum.found + one.found,
    findings: sum.findings + one.findings,
    wrong: sum.wrong + one.wrong,
  });
}
