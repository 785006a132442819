import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../../base/failure.ts';
import type { Config } from '../../config.ts';
import { parseEffectDigest } from '../../domain/effect.ts';
import type { Outcome } from '../../domain/outcome.ts';
import type { Proposal } from '../../domain/proposal.ts';
import { backtest, type PastRepair } from '../../guard/backtest.ts';
import { type ParsedPolicies, parsePolicies, type Policies } from '../../guard/cedar.ts';
import type { GuardFacts } from '../../guard/facts.ts';
import { nearMissText } from '../../guard/near-miss.ts';
import { type KnownNames, strangeNames } from '../../guard/policy-names.ts';
import { policySchema } from '../../guard/policy-schema.ts';
import { policyWords } from '../../guard/policy-words.ts';
import { decide } from '../../guard/verdict.ts';
import { strategies } from '../../propose/registry.ts';
import { openClient, type ServiceOptions, withServiceOptions } from './client.ts';
import { paint } from './print.ts';
import type { CliContext } from './program.ts';

interface PolicyOptions extends ServiceOptions {
  readonly config?: string;
  readonly proposal?: string;
  readonly history?: string;
  readonly limit: string;
}

/** `homeostat policy check|explain|backtest FILE.cedar`. Exit 0 fine, 1 problems, 2 could not. */
export function registerPolicy(program: Command, context: CliContext): void {
  const policy = program.command('policy');
  policy
    .command('check')
    .description('parse and validate: every policy has @id and @reason and speaks only of what there is')
    .argument('<file>', 'a .cedar file, or a directory')
    .option('--config <file>', 'configuration file: names of domains, collections, replicas and regions are held against it')
    .option('--json', 'print JSON')
    .action(async (file: string, options: PolicyOptions) => {
      const config = options.config === undefined ? undefined : await context.loadConfig(options.config);
      const parsed = withNames(parsePolicies(readPolicyFiles(resolve(context.cwd, file))), config);
      if (options.json === true) {
        context.out(
          JSON.stringify(
            parsed.is === 'error'
              ? { ok: false, problems: parsed.problems }
              : { ok: true, policies: parsed.policies.policies.map(({ id }) => id), digest: parsed.policies.digest },
          ),
        );
      } else if (parsed.is === 'error') for (const problem of parsed.problems) context.err(problem);
      else
        context.out(`${parsed.policies.policies.length} ${parsed.policies.policies.length === 1 ? 'policy' : 'policies'}, nothing wrong.`);
      context.exit(parsed.is === 'error' ? 1 : 0);
    });

  policy
    .command('explain')
    .description(
      'say what each policy does; with --proposal, what the guard says of one proposal and the nearest change that would allow it',
    )
    .argument('<file>', 'a .cedar file, or a directory')
    .option('--proposal <file>', 'a proposal as JSON, as `proposals show --json` prints it')
    .option('--config <file>', 'configuration file, for the proposal’s domain and collection')
    .option('--json', 'print JSON')
    .action(async (file: string, options: PolicyOptions) => {
      const policies = policiesOf(resolve(context.cwd, file));
      if (options.proposal !== undefined) {
        await explainProposal(context, policies, options, options.proposal);
        return;
      }
      const words = policies.policies.map(policyWords);
      if (options.json === true) context.out(JSON.stringify(words));
      else {
        for (const { id, does, reason, approvals, looksAt, text } of words) {
          context.out(`${paint(context, 'bold', id)}: ${does}${approvals > 1 ? ` (${approvals} people)` : ''}.`);
          context.out(`  ${reason}`);
          if (looksAt.length > 0) context.out(`  looks at ${looksAt.join(', ')}`);
          context.out(`${text.replaceAll(/^/gm, '    ')}\n`);
        }
      }
    });

  policy
    .command('schema')
    .description('print the Cedar schema: the actions, and everything that a policy can look at')
    .option('--json', 'print JSON')
    .action((options: PolicyOptions) =>
      context.out(options.json === true ? JSON.stringify({ schema: policySchema.trim() }) : policySchema.trim()),
    );

  withServiceOptions(
    policy
      .command('backtest')
      .description('what the policies would have done with past repairs, before they are activated')
      .argument('<file>', 'a .cedar file, or a directory')
      .option('--history <file>', 'past repairs as JSON lines {"proposal","outcome"}; default: ask the running service')
      .option('--config <file>', 'configuration file')
      .option('--limit <n>', 'how many past repairs to ask the service for', '1000'),
  ).action(async (file: string, options: PolicyOptions) => {
    const policies = policiesOf(resolve(context.cwd, file));
    const config = await context.loadConfig(options.config);
    const history =
      options.history === undefined ? await askForHistory(context, options) : readHistory(resolve(context.cwd, options.history));
    const known = history.filter(({ proposal }) => proposal.domain in config.domains && proposal.collection in config.collections);
    const before = config.policies === null ? undefined : policiesOf(config.policies);
    const result = backtest(pastRepairs(known, config), before, policies);
    const unknown = history.length - known.length;
    if (options.json === true) context.out(JSON.stringify({ ...result, skipped: unknown }));
    else {
      context.out(result.says);
      for (const [id, count] of Object.entries(result.matched).toSorted(([, a], [, b]) => b - a)) context.out(`  ${id} matched ${count}`);
      for (const { proposalId, from, to } of result.changed) context.out(`  ${proposalId}: ${from} becomes ${to}`);
      if (unknown > 0) context.out(`${unknown} are of domains or collections that the configuration does not have.`);
    }
    context.exit(result.autoWrong > 0 ? 1 : 0);
  });
}

