/** Where agents call: they push what they computed, and take what they are asked to compute next. One request does both. */
import { z } from 'zod';
import { PROTOCOL } from '../../../io/replicas/remote/wire.ts';
import { giveAgentPart, renewAgentCalls, saveAgentSeen } from '../../../io/store/agent-calls.ts';
import { askForScan } from '../../../io/store/scans.ts';
import type { RuntimeContext } from '../../../runtime/context.ts';
import { ApiError, post, type Route } from '../route.ts';

const name = z.string().min(1).max(200);
const body = z.strictObject({
  protocol: z.int().describe('Version of the agent protocol.'),
  version: z.string().max(100).describe('Version of the agent, for people.'),
  collection: name,
  replica: name,
  agent: z.string().min(8).max(100).describe('Made by the agent when it starts: whose calls these are.'),
  checksum: z
    .strictObject({ count: z.int().min(0), sum: z.string().regex(/^[0-9a-f]{32}$/) })
    .optional()
    .describe('Rows and the sum of their canonical digests, over the whole collection.'),
  answers: z
    .array(
      z.strictObject({
        call: z.int().min(1),
        seq: z.int().min(0).max(10_000_000),
        part: z.unknown().optional(),
        end: z.enum(['done', 'failed']).optional(),
        failure: z.strictObject({ code: z.string().max(100), message: z.string().max(4000), retry: z.enum(['later', 'never']) }).optional(),
      }),
    )
    .max(64)
    .default([]),
  busy: z.array(z.int().min(1)).max(256).default([]).describe('Calls that the agent is still working on.'),
  take: z.int().min(0).max(16).default(0).describe('How many calls it would take now.'),
  waitMs: z.int().min(0).max(20_000).default(0).describe('How long it waits for the first of them, milliseconds.'),
});
const answer = z.object({
  calls: z.array(z.object({ id: z.int(), method: z.string(), purpose: z.string(), args: z.array(z.unknown()) })),
  gone: z.array(z.int()).describe('Calls of this agent that nobody waits for any more.'),
  unread: z.record(z.string(), z.int()).describe('Answered call -> parts that were not taken yet; the agent waits where there are many.'),
  through: z.enum(['agent', 'direct']).describe('Whether the service reads this replica through agents, or connects to it itself.'),
  scanEveryMs: z.int(),
  residency: z.array(z.string()),
});

export function checksumRoutes(context: RuntimeContext, version: string): readonly Route[] {
  return [
    post(
      '/api/v1/checksums',
      'For agents: pushes checksums and sketches of a replica, and takes the next calls.',
      { need: 'agent', body, answer },
      async (call) => {
        const { protocol, collection: collectionName, replica: replicaName, agent, checksum, answers, busy, take, waitMs } = call.body;
        const collection = context.collections[collectionName];
        if (collection === undefined)
          throw new ApiError(404, 'no-collection', `there is no collection ${collectionName} in the service's configuration`);
        call.allow('agent', collection.domain);
        const replica = collection.replicas.find((one) => one.id === replicaName);
        if (replica === undefined) {
          const known = collection.replicas.map((one) => one.id).join(', ');
          throw new ApiError(
            404,
            'no-replica',
            `${collectionName} has no replica ${replicaName} in the service's configuration: it has ${known}`,
          );
        }
        if (protocol !== PROTOCOL) {
          throw new ApiError(
            409,
            'wrong-version',
            `the agent (${call.body.version}) speaks protocol ${protocol}, the service (${version}) protocol ${PROTOCOL}: run the same version on both sides`,
          );
        }
        const { database } = context;
        const hasChanged = await saveAgentSeen(
          database,
          { collection: collectionName, replica: replicaName, agent, version: call.body.version },
          checksum,
        );
        if (hasChanged) await askForScan(database, collectionName, context.clock.nowMs());
        const gone = new Set<number>();
        const unread: Record<string, number> = {};
        for (const one of answers) {
          const { part, end, failure, ...which } = one;
          const left = await giveAgentPart(database, {
            ...which,
            agent,
            ...(part === undefined ? {} : { part }),
            ...(end === undefined ? {} : { end }),
            ...(failure === undefined ? {} : { failure }),
          });
          if (left === undefined) gone.add(one.call);
          else unread[String(one.call)] = left;
        }
        for (const id of (await renewAgentCalls(database, agent, busy)).gone) gone.add(id);
        const calls =
          take === 0
            ? []
            : await context.agents.take({ collection: collectionName, replica: replicaName, agent }, take, waitMs, call.signal);
        return {
          calls,
          gone: [...gone],
          unread,
          through: replica.via === 'agent' ? 'agent' : 'direct',
          scanEveryMs: collection.scanEveryMs,
          residency: context.domains[collection.domain]?.residency ?? [],
        };
      },
    ),
  ];
}
