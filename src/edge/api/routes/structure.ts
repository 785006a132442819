import { z } from 'zod';
import { listLearned } from '../../../io/store/learned.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import { get, type Route } from '../route.ts';

const fact = z.object({
  is: z.enum(['outbox', 'replica-host', 'topic-lag', 'saga', 'edge']),
  name: z.string(),
  support: z.number(),
  confidence: z.number(),
  value: z.number(),
  steps: z.array(z.string()).optional(),
  edge: z.object({ by: z.enum(['call', 'send', 'take', 'write']), from: z.string(), to: z.string() }).optional(),
  from: z.enum(['name', 'traces', 'config']),
  firstSeenMs: z.number(),
  updatedAtMs: z.number(),
});

export function structureRoutes(context: RuntimeContext): readonly Route[] {
  return [
    get(
      '/api/v1/structure',
      'What was learned of the fleet from traces (outboxes, replica hosts, lag of topics, steps of sagas) and the service graph, with support and confidence.',
      { answer: z.object({ items: z.array(fact) }) },
      async () => ({ items: await listLearned(context.database) }),
    ),
  ];
}
