import type { Operation } from '../domain/operation.ts';
import type { Unit } from './trace-view.ts';

/** How far the clocks of two services may be apart where nothing but them tells the order. */
export const skewUs = 100_000;
/**
 * Starts and ends of one process can come from clocks of different grain: Node's SDK takes starts in whole milliseconds and ends in
 * microseconds, so that what follows seems to begin up to a millisecond before what went before had ended.
 */
export const grainUs = 1_000;

/**
 * How much later than its span says an operation can have begun and ended, µs. Whoever cuts starts to whole milliseconds shows by starts on
 * whole milliseconds; one in a thousand of the others is on one by chance, and is judged as carefully.
 */
export function grainOf({ startUs }: Pick<Operation, 'startUs'>): number {
  // The remainder of a double is a loop in the processor.
  return Math.floor(startUs / grainUs) * grainUs === startUs ? grainUs : 0;
}

/** Calls between two units of one trace; deeper chains are broken input. */
const depthMax = 1000;

/**
 * Whether `later` began after `earlier` had ended. Two services' clocks differ, so the order is read where both were asked for: in the unit
 * that called both, by its own clock. Only where no such unit is there do the clocks decide, with `toleranceUs` in favour of "after".
 */
export function isAfter(later: Operation, laterUnit: Unit, earlier: Operation, earlierUnit: Unit, toleranceUs = skewUs): boolean {
  if (laterUnit === earlierUnit || later.service === earlier.service) return later.startUs >= earlier.endUs - grainUs;
  const way = new Map<Unit, Operation>();
  let step = earlier;
  for (let at: Unit | undefined = earlierUnit, i = 0; at !== undefined && i < depthMax; i += 1) {
    way.set(at, step);
    step = at.calledBy ?? step;
    at = at.parent;
  }
  step = later;
  for (let at: Unit | undefined = laterUnit, i = 0; at !== undefined && i < depthMax; i += 1) {
    const other = way.get(at);
    if (other !== undefined) {
      // One call led to both: it says nothing of their order. A call's end is not waited for where it sends a message.
      if (other === step || step.service !== other.service) break;
      return step.startUs >= (other.kind === 'publish' ? other.startUs : other.endUs - grainUs);
    }
    step = at.calledBy ?? step;
    at = at.parent;
  }
  return later.startUs >= earlier.endUs - toleranceUs;
}
