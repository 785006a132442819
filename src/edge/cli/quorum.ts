import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import * as z from 'zod';
import { Failure } from '../../base/failure.ts';
import { createRng } from '../../base/rng.ts';
import { waitCommands } from '../../forecast/commands.ts';
import { chooseQuorum } from '../../forecast/quorum-choice.ts';
import { freshIntervals, type Legs, quorumOdds } from '../../forecast/wars.ts';
import type { CliContext } from './program.ts';
import { isOtlpFile, quorumOfTraces, type TracedQuorum } from './quorum-traces.ts';

const samples = z.array(z.number().nonnegative()).min(1).max(1_000_000);
const legs = z.strictObject({ w: samples, a: samples, r: samples, s: samples });

const promisesFile = z.strictObject({
  spell: z.int().min(1).optional(),
  slo: z
    .strictObject({
      freshShare: z.number().min(0).max(1).optional(),
      afterMs: z.number().nonnegative().optional(),
      readP99Ms: z.number().positive().optional(),
      writeP99Ms: z.number().positive().optional(),
      faults: z.int().nonnegative().optional(),
    })
    .optional(),
  current: z.strictObject({ r: z.int().min(1), w: z.int().min(1) }).optional(),
  readShare: z.number().min(0).max(1).optional(),
  switchShare: z.number().min(0).max(1).optional(),
  trials: z.int().min(1_000).max(5_000_000).optional(),
  seed: z.int().nonnegative().optional(),
});

const quorumFile = promisesFile.extend({
  replicas: z.record(z.string(), legs).optional(),
  latencies: legs.optional(),
  n: z.int().min(1).max(16).optional(),
  paired: z.boolean().optional(),
});

type Promises = z.infer<typeof promisesFile>;

const help = `
FILE.json, all times in milliseconds:
  {
    "replicas": {                     one entry a replica (1 to 16), its measured latencies:
      "eu": { "w": [1.2, ...],          write request: coordinator to replica
              "a": [0.9, ...],          write acknowledgement back
              "r": [1.1, ...],          read request to replica
              "s": [1.0, ...] },        read response back
      "us": { ... } },
    "n": 3, "latencies": {"w":...},   instead of "replicas": n replicas that are all like this
    "paired": true,                   sample k of all replicas and legs is one moment; default: true where lengths agree, with "replicas"
    "spell": 32,                      neighbouring moments that go together
    "slo": { "freshShare": 0.999,     least share of fresh reads ...
             "afterMs": 0,            ... that begin this long after the commit
             "readP99Ms": 20, "writeP99Ms": 50,
             "faults": 1 },           replicas that may be lost
    "current": { "r": 1, "w": 1 },    what is set now; a change must pay
    "readShare": 0.9,                 share of operations that read (default 0.9)
    "switchShare": 0.05,              least gain in mean latency that is worth a change (default 0.05)
    "trials": 100000, "seed": 1
  }
Everything but the latencies may be left out. A round trip may be given as half in w and half in a. Replica lag (asynchronous
replication) belongs into w of the replicas that lag.

FILE may also hold traces: OTLP as check reads it, of clients that send each write and read to every replica themselves. Client spans of one
parent on one object (consistency.object.key, or the key in the statement) to different replicas (consistency.replica.id, else server.address),
on their way at the same time, are one operation. Spans show trips there and back: a way is taken as half of one, and the interval holds that
what a trip takes longer than the quickest 5 % may be lost on either way; what is promised must hold at its low end. Replicas that copy from
each other afterwards are not described by this. A service that receives such spans suggests it of itself: a target of kind client-quorum.

Method: Monte Carlo of the WARS model (Bailis et al., Probabilistically Bounded Staleness, VLDB 2012).`;

interface Flags {
  readonly json?: boolean;
  readonly promises?: string;
  readonly collection?: string;
  readonly replicas?: string;
}

export function registerQuorum(program: Command, context: CliContext): void {
  program
    .command('quorum')
    .argument('<file>', 'JSON with latency samples and the promises to keep, or traces (OTLP files, as check reads them)')
    .option('--promises <file>', 'with traces: JSON with "slo" and the other fields of FILE.json that are no samples')
    .option('--collection <name>', 'with traces: the collection to look at, where they show several')
    .option('--replicas <names>', 'with traces: the replicas, with commas between; default: the set that most operations went to')
    .option('--config <file>', 'not used by this command')
    .option('--json', 'one JSON object')
    .addHelpText('after', help)
    .action(async (file: string, flags: Flags) => {
      const question = (await isOtlpFile(resolve(context.cwd, file)))
        ? await ofTraces(file, flags, context)
        : await ofSamples(file, flags, context);
      answer(question, flags.json === true, context);
    });
}

