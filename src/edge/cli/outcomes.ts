import type { Command } from 'commander';
import type { Outcome } from '../../domain/outcome.ts';
import { openClient, type ServiceOptions, withServiceOptions } from './client.ts';
import type { CliContext } from './program.ts';

/** Examples that a fine-tuning run takes at most; older ones stay in the store. */
const maxExamples = 100_000;

export function registerOutcomes(program: Command, context: CliContext): void {
  const outcomes = program.command('outcomes');
  withServiceOptions(outcomes.command('export'))
    .description('print outcomes as JSON lines: plain, or as chat examples for fine-tuning (no row values in either)')
    .option('--format <format>', 'jsonl or openai-jsonl', 'jsonl')
    .option('--domain <domain>')
    .action(async (options: ServiceOptions & { readonly format: string; readonly domain?: string }) => {
      if (options.format !== 'jsonl' && options.format !== 'openai-jsonl') {
        context.err(`there is no format ${options.format}: use jsonl or openai-jsonl.`);
        return context.exit(2);
      }
      const items = (await openClient(options, context).items(
        '/api/v1/outcomes',
        { domain: options.domain },
        maxExamples,
      )) as unknown as readonly Outcome[];
      for (const outcome of items) context.out(JSON.stringify(options.format === 'jsonl' ? outcome : toChat(outcome)));
    });
}

/** What the model should have answered: the strategy where it was verified, else to abstain and why. */
function toChat(outcome: Outcome): object {
  const isRight = outcome.is === 'verified';
  return {
    messages: [
      { role: 'system', content: 'Choose one of the checked repair candidates by its strategy, or abstain. Answer in JSON.' },
      {
        role: 'user',
        content: JSON.stringify({
          domain: outcome.domain,
          collection: outcome.collection,
          candidate: outcome.strategy,
          rows: outcome.rows,
          confidence: outcome.confidence,
        }),
      },
      {
        role: 'assistant',
        content: JSON.stringify(isRight ? { choose: outcome.strategy } : { abstain: true, because: outcome.reason ?? outcome.is }),
      },
    ],
  };
}
