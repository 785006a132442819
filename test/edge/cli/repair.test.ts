import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { registerRepair } from '../../../src/edge/cli/repair.ts';
import { type CliContext, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { startPostgres } from '../../servers/postgres.ts';

const folder = mkdtempSync(join(tmpdir(), 'repair-'));
let server: Awaited<ReturnType<typeof startPostgres>>;
const urls: Record<string, string> = {};

beforeAll(async () => {
  server = await startPostgres();
  for (const name of ['eu', 'us']) {
    const url = await server.createDatabase(name);
    urls[name] = url;
    await query(url, 'create table accounts (id int primary key, owner text, balance numeric(12,2))');
    await query(url, "insert into accounts values (1, 'ada', 10), (2, 'bob', 20)");
  }
  writeFileSync(
    join(folder, 'homeostat.yaml'),
    `domains:
  ledger: { consistency: strict, repair: { mode: review, approvals: 2 } }
collections:
  accounts:
    domain: ledger
    key: [id]
    columns: { balance: { class: money } }
    invariants: ["sum(balance) is unchanged"]
    authority: eu
    replicas:
      eu: { url: ${urls['eu']}, role: leader }
      us: { url: ${urls['us']} }
`,
  );
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

async function query(url: string, text: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

async function run(...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const written = { code: 0, out: '', err: '' };
  const context: CliContext = {
    out: (text) => {
      written.out += `${text}\n`;
    },
    err: (text) => {
      written.err += `${text}\n`;
    },
    isTty: false,
    cwd: folder,
    env: {},
    signal: new AbortController().signal,
    exit: (code) => {
      written.code = code;
    },
    loadConfig: (path) => loadConfig(join(folder, path ?? 'homeostat.yaml'), {}),
  };
  await runProgram(createProgram(context, [registerRepair], '0'), context, ['repair', ...args]);
  return written;
}

describe('repair --dry-run', () => {
  test('equal replicas: nothing to repair, exit 0', async () => {
    expect(await run('accounts', '--dry-run')).toEqual({ code: 0, out: 'accounts: the replicas are equal, nothing to repair.\n', err: '' });
  });

  test('prints the effects as a proposal with its verdict, and writes nothing', async () => {
    await query(urls['us'] ?? '', 'update accounts set balance = 15 where id = 2; delete from accounts where id = 1');
    const { out, code } = await run('accounts', '--strategy', 'authority', '--dry-run');
    expect(code).toBe(0);
    expect(out).toContain(
      '1 row of accounts is missing in us and 1 row of accounts differs in us (balance). Repairing them makes all replicas equal.',
    );
    expect(out).toContain('update on us {"id":"2"} balance "15" → "20"');
    expect(out).toContain('sum(balance) is unchanged holds');
    expect(out).toContain('The guard would say: review, 2 people');
    expect(out).toContain('money-column');
    expect(await query(urls['us'] ?? '', 'select balance::text from accounts')).toEqual([{ balance: '15.00' }]);

    const json = JSON.parse((await run('accounts', '--strategy', 'authority', '--dry-run', '--json')).out) as {
      proposal: { effects: unknown[]; digest: string };
      verdict: { is: string };
    };
    expect(json).toMatchObject({
      verdict: { is: 'review' },
      proposal: { strategy: 'authority', simulation: { digestsEqual: true, inverseRestores: true } },
    });
    expect(json.proposal.effects).toHaveLength(2);
    expect(json.proposal.digest).toMatch(/^[0-9a-f]{64}$/);
  });

  test('a strategy that does not settle it says why, exit 1', async () => {
    expect(await run('accounts', '--strategy', 'majority', '--dry-run')).toMatchObject({
      code: 1,
      err: expect.stringContaining('a majority needs at least three replicas'),
    });
  });

  test.each([
    [['accounts', '--strategy', 'magic', '--dry-run'], 'There is no strategy magic'],
    [['nothing', '--dry-run'], 'There is no collection nothing'],
    [['accounts'], 'add --dry-run'],
  ])('%j is one clear sentence, exit 2', async (args, words) => {
    expect(await run(...args)).toMatchObject({ code: 2, err: expect.stringContaining(words) });
  });
});
