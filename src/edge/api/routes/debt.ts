import { z } from 'zod';
import { listAnomalies } from '../../../io/store/anomalies.ts';
import { listCases } from '../../../io/store/cases.ts';
import { listOutcomes } from '../../../io/store/outcomes.ts';
import type { Page } from '../../../io/store/page.ts';
import { consistencyDebt } from '../../../report/consistency-debt.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import { get, type Route } from '../route.ts';
import { maySee } from './nouns.ts';

/** Pages of 1,000 that one report reads of each list: the newest; a window of two weeks rarely holds more. */
const maxPages = 20;

export function debtRoutes(context: RuntimeContext): readonly Route[] {
  const db = context.database;
  return [
    get(
      '/api/v1/debt',
      'The consistency-debt report: what unsafe paths have cost, and the cheapest repayments.',
      { answer: z.looseObject({ lines: z.array(z.looseObject({})) }) },
      async (call) => {
        const [anomalies, cases, outcomes] = await Promise.all([
          newest((cursor) => listAnomalies(db, {}, { cursor, limit: 1000 })),
          newest((cursor) => listCases(db, {}, { cursor, limit: 1000 })),
          newest((cursor) => listOutcomes(db, {}, { cursor, limit: 1000 })),
        ]);
        const mine = <T extends object>(items: readonly T[]): readonly T[] => items.filter((item) => maySee(call.caller, item));
        return consistencyDebt({ anomalies: mine(anomalies), cases: mine(cases), outcomes: mine(outcomes), nowMs: context.clock.nowMs() });
      },
    ),
  ];
}

async function newest<T>(find: (cursor: string | undefined) => Promise<Page<T>>): Promise<readonly T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  for (let count = 0; count < maxPages; count += 1) {
    const page = await find(cursor);
    items.push(...page.items);
    if (page.nextCursor === null) break;
    cursor = page.nextCursor;
  }
  return items;
}
