import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../../base/clock.ts';
import { Failure } from '../../base/failure.ts';
import { type AuditEntry, makeCertificate, signHead, verifyChain } from '../../report/audit-chain.ts';
import type { CliContext } from './program.ts';

interface CertificateOptions {
  readonly chain: string;
  readonly key: string;
}

/**
 * `homeostat certificate REPAIR --chain FILE --key FILE`: what the repair was, who allowed it and how it ended, as one JSON object
 * that `audit verify FILE --key FILE.pub` checks offline. The key is made on first use and stays with whoever vouches for the
 * chain: the service never holds it, so it cannot vouch for itself.
 */
export function registerCertificate(program: Command, context: CliContext): void {
  program
    .command('certificate')
    .argument('<repair>', 'id of the repair, as `repairs list` prints it')
    .requiredOption('--chain <file>', 'the chain, as `audit export` printed it')
    .requiredOption('--key <file>', 'Ed25519 private key (PEM); made, with FILE.pub beside it, if it is not there')
    .option('--json', 'it is JSON in any case')
    .action((repair: string, options: CertificateOptions) => {
      const chain = readChain(resolve(context.cwd, options.chain), options.chain);
      const checked = verifyChain(chain);
      if (checked.is === 'broken') throw new Failure('chain', `The chain is broken: ${checked.because}. Nothing was signed.`, 'never');
      const head = chain.at(-1);
      const own = chain.filter(({ subject }) => subject === repair).map(({ facts }) => facts as Readonly<Record<string, unknown>>);
      const told = own.find(({ digest }) => typeof digest === 'string');
      if (head === undefined || told === undefined)
        throw new Failure('no-repair', `The chain says nothing of a repair ${repair}.`, 'never');
      const key = privateKey(resolve(context.cwd, options.key), context);
      const signed = signHead(head, new Date(systemClock.nowMs()).toISOString(), key);
      const alsoAbout = ['proposal', 'case'].flatMap((name) => (typeof told[name] === 'string' ? [told[name]] : []));
      const certificate = makeCertificate({
        subject: repair,
        effectDigest: String(told['digest']),
        chain,
        alsoAbout,
        head: signed,
        privateKeyPem: key,
      });
      context.out(JSON.stringify(certificate));
    });
}

function readChain(path: string, shown: string): readonly AuditEntry[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as AuditEntry);
  } catch (error) {
    throw new Failure('chain', `${shown} is not a chain: print one with homeostat audit export.`, 'never', error);
  }
}

function privateKey(path: string, context: CliContext): string {
  if (existsSync(path)) return readFileSync(path, 'utf8');
  const pair = generateKeyPairSync('ed25519');
  const text = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  writeFileSync(path, text, { mode: 0o600, flag: 'wx' });
  writeFileSync(`${path}.pub`, pair.publicKey.export({ type: 'spki', format: 'pem' }).toString());
  context.err(`Made a key: keep ${path} to yourself, publish ${path}.pub.`);
  return text;
}
