import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { Failure } from '../../base/failure.ts';
import type { Effect } from '../../domain/effect.ts';
import type { ProposalSummary, StoredProposal } from '../../io/store/proposals.ts';
import { openClient, type ServiceClient, type ServiceOptions, withServiceOptions } from './client.ts';
import { count, duration, paint, table } from './print.ts';
import type { CliContext } from './program.ts';

/** Rows that `show` prints; `--json` prints all. */
const shownEffects = 20;

export function registerProposals(program: Command, context: CliContext): void {
  const proposals = program.command('proposals');

  withServiceOptions(proposals.command('list'))
    .description('list proposals, newest first')
    .option('--state <state>', 'waiting, planned, done, denied, rejected, expired, stale, superseded or all', 'waiting')
    .option('--domain <domain>')
    .option('--collection <collection>')
    .option('--limit <n>', 'at most this many', '100')
    .action(
      async (
        options: ServiceOptions & {
          readonly state: string;
          readonly domain?: string;
          readonly collection?: string;
          readonly limit: string;
        },
      ) => {
        const client = openClient(options, context);
        const state = options.state === 'all' ? undefined : options.state;
        const items = (await client.items(
          '/api/v1/proposals',
          { state, domain: options.domain, collection: options.collection },
          Number(options.limit),
        )) as unknown as readonly ProposalSummary[];
        if (options.json === true) return items.forEach((item) => context.out(JSON.stringify(item)));
        if (items.length === 0) return context.out(state === 'waiting' ? 'Nothing waits for anyone.' : 'No such proposal.');
        context.out(
          table(items, [
            { head: 'ID', of: (item) => item.id },
            { head: 'DOMAIN', of: (item) => item.domain },
            { head: 'ROWS', of: (item) => item.rows, isRight: true },
            { head: 'STATE', of: (item) => item.state },
            {
              head: 'NEEDS',
              of: (item) => (item.approvalsNeeded === 0 ? '' : count(item.approvalsNeeded, 'person', 'people')),
              isRight: true,
            },
            { head: 'LEFT', of: (item) => (item.state === 'waiting' ? duration(item.expiresAtMs - Date.now()) : ''), isRight: true },
            { head: 'DIGEST', of: (item) => item.digest.slice(0, 12) },
            { head: 'WHAT', of: (item) => item.says },
          ]),
        );
      },
    );

  withServiceOptions(proposals.command('show <id>'))
    .description('one proposal with its effects, evidence and rules')
    .action(async (id: string, options: ServiceOptions) => {
      const proposal = (await openClient(options, context).get(`/api/v1/proposals/${encodeURIComponent(id)}`)) as StoredProposal & {
        readonly approvals: readonly { readonly by: string; readonly is: string }[];
      };
      context.out(options.json === true ? JSON.stringify(proposal) : describeProposal(proposal, context));
    });

  withServiceOptions(proposals.command('approve <id>'))
    .description('approve exactly the effects that the digest names')
    .requiredOption('--digest <digest>', 'effect digest that you looked at (proposals show prints it; 12 digits or more)')
    .option('--comment <text>')
    .action(async (id: string, options: ServiceOptions & { readonly digest: string; readonly comment?: string }) => {
      const client = openClient(options, context);
      const digest = await wholeDigest(client, id, options.digest);
      const done = (await client.post(`/api/v1/proposals/${encodeURIComponent(id)}/approve`, { digest, comment: options.comment })) as {
        readonly have: number;
        readonly need: number;
        readonly repairId: string | null;
      };
      say(
        options,
        done,
        done.repairId === null
          ? `Approved by ${done.have} of ${done.need}; it waits for ${count(done.need - done.have, 'more person', 'more people')}.`
          : `Approved; repair ${done.repairId} carries it out.`,
      );
    });

  withServiceOptions(proposals.command('reject <id>'))
    .description('reject it; the reason is kept and teaches calibration')
    .option('--digest <digest>', 'effect digest (default: the current one)')
    .requiredOption('--reason <text>')
    .action(async (id: string, options: ServiceOptions & { readonly digest?: string; readonly reason: string }) => {
      const client = openClient(options, context);
      const digest = await wholeDigest(client, id, options.digest ?? '');
      say(
        options,
        await client.post(`/api/v1/proposals/${encodeURIComponent(id)}/reject`, { digest, reason: options.reason }),
        'Rejected.',
      );
    });

  withServiceOptions(proposals.command('snooze <id>'))
    .description('hide it for a while; its expiry stays')
    .option('--digest <digest>', 'effect digest (default: the current one)')
    .option('--minutes <n>', 'how long', '60')
    .action(async (id: string, options: ServiceOptions & { readonly digest?: string; readonly minutes: string }) => {
      const client = openClient(options, context);
      const digest = await wholeDigest(client, id, options.digest ?? '');
      say(
        options,
        await client.post(`/api/v1/proposals/${encodeURIComponent(id)}/snooze`, { digest, minutes: Number(options.minutes) }),
        `Snoozed for ${options.minutes} min.`,
      );
    });

  withServiceOptions(proposals.command('edit <id>'))
    .description('ask for other rows: a new proposal with a new digest, which others must approve')
    .requiredOption('--digest <digest>', 'effect digest that you looked at')
    .requiredOption('--rows <file>', 'JSON list of {"key": {...}, "row": {...} or null}')
    .action(async (id: string, options: ServiceOptions & { readonly digest: string; readonly rows: string }) => {
      const client = openClient(options, context);
      const digest = await wholeDigest(client, id, options.digest);
      const done = (await client.post(`/api/v1/proposals/${encodeURIComponent(id)}/edit`, {
        digest,
        rows: readRows(resolve(context.cwd, options.rows), options.rows),
      })) as { readonly proposalId: string };
      say(options, done, `${done.proposalId} takes its place; someone else must approve it.`);
    });

  function say(options: ServiceOptions, answer: unknown, sentence: string): void {
    context.out(options.json === true ? JSON.stringify(answer) : sentence);
  }
}

