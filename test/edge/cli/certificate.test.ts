import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { registerAudit } from '../../../src/edge/cli/audit.ts';
import { registerCertificate } from '../../../src/edge/cli/certificate.ts';
import { type CliContext, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { type AuditEntry, nextEntry } from '../../../src/report/audit-chain.ts';

const folder = mkdtempSync(join(tmpdir(), 'certificate-'));
afterAll(() => rmSync(folder, { recursive: true }));

const chain: AuditEntry[] = [];
for (const [actor, action, subject] of [
  ['homeostat', 'proposal.made', 'P1'],
  ['ada', 'domain.frozen', 'ledger'],
  ['ada', 'proposal.approved', 'P1'],
  ['homeostat', 'repair.claimed', 'R1'],
  ['homeostat', 'repair.sealed', 'R1'],
  ['homeostat', 'case.opened', 'C2'],
] as const) {
  chain.push(
    nextEntry(chain.at(-1) ?? null, {
      at: '2026-01-01T00:00:00.000Z',
      actor,
      action,
      subject,
      facts: { proposal: 'P1', case: 'C1', digest: 'd'.repeat(64) },
    }),
  );
}
const written = (name: string, entries: readonly AuditEntry[]): string => {
  writeFileSync(join(folder, name), entries.map((entry) => JSON.stringify(entry)).join('\n'));
  return name;
};

async function run(...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const told = { code: 0, out: '', err: '' };
  const context: CliContext = {
    out: (text) => {
      told.out += `${text}\n`;
    },
    err: (text) => {
      told.err += `${text}\n`;
    },
    isTty: false,
    cwd: folder,
    env: {},
    signal: new AbortController().signal,
    exit: (code) => {
      told.code = code;
    },
    loadConfig: () => expect.fail('no configuration is needed'),
  };
  await runProgram(createProgram(context, [registerCertificate, registerAudit], '0'), context, args);
  return told;
}

test('I8: a repair’s certificate verifies offline, with the published key alone', async () => {
  const made = await run('certificate', 'R1', '--chain', written('chain.jsonl', chain), '--key', 'key.pem');
  expect(made.err).toContain('Made a key');
  expect(statSync(join(folder, 'key.pem')).mode & 0o077).toBe(0);
  writeFileSync(join(folder, 'r1.json'), made.out);
  expect(await run('audit', 'verify', 'r1.json', '--key', 'key.pem.pub')).toMatchObject({
    code: 0,
    out: expect.stringContaining('certificate of R1 is valid: it was verified and sealed. 4 entries'),
  });
  expect(made.out).not.toContain('domain.frozen');

  // The chain without its end is whole by itself; not so for who has a certificate.
  written('end.jsonl', chain.slice(0, -1));
  expect(await run('audit', 'verify', 'end.jsonl')).toMatchObject({ code: 0 });
  expect(await run('audit', 'verify', 'end.jsonl', '--head', 'r1.json', '--key', 'key.pem.pub')).toMatchObject({
    code: 1,
    err: expect.stringContaining('cut off: it ends at 5, and a head was signed at 6'),
  });
  expect(await run('audit', 'verify', 'chain.jsonl', '--head', 'r1.json', '--key', 'key.pem.pub')).toMatchObject({ code: 0 });
  expect(await run('audit', 'verify', 'chain.jsonl', '--head', 'r1.json')).toMatchObject({ code: 2 });

  writeFileSync(join(folder, 'forged.json'), readFileSync(join(folder, 'r1.json'), 'utf8').replace('"actor":"ada"', '"actor":"bob"'));
  expect(await run('audit', 'verify', 'forged.json', '--key', 'key.pem.pub')).toMatchObject({
    code: 1,
    err: expect.stringContaining('is not valid'),
  });
});

test('a broken chain is not vouched for, and a repair must be in it', async () => {
  const cut = written('cut.jsonl', chain.slice(1));
  expect(await run('certificate', 'R1', '--chain', cut, '--key', 'key.pem')).toMatchObject({
    code: 2,
    err: expect.stringContaining('Nothing was signed'),
  });
  expect(await run('certificate', 'R9', '--chain', written('chain.jsonl', chain), '--key', 'key.pem')).toMatchObject({
    code: 2,
    err: expect.stringContaining('says nothing of a repair R9'),
  });
  expect(await run('certificate', 'R1', '--chain', 'nowhere', '--key', 'key.pem')).toMatchObject({
    code: 2,
    err: expect.stringContaining('is not a chain'),
  });
});

test('a chain without any entry proves nothing', async () => {
  written('emptied.jsonl', []);
  const { code, out, err } = await run('audit', 'verify', 'emptied.jsonl');
  expect(code).toBe(1);
  expect(`${out}${err}`).toContain('emptied.jsonl holds no entry: all of them may have been taken out');
});
