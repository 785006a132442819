import type { TraceShape } from '../domain/ordered-trace.ts';
import type { Counter } from './host-tables.ts';
import type { Told } from './run.ts';
import type { ViewPlan } from './view-plan.ts';

/** What is known of all traces of a shape, each as soon as the first one has shown it. */
export interface ShapeKnowledge {
  /** Detectors to show them to, where they name no session. */
  folds: readonly Told[] | undefined;
  /** What each counts for; 'own' where that hangs on more than the shape. */
  lesson: readonly Counter[] | 'own' | undefined;
  /** How they are cut into units. */
  plan: ViewPlan | undefined;
}

/** A shape belongs to the only engine that sees traces of it. */
export function knownOf(shape: TraceShape | undefined): ShapeKnowledge | undefined {
  if (shape === undefined) return undefined;
  shape.known ??= { folds: undefined, lesson: undefined, plan: undefined } satisfies ShapeKnowledge;
  return shape.known as ShapeKnowledge;
}
