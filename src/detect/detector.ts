import type { Grade, SpanRef } from '../domain/anomaly.ts';
import type { Operation } from '../domain/operation.ts';
import type { KeyedStep } from './keyed-step.ts';
import type { LearnedStructure } from './learned-structure.ts';
import type { ObjectPlace } from './object-place.ts';
import type { SentMessages } from './sent-messages.ts';
import type { TraceView } from './trace-view.ts';

/** One option of a detector: what it means, its unit, its default and its bounds. The config schema and the docs read it. */
export type OptionField =
  | {
      readonly is: 'number';
      readonly unit: 'ms' | 'count' | 'share';
      readonly default: number;
      readonly min: number;
      readonly max: number;
      readonly says: string;
    }
  | { readonly is: 'names'; readonly default: readonly string[]; readonly says: string };

export type OptionsSchema = Readonly<Record<string, OptionField>>;

export type OptionValues<S extends OptionsSchema> = {
  readonly [K in keyof S]: S[K] extends { readonly is: 'number' } ? number : readonly string[];
};

/** What a detector says once. The engine adds kind, fingerprint, counts and sampling, and merges what has the same `place`. */
export interface Finding {
  /** Identity among the findings of this detector and grade: a place in the code, an object, a message. */
  readonly place: string;
  readonly grade: Grade;
  /** Place of the structural finding whose possibility has come true here: counted there as realised. */
  readonly realises?: string;
  /** Isolation class, where the kind has one. */
  readonly model?: string;
  readonly atUs: number;
  readonly complete: boolean;
  /** The minimal witness. */
  readonly spans: readonly SpanRef[];
  /** What it takes for committed when its spans ended: it stands only if that was so by `byUs`, as far as the traces say. */
  readonly restsOn?: readonly RestsOn[];
  /** What is said instead where it does not stand. */
  readonly otherwise?: Finding | undefined;
  readonly domain?: string;
  readonly collection?: string;
  readonly objectKey?: string;
  readonly service?: string;
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  /** Writes that are at stake, whose rows may come to differ because of it. */
  readonly writes?: readonly Operation[];
  /** The words; asked for once per place. */
  readonly tell: () => { readonly title: string; readonly explanation: string; readonly fix?: string };
}

/** A write by its span, or all writes of a transaction by one span of its trace and the id that it has there. */
export interface RestsOn {
  readonly span: SpanRef;
  readonly transaction?: string;
  readonly endUs: number;
  readonly byUs: number;
}

export type Report = (finding: Finding) => void;

/** What every fold may ask while it runs. Reading it never changes it. */
export interface DetectionContext {
  readonly learned: LearnedStructure;
  /** Messages that were published, shared by all who follow them. */
  readonly messages: SentMessages;
  /** Where an object type or table belongs, by the config given. */
  readonly placeOf: (objectType: string, domain: string) => ObjectPlace;
}

/** Sees each trace once, when it is complete as far as the watermark tells, in order of the traces' ends. */
export interface TraceFold {
  inspect(trace: TraceView, report: Report): void;
  /**
   * False where it has nothing to say of the trace and nothing to learn from it, nor of any of the same {@link TraceShape} that names no
   * session: asked once for all of these. To be answered from descriptions, parents and order of start alone, not from times, keys or facts,
   * and not from what was learned.
   */
  mayConcern?(trace: TraceView): boolean;
  /** Deadlines that have passed. `atUs` rises; called after every inspection up to it. */
  advance?(atUs: number, report: Report): void;
  /** End of input: `atUs` is the newest time seen. What is still open stays unknown. */
  finish?(atUs: number, report: Report): void;
  /** Bytes held, for the memory bound; without what the context holds for it. */
  bytes?(): number;
}

/**
 * Sees the operations of all objects in order of their ends, and keeps what it needs by object. One of scope `session` keeps nothing of its
 * own, and sees only reads that may have returned an older version than their session wrote or read before.
 */
