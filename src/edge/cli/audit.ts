import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../../base/failure.ts';
import { readAuditChain } from '../../io/store/audit.ts';
import { openDatabase } from '../../io/store/database.ts';
import { openEmbeddedPostgres } from '../../io/store/embedded.ts';
import {
  type AuditEntry,
  type Certificate,
  type ChainLink,
  endOf,
  linkProblem,
  type SignedHead,
  isSignedBy,
  verifyCertificate,
} from '../../report/audit-chain.ts';
import { count } from './print.ts';
import type { CliContext } from './program.ts';

interface AuditOptions {
  readonly data: string;
  readonly config?: string;
  readonly key?: string;
  readonly head?: string;
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
    .option('--key <file>', 'public key (PEM) that signed a certificate')
    .option('--head <certificate>', 'a certificate made earlier: the chain must still hold its head, so that a cut-off end is seen')
    .action(async (file: string | undefined, options: AuditOptions) => {
      const finding =
        file === undefined
          ? await verifyEntries(storedEntries(options, context), knownHead(options, context))
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

/** The head that the chain had when a certificate was made. */
function knownHead({ head, key }: AuditOptions, context: CliContext): SignedHead | undefined {
  if (head === undefined) return undefined;
  if (key === undefined) throw new Failure('key', 'a head counts by its signature: name the public key with --key.', 'never');
  const certificate = parseCertificate(readGiven(head, context));
  if (certificate === null) throw new Failure('file', `${head} is no certificate: make one with homeostat certificate.`, 'never');
  if (!isSignedBy(certificate.head, readGiven(key, context)))
    throw new Failure('key', `The head of ${head} is not signed with this key.`, 'never');
  return certificate.head;
}

function readGiven(file: string, context: CliContext): string {
  try {
    return readFileSync(resolve(context.cwd, file), 'utf8');
  } catch (error) {
    throw new Failure('file', `${file} cannot be read: name a file that is there.`, 'never', error);
  }
}

async function verifyEntries(entries: AsyncIterable<AuditEntry>, head: SignedHead | undefined): Promise<Finding> {
  let previous: ChainLink | null = null;
  let seen = 0;
  for await (const entry of entries) {
    const isOther = head !== undefined && entry.seq === head.seq && entry.hash !== head.hash;
    const problem: string | null =
      linkProblem(previous, entry) ?? (isOther ? `entry ${entry.seq} is not the one whose head was signed` : null);
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
  if (head !== undefined && seen < head.seq) {
    const says = `The chain is cut off: it ends at ${seen}, and a head was signed at ${head.seq}.`;
    return { is: 'broken', entries: seen, head: previous?.hash ?? '', says };
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
  const says = `${shown} holds no entry: all of them may have been taken out, which a chain without its entries cannot show.`;
  if (text.trim() === '') return { is: 'broken', entries: 0, head: '', says };
  const certificate = parseCertificate(text);
  if (certificate !== null) {
    if (options.key === undefined)
      throw new Failure('key', 'a certificate is checked against the key that signed its head: name the public key with --key.', 'never');
    const checked = verifyCertificate(certificate, readGiven(options.key, context));
    const entries = certificate.entries.length;
    return checked.is === 'valid'
      ? {
          is: 'whole',
          entries,
          head: certificate.head.hash,
          says: `The certificate of ${certificate.subject} is valid: it ${endWords[endOf(certificate)]}. ${count(entries, 'entry', 'entries')}, effects ${certificate.effectDigest}.`,
        }
      : {
          is: 'broken',
          entries,
          head: certificate.head.hash,
          says: `The certificate of ${certificate.subject} is not valid: ${checked.because}.`,
        };
  }
  return verifyEntries(parseLines(text, shown), knownHead(options, context));
}

const endWords = {
  sealed: 'was verified and sealed',
  compensated: 'was undone',
  failed: 'failed',
  stale: 'changed nothing: rows had changed since they were read',
  open: 'had not ended',
} as const;

function parseCertificate(text: string): Certificate | null {
  try {
    const value = JSON.parse(text) as Partial<Certificate>;
    if (value.head === undefined || !Array.isArray(value.path)) return null;
    if (value.version !== 2) throw new Failure('file', 'The certificate is of another version: make it anew from the chain.', 'never');
    return value as Certificate;
  } catch (error) {
    if (error instanceof Failure) throw error;
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
