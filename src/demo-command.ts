import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError } from 'commander';
import { runDemo } from './demo/demo.ts';
import { detectors } from './detect/registry.ts';
import type { CliContext } from './edge/cli/program.ts';
import { openEmbeddedPostgres } from './io/store/embedded.ts';

const here = dirname(fileURLToPath(import.meta.url));

/** `homeostat demo`: registered from the root, since the demo stands beside the service and knows nothing of it. */
export function registerDemo(program: Command, context: CliContext): void {
  program
    .command('demo')
    .option('--until-converged', 'inject faults, approve what waits, wait until the replicas agree, print a summary and end')
    .option('--seed <number>', 'seed of faults and traffic', wholeNumber, 1)
    .option('--data <dir>', 'where everything is kept', './.homeostat')
    .option('--port-base <port>', 'API and page on this port, OTLP/HTTP and OTLP/gRPC on the next two; 0: any free ports', wholeNumber)
    .option('--timeout <seconds>', 'how long --until-converged waits', wholeNumber, 300)
    .option('--rate <requests>', 'ordinary requests a second', wholeNumber, 15)
    .option('--json', 'the summary as one line, progress on standard error')
    .action(async (options: DemoCommandOptions) => {
      const code = await runDemo(
        {
          dataDir: options.data,
          portBase: options.portBase,
          seed: options.seed,
          untilConverged: options.untilConverged ?? false,
          json: options.json ?? false,
          timeoutS: options.timeout,
          perSecond: options.rate,
        },
        {
          // Dies with this process, also where that is killed without a chance to say so.
          homeostat: [
            process.execPath,
            '--disable-warning=ExperimentalWarning',
            '--import',
            join(here, '..', 'bin', 'follow-parent.mjs'),
            join(here, `main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`),
          ],
          openCluster: openEmbeddedPostgres,
          detectors: detectors.map((detector) => detector.id),
          out: (line) => context.out(line),
          err: (line) => context.err(line),
          signal: context.signal,
        },
      );
      context.exit(code);
    });
}

interface DemoCommandOptions {
  readonly untilConverged?: boolean;
  readonly seed: number;
  readonly data: string;
  readonly portBase?: number;
  readonly timeout: number;
  readonly rate: number;
  readonly json?: boolean;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('write a whole number.');
  return Number(text);
}
