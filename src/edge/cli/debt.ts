import type { Command } from 'commander';
import { openClient, type ServiceOptions, withServiceOptions } from './client.ts';
import type { CliContext } from './program.ts';

export function registerDebt(program: Command, context: CliContext): void {
  withServiceOptions(program.command('debt'))
    .description('the consistency-debt report: what the findings cost, and the cheapest repayments')
    .action(async (options: ServiceOptions) => {
      const report = await openClient(options, context).get('/api/v1/debt');
      context.out(options.json === true ? JSON.stringify(report) : JSON.stringify(report, null, 2));
    });
}
