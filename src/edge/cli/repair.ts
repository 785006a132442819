import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import type { Config } from '../../config.ts';
import type { Collection } from '../../domain/collection.ts';
import type { Divergence } from '../../domain/divergence.ts';
import type { Effect } from '../../domain/effect.ts';
import type { Proposal } from '../../domain/proposal.ts';
import { type Shape } from '../../domain/row.ts';
import type { Verdict } from '../../domain/verdict.ts';
import { parsePolicies, type Policies } from '../../guard/cedar.ts';
import { nearMissText } from '../../guard/near-miss.ts';
import { decide } from '../../guard/verdict.ts';
import { openReplica } from '../../io/replicas/registry.ts';
import type { ReplicaConnection } from '../../io/replicas/replica.ts';
import { calibrate } from '../../propose/calibrate.ts';
import { proposeCandidates } from '../../propose/candidates.ts';
import { buildProposal } from '../../propose/proposal.ts';
import { rankCandidates } from '../../propose/rank.ts';
import { findStrategy, strategies } from '../../propose/registry.ts';
import { maxKeysPerProposal, type Situation } from '../../propose/strategy.ts';
import { compareReplicas } from '../../runtime/compare.ts';
import type { CliContext } from './program.ts';

interface RepairOptions {
  readonly config?: string;
  readonly strategy?: string;
  readonly dryRun?: boolean;
  readonly wait?: boolean;
  readonly json?: boolean;
}

/** Effects printed on a terminal; `--json` prints all of them. */
const shownEffects = 20;

/**
 * `homeostat repair COLLECTION --strategy ID --dry-run`: what a strategy would do, as a proposal with its verdict. It never writes:
 * repairs run from the service's queue, where there are approvals, an undo and an audit chain. Exit 0: equal, or a proposal;
 * 1: they differ and the strategy does not settle it; 2: could not compare.
 */
export function registerRepair(program: Command, context: CliContext): void {
  program
    .command('repair')
    .argument('<collection>', 'name of a collection in the configuration')
    .option('--strategy <id>', `one of ${strategies.map(({ id }) => id).join(', ')} (default: the best of them)`)
    .option('--dry-run', 'required: repairs themselves go through the service’s queue')
    .option('--config <file>', 'configuration file')
    .option('--wait', 'wait until the differences are confirmed: no replica could still be catching up')
    .option('--json', 'print the proposal as JSON')
    .action(async (name: string, options: RepairOptions) => {
      if (options.dryRun !== true) {
        throw new Failure(
          'dry-run',
          'repair only shows what would be done: add --dry-run, or let the service propose it and approve that (homeostat proposals).',
          'never',
        );
      }
      if (options.strategy !== undefined && findStrategy(options.strategy) === undefined) {
        throw new Failure(
          'no-strategy',
          `There is no strategy ${options.strategy}: there are ${strategies.map(({ id }) => id).join(', ')}.`,
          'never',
        );
      }
      const config = await context.loadConfig(options.config);
      const collection = config.collections[name];
      if (collection === undefined) {
        throw new Failure(
          'no-collection',
          `There is no collection ${name}: the configuration has ${Object.keys(config.collections).join(', ') || 'none'}.`,
          'never',
        );
      }
      await propose(config, collection, options, context);
    });
}

async function propose(config: Config, collection: Collection, options: RepairOptions, context: CliContext): Promise<void> {
  const domain = config.domains[collection.domain];
  if (domain === undefined) throw new Failure('no-domain', `Collection ${collection.name} names a domain that does not exist.`, 'never');
  const { divergences, shape, isCut } = await compare(collection, domain.stalenessMs, options, context);
  if (divergences.length === 0) {
    context.out(
      options.json === true
        ? JSON.stringify({ proposal: null, because: 'the replicas are equal' })
        : `${collection.name}: the replicas are equal, nothing to repair.`,
    );
    return;
  }
  const situation: Situation = { collection, domain, shape, divergences, writes: [], nowMs: systemClock.nowMs() };
  const { candidates, notMine } = proposeCandidates(situation, options.strategy);
  const ranked = rankCandidates(situation, candidates, calibrate([]));
  const [chosen] = ranked;
  if (chosen === undefined) {
    const reasons = notMine.map(({ strategy, because }) => `${strategy}: ${because}`).join('\n');
    if (options.json === true) context.out(JSON.stringify({ proposal: null, notMine }));
    else context.err(`${divergences.length} keys of ${collection.name} differ, and no strategy settles them.\n${reasons}`);
    context.exit(1);
    return;
  }
  const choice = options.strategy === undefined ? ({ by: 'heuristic' } as const) : ({ by: 'person', name: 'you' } as const);
  const proposal = buildProposal({
    id: 'dry-run',
    caseId: 'dry-run',
    situation,
    ranked,
    chosen,
    choice,
    author: 'you',
    nowMs: situation.nowMs,
  });
  const isConfirmed = divergences.every(({ status }) => status === 'confirmed');
  const verdict = decide(
    {
      // Judged as the service would judge it: its own proposal, confirmed first.
      proposal: { ...proposal, choice: { by: 'heuristic' }, author: 'homeostat' },
      domain,
      collection,
      nowMs: situation.nowMs,
      isConfirmed: true,
      freeze: null,
      breaker: null,
      rowsLastHour: 0,
      caseReturns: 0,
      record: { verified: 0, failed: 0, verifiedSinceFailure: 0 },
    },
    readPolicies(config),
  );
  if (options.json === true)
    context.out(JSON.stringify({ proposal, verdict, nearestChange: nearMissText(verdict), confirmed: isConfirmed, cut: isCut, notMine }));
  else print(context, proposal, verdict, isConfirmed, isCut);
}