const rowsSchema = z
  .array(z.strictObject({ key: z.record(z.string(), z.string()), row: z.record(z.string(), z.string().nullable()).nullable() }))
  .min(1);

function readRows(path: string, shown: string): z.infer<typeof rowsSchema> {
  try {
    return rowsSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    throw new Failure(
      'rows',
      `${shown} is not a JSON list of {"key": {...}, "row": {...}} with texts as values: correct it.`,
      'never',
      error,
    );
  }
}

/** A person may type the beginning of the digest that they looked at; another digest is refused here already. */
async function wholeDigest(client: ServiceClient, id: string, given: string): Promise<string> {
  if (given.length === 64) return given;
  const { digest } = (await client.get(`/api/v1/proposals/${encodeURIComponent(id)}`, { rows: 0 })) as { readonly digest: string };
  if (given !== '' && (given.length < 12 || !digest.startsWith(given))) {
    throw new Failure(
      'conflict',
      `${id} has the effect digest ${digest}, not ${given}: look at it again with homeostat proposals show ${id}.`,
      'never',
    );
  }
  return digest;
}

function describeProposal(
  proposal: StoredProposal & { readonly approvals: readonly { readonly by: string; readonly is: string }[] },
  context: CliContext,
): string {
  const { simulation } = proposal;
  const tick = (holds: boolean): string => (holds ? paint(context, 'green', 'yes') : paint(context, 'red', 'NO'));
  const effects = proposal.effects.slice(0, shownEffects).map((effect) => `  ${describeEffect(effect)}`);
  const rest = proposal.rows > shownEffects ? [`  ... and ${count(proposal.rows - shownEffects, 'more row')} (--json prints all)`] : [];
  return [
    `${paint(context, 'bold', `${proposal.id} · ${proposal.domain} / ${proposal.collection} · case ${proposal.caseId} · ${proposal.state}`)}`,
    proposal.says,
    '',
    `Effects (${count(proposal.rows, 'row')}, strategy ${proposal.strategy}, confidence ${proposal.confidence.toFixed(2)}):`,
    ...effects,
    ...rest,
    '',
    `Simulated: digests equal afterwards ${tick(simulation.digestsEqual)} · undo restores ${tick(simulation.inverseRestores)} · ${count(simulation.rowsTouched, 'row')} touched`,
    ...simulation.invariants.map((invariant) => `  ${invariant.text}: ${tick(invariant.holds)}`),
    '',
    'Why:',
    ...proposal.evidence.map((evidence) => `  [${evidence.id}] ${evidence.says}`),
    '',
    `Verdict: ${proposal.verdict.is}`,
    ...proposal.verdict.rules.map(
      (rule) => `  ${rule.id} ${rule.effect}: ${rule.reason}${rule.nearestChange === null ? '' : ` Nearest change: ${rule.nearestChange}`}`,
    ),
    ...proposal.approvals.map((approval) => `  ${approval.by} says ${approval.is}`),
    '',
    `Effect digest: ${proposal.digest}`,
    ...(proposal.state === 'waiting'
      ? [`Approve: homeostat proposals approve ${proposal.id} --digest ${proposal.digest.slice(0, 16)}`]
      : []),
  ].join('\n');
}

function describeEffect(effect: Effect): string {
  const key = Object.entries(effect.key)
    .map(([column, value]) => `${column}=${value}`)
    .join(', ');
  const columns = Object.keys({ ...effect.before, ...effect.after }).filter(
    (column) => effect.before?.[column] !== effect.after?.[column] && effect.key[column] === undefined,
  );
  const show = (value: string | null | undefined): string => (value === undefined ? '-' : value === null ? 'NULL' : JSON.stringify(value));
  const change = columns
    .map((column) =>
      effect.kind === 'update'
        ? `${column} ${show(effect.before?.[column])} -> ${show(effect.after?.[column])}`
        : `${column} ${show((effect.after ?? effect.before)?.[column])}`,
    )
    .join(', ');
  return `${effect.replica}: ${effect.kind} ${key}: ${change}`;
}
