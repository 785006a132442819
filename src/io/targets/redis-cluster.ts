import type { Redis } from 'ioredis';
import { z } from 'zod';
import { Failure } from '../../base/failure.ts';
import { closeSlot, moveSlot } from './redis-move-slot.ts';
import { type ClusterNode, nodeFailure, openNode, ownerOf, parseClusterNodes } from './redis-nodes.ts';
import { pausedFailure, type Target, type TargetChange, type TargetOutcome, type TargetRun } from './target.ts';

/**
 * Redis Cluster: moves hash slots between running nodes while clients read and write. The cluster itself is the record of how far a
 * move has come (who owns each slot, which slot is half-way), so a run that died is finished by the same call, whoever makes it.
 */
export interface RedisClusterOptions {
  readonly name: string;
  /** Any node: redis://user:password@host:port. */
  readonly url: string;
  readonly keysPerSecond: number;
}

const slotCount = 16_384;
/** Slots in hand-over at once. */
const lanes = 4;
const parametersSchema = z.strictObject({
  fromSlot: z
    .int()
    .min(0)
    .max(slotCount - 1),
  toSlot: z
    .int()
    .min(0)
    .max(slotCount - 1),
  fromNode: z.string().min(1),
  toNode: z.string().min(1),
});
type Parameters = z.infer<typeof parametersSchema>;

