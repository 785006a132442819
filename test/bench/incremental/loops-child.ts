/** The loops that learn of changes, alone in a process, so that what they cost can be told from what the writers cost. */
import { systemClock } from '../../../src/base/clock.ts';
import type { Collection } from '../../../src/domain/collection.ts';
import { readChooseRepairPrompt } from '../../../src/io/llm/prompt-file.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { openDatabase } from '../../../src/io/store/database.ts';
import { createMetrics } from '../../../src/io/telemetry/metrics.ts';
import { openAgentMailbox } from '../../../src/runtime/agent-mailbox.ts';
import { type ChangeLoop, quietRound, startChangeLoop } from '../../../src/runtime/change-loop.ts';
import { compareReplicas } from '../../../src/runtime/compare.ts';
import type { RuntimeContext } from '../../../src/runtime/context.ts';
import { metricHelp } from '../../../src/runtime/metric-names.ts';
import { createReplicaPool } from '../../../src/runtime/replica-pool.ts';
import { domainOf } from '../../integration/estate.ts';

export type Ask =
  | { readonly is: 'open'; readonly storeUrl: string; readonly collection: Collection; readonly stalenessMs: number }
  | { readonly is: 'start' }
  | { readonly is: 'stop' }
  /** Milliseconds of each of this many rounds in which nothing was written. */
  | { readonly is: 'quiet'; readonly rounds: number }
  /** Milliseconds of a comparison of the whole collection. */
  | { readonly is: 'scan' }
  | { readonly is: 'cpu' }
  | { readonly is: 'close' };

let context: RuntimeContext | undefined;
let loop: ChangeLoop | undefined;

function opened(): RuntimeContext {
  if (context === undefined) throw new Error('open first');
  return context;
}

async function answer(ask: Ask): Promise<unknown> {
  switch (ask.is) {
    case 'open': {
      const collections = { [ask.collection.name]: ask.collection };
      const database = openDatabase(ask.storeUrl);
      context = {
        database,
        agents: openAgentMailbox(database, systemClock),
        domains: { [ask.collection.domain]: domainOf(ask.collection.domain, { stalenessMs: ask.stalenessMs }) },
        collections,
        clock: systemClock,
        log: (level, says, facts) => {
          if (process.env['BENCH_LOG'] !== undefined) console.error(level, says, facts);
        },
        metrics: createMetrics(metricHelp),
        replicas: createReplicaPool(collections, openReplica),
        policies: undefined,
        llm: undefined,
        promptTemplate: readChooseRepairPrompt(),
        hmacKey: new Uint8Array(32),
      };
      return null;
    }
    case 'start':
      loop = startChangeLoop(opened());
      return null;
    case 'stop':
      await loop?.close();
      loop = undefined;
      return null;
    case 'quiet': {
      const [collection] = Object.values(opened().collections);
      const times: number[] = [];
      for (let round = 0; round < ask.rounds && collection !== undefined; round += 1) {
        const start = performance.now();
        await quietRound(opened(), collection, AbortSignal.timeout(60_000));
        times.push(performance.now() - start);
      }
      return times;
    }
    case 'scan': {
      const [collection] = Object.values(opened().collections);
      if (collection === undefined) return null;
      const start = performance.now();
      const connections = await opened().replicas.connections(collection.name);
      const signal = AbortSignal.timeout(600_000);
      const scan = compareReplicas({ collection, connections, stalenessMs: 0, clock: systemClock, signal, confirm: 'none' });
      while ((await scan.next()).done !== true);
      return performance.now() - start;
    }
    case 'cpu': {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    }
    case 'close':
      await loop?.close();
      await opened().replicas.close();
      await opened().database.close();
      return null;
    default:
      return ask satisfies never;
  }
}

process.on('message', (ask: Ask) => {
  answer(ask).then(
    (value) => process.connected && process.send?.({ value }),
    (error: unknown) =>
      process.connected && process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});

// The bench is gone: so are we.
process.on('disconnect', () => process.exit());
