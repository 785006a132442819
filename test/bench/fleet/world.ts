import { createRng, type Rng } from '../../../src/base/rng.ts';
import { hex, type Service, type SimSpan, Trace } from './span.ts';
import { createTruthLog, record, type TruthLog } from './truth.ts';

/** What scenarios share: services, a clock that the fleet moves, the truth log and where finished traces go. */
export interface World {
  readonly rng: Rng;
  readonly truth: TruthLog;
  readonly traces: Trace[];
  /** Microseconds of the run's start and length. */
  readonly startUs: number;
  readonly lengthUs: number;
  /** A word of this seed, for names that no pattern of ours knows. */
  readonly word: string;
  /** The service of that name; how it is instrumented is drawn when it is first named, but for what `fixed` says. */
  service(name: string, database?: string, fixed?: Partial<Service>): Service;
  trace(): Trace;
  /** A message taken up, in the producer's trace or in one of its own with a link, as the consumer's instrumentation does. */
  deliver(
    sentTrace: Trace,
    sent: SimSpan | undefined,
    consumer: Service,
    topic: string,
    options: Parameters<Trace['consume']>[2],
  ): { readonly trace: Trace; readonly got: SimSpan };
  id(prefix: string): string;
  note(fault: Parameters<typeof record>[1]): void;
}

export function createWorld(seed: number, startUs: number, lengthUs: number): World {
  const rng = createRng(seed);
  const truth = createTruthLog();
  const traces: Trace[] = [];
  const services = new Map<string, Service>();
  return {
    rng,
    truth,
    traces,
    startUs,
    lengthUs,
    word: rng.pick(['quince', 'marble', 'lantern', 'sorrel', 'gravel', 'heron']),
    service: (name, database, fixed = {}) => {
      const known = services.get(name);
      if (known !== undefined) return known;
      const language = rng.pick(['java', 'python', 'go', 'nodejs', 'dotnet', ''] as const);
      const made: Service = {
        name,
        language,
        convention: rng.next() < 0.5 ? 'current' : 'old',
        database: database ?? name,
        bindsValues: rng.next() < 0.5,
        showsTransactions: language === 'go' || language === 'nodejs' || language === '',
        continuesTraces: rng.next() < 0.4,
        ...fixed,
      };
      services.set(name, made);
      return made;
    },
    deliver: (sentTrace, sent, consumer, topic, options) => {
      const identity = sent === undefined ? {} : consumer.continuesTraces ? { parent: sent } : { links: [sent] };
      const trace = consumer.continuesTraces && sent !== undefined ? sentTrace : new Trace(rng);
      if (trace !== sentTrace) traces.push(trace);
      return { trace, got: trace.consume(consumer, topic, { ...options, ...identity }) };
    },
    trace: () => {
      const trace = new Trace(rng);
      traces.push(trace);
      return trace;
    },
    id: (prefix) => `${prefix}-${hex(rng, 8)}`,
    note: (fault) => record(truth, fault),
  };
}

/** Ends a parent span after its children, as a real one does. */
export function close(span: SimSpan, trace: Trace): void {
  for (const child of trace.spans) if (child !== span) span.endUs = Math.max(span.endUs, child.endUs + 100);
}

/** One happening: at a time, writes one or more traces and what is wrong with them, if anything is. */
export interface Scenario {
  readonly id: string;
  /** How many times it happens in a run of ten minutes. */
  readonly times: number;
  readonly play: (world: World, atUs: number, nth: number) => void;
}