/** What is asked of the model: latencies, from wherever they are known, and the promises to keep. */
interface Question {
  readonly input: Promises;
  readonly names: readonly string[];
  readonly replicas: readonly Legs[];
  readonly isPaired: boolean;
  readonly traced?: TracedQuorum;
}

function answer({ input, names, replicas, isPaired, traced }: Question, asJson: boolean, context: CliContext): void {
  const afterMs = input.slo?.afterMs ?? 0;
  const curve = [...new Set([afterMs, 0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000])];
  const options = { trials: input.trials ?? 100_000, isPaired, spell: input.spell ?? 32, afterMs: curve };
  const rng = createRng(input.seed ?? 1);
  const startedMs = performance.now();
  const odds = quorumOdds(replicas, options, rng.fork('odds'));
  const enumeratedMs = performance.now() - startedMs;
  const lows = isPaired ? freshIntervals(traced?.legs.late ?? replicas, options, rng.fork('intervals')) : [];
  // Of traces the halves of a trip are not known either: the interval holds what they may be.
  const highs = traced === undefined ? lows : freshIntervals(traced.legs.early, options, rng.fork('early'));
  const intervals = lows.map(({ low }, i) => ({ low, high: highs[i]?.high ?? 1 }));
  const choice = chooseQuorum(odds, {
    slo: {
      freshShare: input.slo?.freshShare ?? null,
      readP99Ms: input.slo?.readP99Ms ?? null,
      writeP99Ms: input.slo?.writeP99Ms ?? null,
      faults: input.slo?.faults ?? 0,
    },
    readShare: input.readShare ?? traced?.readShare ?? 0.9,
    current: input.current ?? null,
    switchShare: input.switchShare ?? 0.05,
    ...(traced === undefined ? {} : { sure: new Map(odds.map((one, i) => [one, intervals[i] ?? { low: 0, high: 1 }])) }),
  });
  const { chosen } = choice;
  const isChange = chosen !== null && (input.current === undefined || choice.steps.length > 0);
  const commands = isChange ? waitCommands(chosen.r, chosen.w, replicas.length) : [];
  if (asJson) {
    const settings = odds.map((one, i) => ({
      r: one.r,
      w: one.w,
      fresh: one.fresh[0],
      ...(intervals[i] === undefined ? {} : { freshLow: intervals[i].low, freshHigh: intervals[i].high }),
      curve: curve.map((t, k) => ({ afterMs: t, fresh: one.fresh[k] ?? 0 })).toSorted((a, b) => a.afterMs - b.afterMs),
      fresh999Ms: round(one.fresh999Ms),
      readP50Ms: round(one.readP50Ms),
      readP99Ms: round(one.readP99Ms),
      writeP50Ms: round(one.writeP50Ms),
      writeP99Ms: round(one.writeP99Ms),
      broken: choice.broken.get(one) ?? [],
    }));
    context.out(
      JSON.stringify({
        n: replicas.length,
        replicas: names,
        ...(traced === undefined ? {} : { traced: traced.counts }),
        trials: options.trials,
        paired: isPaired,
        afterMs,
        settings,
        chosen: chosen === null ? null : { r: chosen.r, w: chosen.w },
        steps: choice.steps,
        because: choice.because,
        commands,
        enumeratedMs: round(enumeratedMs),
      }),
    );
  } else {
    for (const line of traced?.lines ?? []) context.out(line);
    context.out(`${replicas.length} replicas (${names.join(', ')}), ${options.trials} trials, freshness ${afterMs} ms after the commit`);
    context.out(`   R  W   P(fresh)  ${isPaired ? '95 % interval      ' : ''}99.9 % fresh after  read p99  write p99`);
    odds.forEach((one, i) => {
      const mark = one === chosen ? '>' : choice.broken.has(one) ? 'x' : ' ';
      const interval = intervals[i] === undefined ? '' : `${intervals[i].low.toFixed(4)} to ${intervals[i].high.toFixed(4)}   `;
      const cells = [
        `${one.fresh999Ms.toFixed(1)} ms`.padStart(18),
        `${one.readP99Ms.toFixed(1)} ms`.padStart(9),
        `${one.writeP99Ms.toFixed(1)} ms`.padStart(10),
      ];
      context.out(
        ` ${mark} ${one.r}  ${one.w}   ${(one.fresh[0] ?? 0).toFixed(5)}   ${interval}${cells.join(' ')}  ${(choice.broken.get(one) ?? []).join('; ')}`.trimEnd(),
      );
    });
    context.out(choice.because);
    if (choice.steps.length > 0)
      context.out(`Go there by ${choice.steps.map(({ r, w }) => `R=${r}, W=${w}`).join(', then ')}: raise before lowering.`);
    for (const command of commands) context.out(`  ${command}`);
  }
  // What could not be read may say otherwise: the answer is not whole.
  if (traced?.isWhole === false) context.exit(2);
  else if (chosen === null) context.exit(1);
}

