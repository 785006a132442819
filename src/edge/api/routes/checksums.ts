import type { RuntimeContext } from '../../../runtime/context.ts';
import type { Route } from '../route.ts';

/** Agents push sketches of a replica in their region; the rows stay there. */
export function checksumRoutes(_context: RuntimeContext): readonly Route[] {
  return [];
}
