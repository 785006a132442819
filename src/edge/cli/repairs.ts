import type { Command } from 'commander';
import type { StoredRepair } from '../../io/store/repairs.ts';
import { openClient, type ServiceOptions, withServiceOptions } from './client.ts';
import { duration, table } from './print.ts';
import type { CliContext } from './program.ts';

export function registerRepairs(program: Command, context: CliContext): void {
  const repairs = program.command('repairs');

  withServiceOptions(repairs.command('list'))
    .description('list repairs, newest first')
    .option('--state <state>', 'planned, applying, verifying, sealed, stale, undoing, compensated or failed')
    .option('--domain <domain>')
    .option('--limit <n>', 'at most this many', '100')
    .action(async (options: ServiceOptions & { readonly state?: string; readonly domain?: string; readonly limit: string }) => {
      const items = (await openClient(options, context).items(
        '/api/v1/repairs',
        { state: options.state, domain: options.domain },
        Number(options.limit),
      )) as unknown as readonly StoredRepair[];
      if (options.json === true) return items.forEach((item) => context.out(JSON.stringify(item)));
      if (items.length === 0) return context.out('No repair yet.');
      const nowMs = Date.now();
      context.out(
        table(items, [
          { head: 'ID', of: (item) => item.id },
          { head: 'PROPOSAL', of: (item) => item.proposalId },
          { head: 'DOMAIN', of: (item) => item.domain },
          { head: 'COLLECTION', of: (item) => item.collection },
          { head: 'ROWS', of: (item) => item.rows, isRight: true },
          { head: 'STATE', of: (item) => item.state },
          { head: 'AGO', of: (item) => duration(nowMs - item.updatedAtMs), isRight: true },
          {
            head: 'UNDO FOR',
            of: (item) => (item.state === 'sealed' && item.undoUntilMs > nowMs ? duration(item.undoUntilMs - nowMs) : ''),
            isRight: true,
          },
          { head: 'BY', of: (item) => (item.automatic ? 'homeostat' : item.approvedBy.join(', ')) },
          { head: 'SAYS', of: (item) => item.lastError ?? '' },
        ]),
      );
    });

  withServiceOptions(repairs.command('undo <id>'))
    .description('undo a sealed repair with its inverse, guarded like any repair')
    .requiredOption('--reason <text>')
    .action(async (id: string, options: ServiceOptions & { readonly reason: string }) => {
      const answer = await openClient(options, context).post(`/api/v1/repairs/${encodeURIComponent(id)}/undo`, { reason: options.reason });
      context.out(
        options.json === true ? JSON.stringify(answer) : `${id} is being undone; rows that changed since are left alone and reported.`,
      );
    });
}