export interface KeyedFold {
  step(step: KeyedStep, report: Report): void;
  /** The object has not been touched for long, or fell out of the sample: its row will be given to another. */
  forget?(object: number): void;
  /** Bytes held, for the memory bound. */
  bytes(): number;
}

interface DetectorFacts {
  readonly id: string;
  readonly grades: readonly Grade[];
  readonly title: string;
  /** One sentence for people: what it means when this is reported. */
  readonly sentence: string;
  /** What would fix the cause. */
  readonly fix: string;
  /** What the spans must carry: 'nothing' beyond ordinary instrumentation, or attribute names. */
  readonly needs: string;
  readonly options: OptionsSchema;
  /** A history that must give at least one finding of this kind. */
  readonly example: () => readonly Operation[];
  /** The same history with the cause repaired: must give nothing of this kind. */
  readonly twin: () => readonly Operation[];
}

/** What a trace can hold that some detectors look at and others do not. */
export type TraceAspect = 'writes' | 'messages' | 'failures' | 'calls' | 'facts' | 'sessions';

export interface TraceDetector extends DetectorFacts {
  readonly scope: 'trace' | 'message';
  /** It is shown the traces that hold any of these; to the others it has nothing to say and nothing to learn from them. */
  readonly concerns: readonly TraceAspect[] | 'every trace';
  readonly start: (options: Readonly<Record<string, number | readonly string[]>>, context: DetectionContext) => TraceFold;
}

export interface KeyedDetector extends DetectorFacts {
  readonly scope: 'object' | 'session';
  readonly start: (options: Readonly<Record<string, number | readonly string[]>>, context: DetectionContext) => KeyedFold;
}

/** Reads every operation that says a version or a transaction, in order of ends: for what spans objects (isolation). */
export interface HistoryFold {
  /** Looks at what operations `[from, to)`, which are the next ones to come, will look up: so that waits for memory overlap. */
  comeNear(operations: readonly Operation[], from: number, to: number): void;
  step(operation: Operation, report: Report): void;
  advance(atUs: number, report: Report): void;
  finish(atUs: number, report: Report): void;
  size(): number;
  /** Objects of which it can say nothing, because the order of their versions is not known. */
  unordered(): number;
}

export interface HistoryDetector extends DetectorFacts {
  readonly scope: 'history';
  readonly start: (options: Readonly<Record<string, number | readonly string[]>>, context: DetectionContext) => HistoryFold;
}

export type Detector = TraceDetector | KeyedDetector | HistoryDetector;

export function keyedDetector<S extends OptionsSchema>(
  facts: DetectorFacts & { readonly scope: 'object' | 'session'; readonly options: S },
  start: (options: OptionValues<S>, context: DetectionContext) => KeyedFold,
): KeyedDetector {
  return { ...facts, start: (options, context) => start(options as OptionValues<S>, context) };
}

export function traceDetector<S extends OptionsSchema>(
  facts: DetectorFacts & { readonly scope: 'trace' | 'message'; readonly concerns: readonly TraceAspect[]; readonly options: S },
  start: (options: OptionValues<S>, context: DetectionContext) => TraceFold,
): TraceDetector {
  return { ...facts, start: (options, context) => start(options as OptionValues<S>, context) };
}

export function historyDetector<S extends OptionsSchema>(
  facts: DetectorFacts & { readonly scope: 'history'; readonly options: S },
  start: (options: OptionValues<S>, context: DetectionContext) => HistoryFold,
): HistoryDetector {
  return { ...facts, start: (options, context) => start(options as OptionValues<S>, context) };
}

export function defaultOptions(schema: OptionsSchema): Record<string, number | readonly string[]> {
  return Object.fromEntries(Object.entries(schema).map(([name, field]) => [name, field.default]));
}

export function spanOf(operation: Operation): SpanRef {
  return { traceId: operation.traceId, spanId: operation.spanId };
}