function readPolicyFiles(path: string): readonly { readonly name: string; readonly text: string }[] {
  try {
    const files = statSync(path).isDirectory()
      ? readdirSync(path)
          .filter((name) => name.endsWith('.cedar'))
          .toSorted()
          .map((name) => join(path, name))
      : [path];
    if (files.length === 0) throw new Failure('no-policies', `${path} holds no .cedar files.`, 'never');
    return files.map((file) => ({ name: basename(file), text: readFileSync(file, 'utf8') }));
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('no-policies', `${path} cannot be read: name a .cedar file or a directory of them.`, 'never', error);
  }
}

/** A name that nothing has is a problem like any other: a guard that never speaks is none. */
function withNames(parsed: ParsedPolicies, config: Config | undefined): ParsedPolicies {
  if (parsed.is === 'error') return parsed;
  const collections = config === undefined ? undefined : Object.values(config.collections);
  const replicas = collections?.flatMap((collection) => collection.replicas);
  const unique = (names: readonly string[] | undefined): readonly string[] | undefined =>
    names === undefined ? undefined : [...new Set(names)].toSorted();
  const known: KnownNames = {
    values: {
      strategy: strategies.map(({ id }) => id),
      consistency: ['strict', 'session', 'bounded', 'eventual'],
      risk: ['low', 'medium', 'high'],
      mode: ['off', 'review', 'auto'],
      chosenBy: ['heuristic', 'llm', 'person'],
      weekdayUtc: ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'],
      domain: config === undefined ? undefined : Object.keys(config.domains),
      name: config === undefined ? undefined : Object.keys(config.collections),
      replicas: unique(replicas?.map(({ id }) => id)),
      regions: unique(replicas?.map(({ region }) => region)),
    },
    entities: {
      Domain: config === undefined ? undefined : Object.keys(config.domains),
      Collection: config === undefined ? undefined : Object.keys(config.collections),
    },
  };
  const problems = parsed.policies.policies.flatMap((policy) =>
    strangeNames(policy, known).map((problem) => `${basename(policy.file)}: ${problem}`),
  );
  return problems.length === 0 ? parsed : { is: 'error', problems };
}

function policiesOf(path: string): Policies {
  const parsed = parsePolicies(readPolicyFiles(path));
  if (parsed.is === 'policies') return parsed.policies;
  throw new Failure('policies', parsed.problems.join('\n'), 'never');
}

