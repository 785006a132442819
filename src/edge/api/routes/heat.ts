import * as z from 'zod';
import { listForecasts } from '../../../io/store/forecasts.ts';
import { loadRangeHeat } from '../../../io/store/series.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import { get, notFound, type Route } from '../route.ts';

const query = z.object({
  collection: z.string().max(400),
  metric: z.enum(['operations', 'writes', 'conflicts', 'lock-wait-ms', 'latency-p95-ms', 'hottest-key-share']).default('operations'),
  steps: z.coerce.number().int().min(1).max(2_016).default(96).describe('Steps of history, newest last.'),
});

const answer = z.object({
  collection: z.string(),
  metric: z.string(),
  stepMs: z.number(),
  fromMs: z.number(),
  steps: z.number(),
  ranges: z.array(z.object({ bucket: z.number(), values: z.array(z.number()), ahead: z.array(z.number()) })),
});

/** Key range x time: what each virtual bucket of a collection did, and the medians of what is to come, over all regions. */
export function heatRoutes(context: RuntimeContext): readonly Route[] {
  return [
    get(
      '/api/v1/heat',
      'Load of each key range of a collection over time, with the medians ahead. A range without a row did nothing.',
      { query, answer },
      async (call) => {
        const { collection, metric, steps } = call.query;
        const known = context.collections[collection];
        if (known === undefined) throw notFound('collection', collection);
        call.allow('viewer', known.domain);
        const forecasts = (await listForecasts(context.database, { collection, metric }, { limit: 1000 })).items;
        const newest = forecasts.reduce((best, one) => Math.max(best, one.madeAtMs), 0);
        const stepMs = forecasts[0]?.stepMs ?? 300_000;
        const heat = await loadRangeHeat(context.database, collection, metric, stepMs, steps);
        const ranges = heat.ranges.map(({ bucket, values }) => {
          const ahead: number[] = [];
          for (const { series, levels, values: rows, madeAtMs } of forecasts) {
            if (series.bucket !== bucket || madeAtMs < newest) continue;
            rows.forEach((row, h) => {
              ahead[h] = (ahead[h] ?? 0) + (row[levels.indexOf(0.5)] ?? 0);
            });
          }
          return { bucket, values, ahead };
        });
        return { collection, metric, stepMs, fromMs: heat.fromMs, steps, ranges };
      },
    ),
  ];
}