export function openRedisCluster(options: RedisClusterOptions): Target {
  const seed = new URL(options.url);
  const seedHost = seed.hostname.replace(/^\[|\]$/g, '');
  const seedPort = Number(seed.port === '' ? 6379 : seed.port);
  const connections = new Map<string, Redis>();
  /** Addresses that answered once: the seed may be the node that is down. */
  const known = new Map<string, { readonly host: string; readonly port: number }>();

  const connect = (host: string, port: number): Redis => {
    const key = `${host}:${port}`;
    const open = connections.get(key);
    if (open !== undefined && open.status !== 'end' && open.status !== 'close') return open;
    const redis = openNode(seed, host, port);
    connections.set(key, redis);
    return redis;
  };
  const ask = async (node: { readonly host: string; readonly port: number }, words: readonly string[]): Promise<string> => {
    const [command = '', ...rest] = words;
    try {
      return String(await connect(node.host, node.port).call(command, ...rest));
    } catch (error) {
      throw nodeFailure(words.join(' '), node, error);
    }
  };
  /** The masters as the first node that answers sees them. */
  const topology = async (): Promise<readonly ClusterNode[]> => {
    let failure: unknown;
    for (const node of [{ host: seedHost, port: seedPort }, ...known.values()]) {
      try {
        const nodes = parseClusterNodes(await ask(node, ['CLUSTER', 'NODES']), node.host);
        for (const one of nodes) known.set(`${one.host}:${one.port}`, one);
        return nodes;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  };
  /** A node's own word on itself: only it knows which of its slots are half-way. */
  const ownView = async (node: ClusterNode): Promise<ClusterNode> => {
    const nodes = parseClusterNodes(await ask(node, ['CLUSTER', 'NODES']), node.host);
    return nodes.find(({ id }) => id === node.id) ?? node;
  };
  const nodeById = (nodes: readonly ClusterNode[], id: string): ClusterNode => {
    const node = nodes.find((one) => one.id === id);
    if (node === undefined)
      throw new Failure('target-node', `the cluster ${options.name} has no master ${id.slice(0, 8)} now: wait for it or reject`, 'later');
    if (node.isFailing)
      throw new Failure('target-node', `${node.host}:${node.port} of ${options.name} does not answer the cluster`, 'later');
    return node;
  };

  /** `halfWayOnly`: only what an earlier run left half-way; the rest of the range is not touched. */
  const move = async (parameters: Parameters, run: TargetRun, halfWayOnly = false): Promise<TargetOutcome> => {
    const { fromSlot, toSlot, fromNode, toNode } = parameters;
    let keys = 0;
    let verified = 0;
    let writtenSince = 0;
    let moved = 0;
    const total = toSlot - fromSlot + 1;
    const begun = await topology();
    for (let slot = fromSlot; slot <= toSlot; slot += 1) {
      const owner = ownerOf(begun, slot);
      if (owner !== undefined && owner.id !== fromNode && owner.id !== toNode)
        return {
          is: 'refused',
          says: `Slot ${slot} has gone to ${owner.host}:${owner.port} since: look at the cluster and ask again.`,
        };
    }
    const source = nodeById(begun, fromNode);
    const target = nodeById(begun, toNode);
    const [sourceView, targetView] = [await ownView(source), await ownView(target)];
    const foreign = [...sourceView.migrating, ...targetView.importing].find(
      ([slot, peer]) => slot < fromSlot || slot > toSlot || (peer !== toNode && peer !== fromNode),
    );
    if (foreign !== undefined) return { is: 'refused', says: `Slot ${foreign[0]} is being moved by somebody else: let that end first.` };
    const others = begun.filter(({ id }) => id !== fromNode && id !== toNode).map(({ host, port }) => connect(host, port));
    const ends = {
      source: { id: source.id, redis: connect(source.host, source.port), host: source.host, port: source.port },
      target: { id: target.id, redis: connect(target.host, target.port), host: target.host, port: target.port },
      others,
    };
    // Most of the time of a slot is waiting for answers: some go over side by side, and share the rate.
    const stop = new AbortController();
    const signal = AbortSignal.any([run.signal, stop.signal]);
    let next = fromSlot;
    const lane = async (): Promise<void> => {
      while (next <= toSlot && !run.pause.aborted) {
        signal.throwIfAborted();
        const slot = next;
        next += 1;
        if (halfWayOnly && !sourceView.migrating.has(slot) && !targetView.importing.has(slot)) continue;
        if (ownerOf([targetView], slot) !== undefined) {
          // The target has it. A run that died in between may not have told the rest.
          if (ownerOf([sourceView], slot) !== undefined || sourceView.migrating.has(slot)) await closeSlot({ slot, ...ends });
        } else {
          const done = await moveSlot({ slot, ...ends, auth: authOf(seed), keysPerSecond: options.keysPerSecond / lanes, signal });
          keys += done.keys;
          verified += done.verified;
          writtenSince += done.writtenSince;
        }
        moved += 1;
        if (moved % 64 === 0 || moved === total)
          await run.save({ moved, total, keys, verified, writtenSince }, `${moved} of ${total} slots are over, ${keys} keys.`);
      }
    };
    let failure: unknown;
    await Promise.all(
      Array.from({ length: lanes }, () =>
        lane().catch((error: unknown) => {
          failure ??= error;
          stop.abort();
        }),
      ),
    );
    if (failure !== undefined) {
      if (run.signal.aborted) throw failure;
      throw nodeFailure(`moving slots ${fromSlot} to ${toSlot}`, target, failure);
    }
    if (next <= toSlot) {
      const says = `${moved} of ${total} slots are over, none is half-way, ${keys} keys`;
      await run.save({ moved, total, keys, verified, writtenSince }, says);
      throw pausedFailure(says);
    }
    return {
      is: 'applied',
      says: `Slots ${fromSlot} to ${toSlot} are at ${target.host}:${target.port}: ${keys} keys, ${verified} with equal digests, ${writtenSince} written meanwhile.`,
      facts: { slots: total, keys, verified, writtenSince },
    };
  };
  const parametersOf = (change: TargetChange): Parameters | string => {
    if (change.kind !== 'move-slots') return `A Redis Cluster takes move-slots, not ${change.kind}.`;
    const parsed = parametersSchema.safeParse(change.parameters);
    if (!parsed.success) return `The change cannot be read: ${parsed.error.issues[0]?.message ?? 'wrong'}.`;
    if (parsed.data.fromSlot > parsed.data.toSlot || parsed.data.fromNode === parsed.data.toNode) return 'The change moves nothing.';
    return parsed.data;
  };

  return {
    name: options.name,
    kind: 'redis-cluster',
    describe: async () => {
      const nodes = await topology();
      const serving = nodes.filter(({ slots }) => slots.length > 0);
      const info = await ask({ host: seedHost, port: seedPort }, ['INFO', 'server']);
      const version = /redis_version:(\d+)\.(\S+)/.exec(info);
      if (Number(version?.[1] ?? 0) < 7)
        throw new Failure(
          'target-version',
          `${options.name} runs Redis ${version?.[1] ?? '?'}: moving slots from here needs 7 or newer`,
          'never',
        );
      if (serving.length < 2)
        throw new Failure('target-nodes', `${options.name} has ${serving.length} masters with slots: two are needed`, 'never');
      const state = await ask({ host: seedHost, port: seedPort }, ['CLUSTER', 'INFO']);
      if (!/cluster_state:ok/.test(state))
        throw new Failure('target-state', `the cluster ${options.name} is not ok: see CLUSTER INFO`, 'later');
      return `Redis ${version?.[1]}.${version?.[2] ?? ''}, ${nodes.length} masters, all slots served`;
    },
    placement: async () => ({
      nodes: (await topology())
        .filter(({ isFailing }) => !isFailing)
        .map(({ id, host, port, slots }) => ({ id, says: `${host}:${port}`, slots })),
    }),
    standbyLags: () => Promise.resolve(null),
    apply: async (change, run) => {
      const parameters = parametersOf(change);
      return typeof parameters === 'string' ? { is: 'refused', says: parameters } : move(parameters, run);
    },
    undo: async (change, run) => {
      const parameters = parametersOf(change);
      if (typeof parameters === 'string') return { is: 'refused', says: parameters };
      // Back means forward first: keys of a slot that is half-way are on both nodes, and only one of them can be asked for all.
      const finished = await move(parameters, run, true);
      if (finished.is !== 'applied') return finished;
      return move({ ...parameters, fromNode: parameters.toNode, toNode: parameters.fromNode }, run);
    },
    close: async () => {
      for (const redis of connections.values()) redis.disconnect();
    },
  };
}

function authOf(url: URL): readonly string[] {
  if (url.password === '') return [];
  const password = decodeURIComponent(url.password);
  return url.username === '' ? ['AUTH', password] : ['AUTH2', decodeURIComponent(url.username), password];
}
