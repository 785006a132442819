import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Config, loadConfig } from '../../../src/config.ts';
import { type CliContext, commandsFor, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { commands } from '../../../src/edge/cli/registry.ts';
import { readAuditChain } from '../../../src/io/store/audit.ts';
import { until } from '../../integration/estate.ts';
import { type LedgerEstate, people, startLedgerEstate } from '../ledger-estate.ts';

interface Ran {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

/** The whole program with these arguments, as a shell would see it. */
async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const out: string[] = [];
  const err: string[] = [];
  let code = 0;
  const context: CliContext = {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    isTty: false,
    cwd: tmpdir(),
    env,
    signal: new AbortController().signal,
    exit: (next) => {
      code = next;
    },
    loadConfig: (path = 'homeostat.yaml'): Config => loadConfig(path, env),
  };
  await runProgram(createProgram(context, await commandsFor(commands, args), '0.0.0'), context, args);
  return { out: out.join('\n'), err: err.join('\n'), code };
}

describe('commands that talk to the service', () => {
  let ledger: LedgerEstate;
  let dir: string;
  let digest: string;
  const as = (who: keyof typeof people, ...args: readonly string[]): Promise<Ran> =>
    run([...args, '--url', ledger.api.url, '--token', people[who].token]);
  beforeAll(async () => {
    ledger = await startLedgerEstate([7]);
    digest = (await ledger.waiting(1))[0]?.digest ?? '';
    dir = await mkdtemp(join(tmpdir(), 'homeostat-cli-'));
  });
  afterAll(async () => {
    await ledger.close();
    await rm(dir, { recursive: true, force: true });
  });

  it('list and show what waits, with the command that approves it', async () => {
    const listed = await as('vera', 'proposals', 'list');
    expect(listed).toMatchObject({ code: 0, err: '' });
    expect(listed.out).toContain('P1  ledger');
    const lines = (await as('vera', 'proposals', 'list', '--json')).out
      .split('\n')
      .map((line) => JSON.parse(line) as { readonly id: string });
    expect(lines.map((line) => line.id)).toEqual(['P1']);
    const shown = await as('alice', 'proposals', 'show', 'P1');
    expect(shown.out).toContain('balance "957" -> "1007"');
    expect(shown.out).toContain(`approve P1 --digest ${digest.slice(0, 16)}`);
  });

  it('refuse another digest in one sentence, and approve the right one', async () => {
    const wrong = await as('alice', 'proposals', 'approve', 'P1', '--digest', '0123456789abcdef');
    expect(wrong.code).toBe(2);
    expect(wrong.err.split('\n')).toHaveLength(1);
    const viewer = await as('vera', 'proposals', 'approve', 'P1', '--digest', digest.slice(0, 16));
    expect(viewer.err).toContain('(rule: role)');
    expect((await as('alice', 'proposals', 'approve', 'P1', '--digest', digest.slice(0, 16))).out).toBe(
      'Approved by 1 of 2; it waits for 1 more person.',
    );
    expect((await as('bob', 'proposals', 'approve', 'P1', '--digest', digest)).out).toContain('Approved; repair R1');
    await until(async () => (await as('vera', 'repairs', 'list', '--state', 'sealed')).out.includes('R1'), 'R1 is sealed');
    expect(await ledger.balance('us', 7)).toBe('1007.00');
  });

  it('undo, and export outcomes for fine-tuning', async () => {
    expect((await as('olga', 'repairs', 'undo', 'R1', '--reason', 'try')).code).toBe(0);
    await until(async () => (await as('vera', 'repairs', 'list', '--state', 'compensated')).out.includes('R1'), 'R1 is undone');
    const lines = (await as('vera', 'outcomes', 'export', '--format', 'openai-jsonl')).out.split('\n');
    expect(JSON.parse(lines[0] ?? '')).toHaveProperty('messages');
    expect((await as('vera', 'outcomes', 'export', '--format', 'csv')).code).toBe(2);
  });

  it('verify an exported chain offline, and see one changed word', async () => {
    const chain: string[] = [];
    for await (const entry of readAuditChain(ledger.estate.database)) chain.push(JSON.stringify(entry));
    const file = join(dir, 'chain.jsonl');
    await writeFile(file, chain.join('\n'));
    const whole = await run(['audit', 'verify', file]);
    expect(whole).toMatchObject({ code: 0 });
    expect(whole.out).toContain(`The chain is whole: ${chain.length} entries`);
    await writeFile(file, chain.join('\n').replace('"alice"', '"mallory"'));
    const broken = await run(['audit', 'verify', file]);
    expect(broken.code).toBe(1);
    expect(broken.err).toContain('was changed');
    await writeFile(file, chain.toSpliced(2, 1).join('\n'));
    expect((await run(['audit', 'verify', file])).err).toContain('is missing');
  });

  it('say in one sentence what to do where nothing runs', async () => {
    expect(await run(['proposals', 'list', '--data', join(dir, 'nothing')])).toMatchObject({ code: 2, out: '' });
    const down = await run(['proposals', 'list', '--url', 'http://127.0.0.1:9', '--token', 'x']);
    expect(down.err).toBe('the service at http://127.0.0.1:9 does not answer: start it with homeostat start, or name another with --url.');
    expect((await run(['proposals', 'aprove'])).err).toContain('approve');
    expect((await run(['audit', 'verify', '--data', join(dir, 'nothing')])).code).toBe(2);
  });

  it('doctor names each problem of a config by line, and ends with 1', async () => {
    const file = join(dir, 'homeostat.yaml');
    await writeFile(file, 'domains:\n  ledger: { consistency: strikt }\ncolections: {}\n');
    const sick = await run(['doctor', '--config', file, '--data', dir]);
    expect(sick.code).toBe(1);
    expect(sick.out).toContain(`${file}:2: domains.ledger.consistency`);
    expect(sick.out).toContain(`${file}:3: colections: there is no such key; did you mean collections?`);
    const replicas = Object.fromEntries(
      (ledger.estate.collections['accounts']?.replicas ?? []).map((replica) => [replica.id, { url: replica.url, table: 'profiles' }]),
    );
    await writeFile(
      file,
      JSON.stringify({
        domains: { ledger: { consistency: 'strict' } },
        collections: { accounts: { domain: 'ledger', key: ['id'], replicas } },
      }),
    );
    const well = await run(['doctor', '--config', file, '--data', dir]);
    expect(well.out).toContain('5 columns are compared, key id');
    expect(well.code).toBe(0);
    const [us] = Object.values(replicas);
    await writeFile(
      file,
      JSON.stringify({
        domains: { ledger: { consistency: 'strict' } },
        collections: {
          accounts: { domain: 'ledger', key: ['id'], replicas: { ...replicas, ap: { ...us, url: 'postgres://u:p@127.0.0.1:9/x' } } },
        },
      }),
    );
    const down = await run(['doctor', '--config', file, '--data', dir]);
    expect(down.code).toBe(1);
    expect(down.out).toMatch(/BAD {3}accounts\.ap: /);
    await writeFile(file, JSON.stringify({ ingest: { tls: { cert: 'no.pem', key: 'no-key.pem' } } }));
    const bare = await run(['doctor', '--config', file, '--data', dir]);
    expect(bare.code).toBe(1);
    expect(bare.out).toMatch(/BAD {3}ingest: the certificate .*no\.pem cannot be read; correct ingest\.tls/);
  });
});
