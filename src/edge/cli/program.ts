import { Command, CommanderError } from 'commander';
import { InvariantError } from '../../base/assert.ts';
import { Failure } from '../../base/failure.ts';
import type { Config } from '../../config.ts';

/** What a command gets of the outside world. Everything that a test wants to see or hold goes through here. */
export interface CliContext {
  /** Writes one text and a line end to stdout. */
  out(text: string): void;
  /** Writes one text and a line end to stderr. */
  err(text: string): void;
  readonly isTty: boolean;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** Sets the exit code; the process ends by itself when the command has returned. */
  exit(code: number): void;
  /** Reads and checks a config file, by default `homeostat.yaml`. Throws `Failure('config')`. */
  loadConfig(path?: string): Config | Promise<Config>;
}

export type RegisterCommand = (program: Command, context: CliContext) => void;

/** A command by what --help says of it, and where the rest is. */
export interface CommandEntry {
  readonly name: string;
  /** For the list and for the command's own help. */
  readonly summary: string;
  readonly load: () => Promise<RegisterCommand>;
}

/** Loads the command that the arguments name, if any; of the others only the name and the summary are there. */
export async function commandsFor(entries: readonly CommandEntry[], args: readonly string[]): Promise<readonly RegisterCommand[]> {
  const named = args.find((arg) => !arg.startsWith('-'));
  return Promise.all(
    entries.map(async ({ name, summary, load }): Promise<RegisterCommand> => {
      if (name !== named) return (program) => void program.command(name).description(summary);
      const register = await load();
      return (program, context) => {
        register(program, context);
        program.commands.find((command) => command.name() === name)?.description(summary);
      };
    }),
  );
}

/** The `homeostat` program with the given commands. Run it with {@link runProgram}, which turns every failure into a sentence. */
export function createProgram(context: CliContext, commands: readonly RegisterCommand[], version: string): Command {
  const program = new Command('homeostat')
    .description('Finds where replicas of the same state disagree, says why, and repairs the difference with a guard, an undo and a proof.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help for a command')
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .showHelpAfterError('Run it with --help to see what it takes.')
    .configureOutput({ writeOut: (text) => context.out(text.trimEnd()), writeErr: (text) => context.err(text.trimEnd()) })
    .exitOverride();
  for (const register of commands) register(program, context);
  for (const command of program.commands) inherit(command);
  program.addHelpText(
    'after',
    '\nEvery command takes --json for one JSON object or line per result. Exit codes: 0 fine, 1 found something, 2 could not do it.\nStart here: homeostat demo, or homeostat doctor --config homeostat.yaml',
  );
  return program;
}

/** Sub-commands share the settings that print and exit; commander copies them only to those it makes itself. */
function inherit(command: Command): void {
  if (command.parent !== null) command.copyInheritedSettings(command.parent);
  for (const child of command.commands) inherit(child);
}

/**
 * Parses and runs. Failures become one sentence on stderr and exit code 2 (a command that sets another code before it throws keeps
 * it); a broken invariant says so with its facts, since it is a bug to report.
 */
export async function runProgram(program: Command, context: CliContext, args: readonly string[]): Promise<void> {
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      context.exit(error.exitCode === 0 ? 0 : 2);
      return;
    }
    context.err(explainError(error));
    context.exit(2);
  }
}

/** One sentence for a person; a stack only where it is our bug. */
export function explainError(error: unknown): string {
  if (error instanceof Failure) return error.message;
  if (error instanceof InvariantError)
    return `${error.message} ${JSON.stringify(error.facts)}; this is a bug, please report it with this line.\n${error.stack ?? ''}`;
  if (error instanceof Error) return `${error.message}${error.name === 'AbortError' ? '' : `\n${error.stack ?? ''}`}`;
  return String(error);
}