async function compare(
  collection: Collection,
  stalenessMs: number,
  options: RepairOptions,
  context: CliContext,
): Promise<{ readonly divergences: readonly Divergence[]; readonly shape: Shape; readonly isCut: boolean }> {
  const connections: ReplicaConnection[] = [];
  try {
    for (const replica of collection.replicas) connections.push(await openReplica(collection, replica));
    const found = compareReplicas({
      collection,
      connections,
      stalenessMs,
      clock: systemClock,
      signal: context.signal,
      confirm: options.wait === true ? 'wait' : 'once',
    });
    const byKey = new Map<string, Divergence>();
    let isCut = false;
    for (;;) {
      const next = await found.next();
      if (next.done === true) {
        // With --wait a key that healed was seen once, as suspected, and never again.
        const kept = [...byKey.values()].filter(({ status }) => options.wait !== true || status === 'confirmed');
        return { divergences: kept, shape: next.value.shape, isCut };
      }
      const key = JSON.stringify(next.value.key);
      if (byKey.size < maxKeysPerProposal || byKey.has(key)) byKey.set(key, next.value);
      else isCut = true;
    }
  } finally {
    await Promise.allSettled(connections.map((connection) => connection.close()));
  }
}

function readPolicies(config: Config): Policies | undefined {
  if (config.policies === null) return undefined;
  const folder = config.policies;
  const names = readdirSync(folder).filter((name) => name.endsWith('.cedar'));
  const parsed = parsePolicies(names.toSorted().map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') })));
  if (parsed.is === 'error') throw new Failure('policies', parsed.problems.join('\n'), 'never');
  return parsed.policies;
}

function print(context: CliContext, proposal: Proposal, verdict: Verdict, isConfirmed: boolean, isCut: boolean): void {
  context.out(proposal.says);
  for (const effect of proposal.effects.slice(0, shownEffects)) context.out(`  ${effectText(effect)}`);
  if (proposal.effects.length > shownEffects) context.out(`  and ${proposal.effects.length - shownEffects} more`);
  const { simulation } = proposal;
  const kept = simulation.invariants.map(({ text, holds }) => `${text} ${holds ? 'holds' : 'BREAKS'}`);
  context.out(
    `Simulated: digests equal afterwards ${simulation.digestsEqual ? 'yes' : 'NO'}; undo restores ${simulation.inverseRestores ? 'yes' : 'NO'}${kept.map((each) => `; ${each}`).join('')}`,
  );
  context.out(
    `The guard would say: ${verdict.is}${verdict.is === 'review' ? `, ${verdict.approvals} ${verdict.approvals === 1 ? 'person' : 'people'}` : ''}`,
  );
  for (const { id, reason } of verdict.rules) context.out(`  ${id}: ${reason}`);
  for (const { strategy, because, rows } of proposal.alternatives) context.out(`Alternative: ${strategy} (${rows} rows): ${because}`);
  if (!isConfirmed) context.out('Not confirmed: a replica may still be catching up (--wait finds out).');
  if (isCut) context.out(`Only the first ${maxKeysPerProposal} keys are in it.`);
  context.out(`effect digest ${proposal.digest}`);
}

/** Only what changes; JSON text, so that a value cannot write to the terminal. */
function effectText(effect: Effect): string {
  const columns = Object.keys({ ...effect.before, ...effect.after }).filter(
    (column) => (effect.before?.[column] ?? null) !== (effect.after?.[column] ?? null),
  );
  const cell = (value: string | null | undefined): string => (value === null || value === undefined ? 'NULL' : JSON.stringify(value));
  const changes =
    effect.kind === 'delete'
      ? ''
      : columns
          .map((column) => `${column} ${effect.before === null ? '' : `${cell(effect.before[column])} → `}${cell(effect.after?.[column])}`)
          .join(', ');
  return `${effect.kind} on ${effect.replica} ${JSON.stringify(effect.key)} ${changes}`.trimEnd();
}
