import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../../base/failure.ts';
import { readAuditChain } from '../../io/store/audit.ts';
import { openDatabase } from '../../io/store/database.ts';
import { openEmbeddedPostgres } from '../../io/store/embedded.ts';
import { type AuditEntry, type Certificate, type ChainLink, linkProblem, verifyCertificate } from '../../report/audit-chain.ts';
import { count } from './print.ts';
import type { CliContext } from './program.ts';

interface AuditOptions {
  readonly data: string;
  readonly config?: string;
  readonly key?: string;
  readonly json?: boolean;
}

interface Finding {
  readonly is: 'whole' | 'broken';
  readonly entries: number;
  readonly head: string;
  readonly says: string;
}

export function registerAudit(program: Command, context: CliContext): void {
  const audit = program.command('audit');
  const withStore = (command: Command): Command =>
    command
      .option('--data <dir>', 'data directory that the service ran on', '.homeostat')
      .option('--config <file>', 'config that names the database, where it is not the embedded one')
      .option('--json', 'print JSON');

  withStore(audit.command('verify [file]'))
    .description('check the chain of the store, an exported chain (JSON lines) or one certificate; needs no running service')
    .option('--key <file>', 'public key (PEM) that signed the head of a certificate')
    .action(async (file: string | undefined, options: AuditOptions) => {
      const finding =
        file === undefined
          ? await verifyEntries(storedEntries(options, context))
          : await verifyFile(resolve(context.cwd, file), file, options, context);
      if (options.json === true) context.out(JSON.stringify(finding));
      else if (finding.is === 'whole') context.out(finding.says);
      else context.err(finding.says);
      context.exit(finding.is === 'whole' ? 0 : 1);
    });

  withStore(audit.command('export'))
    .description('print the chain as JSON lines, to keep or to verify elsewhere')
    .action(async (options: AuditOptions) => {
      for await (const entry of storedEntries(options, context)) context.out(JSON.stringify(entry));
    });
}

/** Reads the store itself, so that a stopped service can be audited; a running one is not disturbed. */
async function* storedEntries(options: AuditOptions, context: CliContext): AsyncGenerator<AuditEntry> {
  const configured = options.config === undefined ? 'embedded' : (await context.loadConfig(options.config)).database;
  const dataDir = resolve(context.cwd, options.data);
  if (configured === 'embedded' && !existsSync(dataDir)) {
    throw new Failure('no-data', `there is no data directory ${options.data}: name the one that the service ran on with --data.`, 'never');
  }
  const embedded = configured === 'embedded' ? await openEmbeddedPostgres({ dataDir }) : null;
  const database = openDatabase(embedded?.url ?? configured, { poolSize: 1 });
  try {
    yield* readAuditChain(database);
  } finally {
    await database.close();
    await embedded?.close();
  }
}

async function verifyEntries(entries: AsyncIterable<AuditEntry>): Promise<Finding> {
  let previous: ChainLink | null = null;
  let seen = 0;
  for await (const entry of entries) {
    const problem: string | null = linkProblem(previous, entry);
    if (problem !== null) {
      return {
        is: 'broken',
        entries: seen,
        head: previous?.hash ?? '',
        says: `The chain is broken: ${problem}. Everything before entry ${entry.seq} is as it was written.`,
      };
    }
    previous = entry;
    seen += 1;
  }
  return {
    is: 'whole',
    entries: seen,
    head: previous?.hash ?? '',
    says:
      seen === 0
        ? 'The chain is empty: nothing was decided yet.'
        : `The chain is whole: ${count(seen, 'entry', 'entries')}, head ${previous?.hash ?? ''}.`,
  };
}

async function verifyFile(path: string, shown: string, options: AuditOptions, context: CliContext): Promise<Finding> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Failure(
      'file',
      `${shown} cannot be read: name a certificate, or a chain that homeostat audit export printed.`,
      'never',
      error,
    );
  }
  const certificate = parseCertificate(text);
  if (certificate !== null) {
    if (options.key === undefined)
      throw new Failure('key', 'a certificate is checked against the key that signed its head: name the public key with --key.', 'never');
    const checked = verifyCertificate(certificate, readFileSync(resolve(context.cwd, options.key), 'utf8'));
    const entries = certificate.entries.length;
    return checked.is === 'valid'
      ? {
          is: 'whole',
          entries,
          head: certificate.head.hash,
          says: `The certificate of ${certificate.subject} is valid: ${count(entries, 'entry', 'entries')}, effects ${certificate.effectDigest}.`,
        }
      : {
          is: 'broken',
          entries,
          head: certificate.head.hash,
          says: `The certificate of ${certificate.subject} is not valid: ${checked.because}.`,
        };
  }
  return verifyEntries(parseLines(text, shown));
}

function parseCertificate(text: string): Certificate | null {
  try {
    const value = JSON.parse(text) as Partial<Certificate>;
    return value.version === 1 && value.head !== undefined && Array.isArray(value.path) ? (value as Certificate) : null;
  } catch {
    return null;
  }
}

async function* parseLines(text: string, shown: string): AsyncGenerator<AuditEntry> {
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    let entry: Partial<AuditEntry>;
    try {
      entry = JSON.parse(line) as Partial<AuditEntry>;
    } catch (error) {
      throw new Failure('file', `${shown}:${index + 1} is not JSON: name a chain that homeostat audit export printed.`, 'never', error);
    }
    if (typeof entry.seq !== 'number' || typeof entry.hash !== 'string')
      throw new Failure('file', `${shown}:${index + 1} is no audit entry: name a chain that homeostat audit export printed.`, 'never');
    yield entry as AuditEntry;
  }
}