async function ofSamples(file: string, flags: Flags, context: CliContext): Promise<Question> {
  const text = await read(resolve(context.cwd, file), file);
  const [option] = (['promises', 'collection', 'replicas'] as const).filter((name) => flags[name] !== undefined);
  if (option !== undefined) throw new Failure('bad-quorum-file', `--${option} goes with traces; ${file} holds none`, 'never');
  const input = parse(quorumFile, text, file);
  return { input, ...replicasOf(input, file) };
}

async function ofTraces(file: string, flags: Flags, context: CliContext): Promise<Question> {
  const { promises } = flags;
  const input: Promises = promises === undefined ? {} : parse(promisesFile, await read(resolve(context.cwd, promises), promises), promises);
  const traced = await quorumOfTraces(resolve(context.cwd, file), file, flags, context);
  if (promises !== undefined) checkPromises(input, traced.names.length, promises);
  return { input, names: traced.names, replicas: traced.legs.middle, isPaired: true, traced };
}

async function read(path: string, file: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new Failure('no-file', `cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, 'never', cause);
  }
}

function parse<T>(schema: z.ZodType<T>, text: string, file: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text) as unknown;
  } catch (cause) {
    throw new Failure(
      'bad-quorum-file',
      `${file} is not JSON, nor OTLP: ${cause instanceof Error ? cause.message : String(cause)}`,
      'never',
      cause,
    );
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Failure(
    'bad-quorum-file',
    `${file}: ${issue?.path.join('.') || 'the file'}: ${issue?.message ?? 'wrong'}; homeostat quorum --help shows the format`,
    'never',
    parsed.error,
  );
}

function replicasOf(
  input: z.infer<typeof quorumFile>,
  file: string,
): { readonly names: readonly string[]; readonly replicas: readonly Legs[]; readonly isPaired: boolean } {
  const bad = (says: string): Failure => new Failure('bad-quorum-file', `${file}: ${says}`, 'never');
  if ((input.replicas === undefined) === (input.latencies === undefined)) throw bad('give either "replicas", or "latencies" with "n"');
  if (input.replicas !== undefined && input.n !== undefined) throw bad('"n" goes with "latencies"; "replicas" counts itself');
  const entries: readonly (readonly [string, Legs])[] =
    input.replicas === undefined
      ? Array.from({ length: input.n ?? 3 }, (_, i) => [`replica-${i + 1}`, input.latencies ?? { w: [], a: [], r: [], s: [] }] as const)
      : Object.entries(input.replicas);
  if (entries.length === 0 || entries.length > 16) throw bad('"replicas" must hold 1 to 16 replicas');
  const first = entries[0]?.[1];
  const isAligned = entries.every(
    ([, leg]) =>
      leg.w.length === first?.w.length &&
      leg.a.length === first?.w.length &&
      leg.r.length === first?.r.length &&
      leg.s.length === first?.r.length,
  );
  if (input.paired === true && !isAligned) throw bad('"paired" needs equally many samples: w and a alike, r and s alike, in all replicas');
  if (input.paired === true && input.latencies !== undefined)
    throw bad('"paired" needs "replicas": with "latencies" all replicas would be slow at once');
  checkPromises(input, entries.length, file);
  return {
    names: entries.map(([name]) => name),
    replicas: entries.map(([, leg]) => leg),
    isPaired: input.paired ?? (isAligned && input.replicas !== undefined),
  };
}

function checkPromises({ current, slo }: Promises, n: number, file: string): void {
  const bad = (says: string): Failure => new Failure('bad-quorum-file', `${file}: ${says}`, 'never');
  if (current !== undefined && Math.max(current.r, current.w) > n) throw bad(`"current" asks for more than the ${n} replicas`);
  if ((slo?.faults ?? 0) >= n) throw bad(`"slo.faults" must be below the ${n} replicas`);
}

const round = (value: number): number => Number(value.toPrecision(6));
