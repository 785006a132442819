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
  service(name: string, database?: string): Service;
  trace(): Trace;
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
    service: (name, database) => {
      const known = services.get(name);
      if (known !== undefined) return known;
      const made: Service = { name, convention: rng.next() < 0.5 ? 'current' : 'old', database: database ?? name };
      services.set(name, made);
      return made;
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