async function explainProposal(context: CliContext, policies: Policies, options: PolicyOptions, file: string): Promise<void> {
  const config = await context.loadConfig(options.config);
  const proposal = readJson(resolve(context.cwd, file)) as Proposal;
  const domain = config.domains[proposal.domain];
  const collection = config.collections[proposal.collection];
  if (domain === undefined || collection === undefined || !Array.isArray(proposal.effects)) {
    throw new Failure('no-proposal', `${file} is not a proposal of a domain and collection of the configuration.`, 'never');
  }
  const facts: GuardFacts = {
    proposal: { ...proposal, digest: parseEffectDigest(proposal.digest) },
    domain,
    collection,
    nowMs: proposal.createdAtMs,
    isConfirmed: true,
    freeze: null,
    breaker: null,
    rowsLastHour: 0,
    caseReturns: 0,
    record: { verified: 0, failed: 0, verifiedSinceFailure: 0 },
  };
  const verdict = decide(facts, policies);
  if (options.json === true) context.out(JSON.stringify({ ...verdict, nearestChange: nearMissText(verdict) }));
  else {
    context.out(`${verdict.is}${verdict.is === 'review' ? `: ${verdict.approvals} ${verdict.approvals === 1 ? 'person' : 'people'}` : ''}`);
    for (const { id, effect, reason } of verdict.rules)
      context.out(`  ${id} ${effect === 'denies' ? 'denies' : 'forbids auto'}: ${reason}`);
    context.out(`nearest change: ${nearMissText(verdict)}`);
  }
}

interface HistoryLine {
  readonly proposal: Proposal;
  readonly outcome: Outcome;
}

function readHistory(file: string): readonly HistoryLine[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Failure('no-history', `${file} cannot be read.`, 'never', error);
  }
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line, index) => {
      try {
        const { proposal, outcome } = JSON.parse(line) as HistoryLine;
        if (Array.isArray(proposal.effects) && typeof outcome.is === 'string') return { proposal, outcome };
      } catch {
        // The sentence below says which line it is.
      }
      throw new Failure('history', `line ${index + 1} of ${file} is not {"proposal": ..., "outcome": ...}.`, 'never');
    });
}

async function askForHistory(context: CliContext, options: PolicyOptions): Promise<readonly HistoryLine[]> {
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1) throw new Failure('limit', '--limit is a whole number from 1.', 'never');
  const client = openClient(options, context);
  const outcomes = (await client.items('/api/v1/outcomes', {}, limit)) as unknown as readonly Outcome[];
  const lines: HistoryLine[] = [];
  for (const outcome of outcomes) {
    const proposal = (await client.get(`/api/v1/proposals/${encodeURIComponent(outcome.proposalId)}`)) as Proposal;
    lines.push({ proposal, outcome });
  }
  return lines;
}

/** Facts as they were: what had become of the strategy's earlier repairs and the rows repaired in the hour before, from the history itself. */
function pastRepairs(history: readonly HistoryLine[], config: Config): readonly PastRepair[] {
  const hourMs = 3_600_000;
  const inOrder = history.toSorted((a, b) => a.proposal.createdAtMs - b.proposal.createdAtMs);
  return inOrder.flatMap(({ proposal, outcome }) => {
    const domain = config.domains[proposal.domain];
    const collection = config.collections[proposal.collection];
    if (domain === undefined || collection === undefined) return [];
    const earlier = history
      .filter((other) => other.outcome.atMs < proposal.createdAtMs && other.outcome.domain === proposal.domain)
      .toSorted((a, b) => a.outcome.atMs - b.outcome.atMs);
    const same = earlier.filter(
      (other) => other.outcome.strategy === proposal.strategy && (other.outcome.is === 'verified' || isWrong(other.outcome)),
    );
    const failed = same.filter((other) => isWrong(other.outcome)).length;
    return [
      {
        outcome,
        facts: {
          proposal,
          domain,
          collection,
          nowMs: proposal.createdAtMs,
          isConfirmed: true,
          freeze: null,
          breaker: null,
          rowsLastHour: earlier
            .filter((other) => other.outcome.is === 'verified' && other.outcome.atMs > proposal.createdAtMs - hourMs)
            .reduce((sum, other) => sum + other.outcome.rows, 0),
          caseReturns: 0,
          record: {
            verified: same.length - failed,
            failed,
            verifiedSinceFailure: same.length - 1 - same.findLastIndex((other) => isWrong(other.outcome)),
          },
        },
      },
    ];
  });
}

function isWrong(outcome: Outcome): boolean {
  return outcome.is === 'undone' || outcome.is === 'rejected' || outcome.is === 'verification-failed';
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Failure('no-proposal', `${file} is not readable JSON.`, 'never', error);
  }
}
