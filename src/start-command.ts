import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { systemClock } from './base/clock.ts';
import { roles, type Role, startService } from './compose.ts';
import type { CliContext } from './edge/cli/program.ts';
import { createLog } from './io/telemetry/log.ts';

interface StartFlags {
  readonly config?: string;
  readonly data: string;
  readonly host: string;
  readonly portBase?: number;
  readonly role: Role;
}

/** `homeostat start`: runs until SIGTERM or SIGINT, then finishes what was acknowledged. */
export function registerStart(program: Command, context: CliContext): void {
  program
    .command('start')
    .option('--config <file>', 'configuration', undefined)
    .option('--data <dir>', 'where everything is kept', './.homeostat')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port-base <port>', 'API and page on this port, OTLP/HTTP and OTLP/gRPC on the next two; 0: any free ports', portNumber)
    .addOption(new Option('--role <role>', 'what this process does').choices([...roles]).default('all'))
    .option('--json', 'print where it listens as JSON (it always does)')
    .action(async (flags: StartFlags) => {
      // The small nursery of bin/service-runtime.json is this thread's; as a flag it would overrule what other threads are opened with.
      setFlagsFromString('--max-semi-space-size=0');
      const log = createLog(
        (line) => context.err(line.trimEnd()),
        () => systemClock.nowMs(),
      );
      const config = await context.loadConfig(flags.config);
      for (const warning of config.warnings) log('warn', warning);
      const service = await startService({
        config,
        env: context.env,
        dataDir: flags.data,
        host: flags.host,
        portBase: flags.portBase,
        role: flags.role,
        log,
      });
      const where = JSON.stringify({
        ready: true,
        ui: service.ui,
        api: service.api,
        otlpHttp: service.otlpHttp,
        otlpGrpc: service.otlpGrpc,
        pid: process.pid,
      });
      const file = join(flags.data, flags.role === 'all' ? 'runtime.json' : `runtime-${flags.role}.json`);
      // Whoever waits for the file reads all of it.
      writeFileSync(`${file}.new`, `${where}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
      context.out(where);
      await ended(context.signal);
      log('info', 'stopping: what was acknowledged is finished first');
      await service.close();
    });
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function portNumber(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_533) throw new InvalidArgumentError('a port is a number from 0 to 65533.');
  return port;
}
