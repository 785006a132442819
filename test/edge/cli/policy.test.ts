import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import type { Outcome } from '../../../src/domain/outcome.ts';
import { registerPolicy } from '../../../src/edge/cli/policy.ts';
import { type CliContext, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { proposalOf, update } from '../../guard/guard-facts.ts';

const folder = mkdtempSync(join(tmpdir(), 'policy-'));
afterAll(() => rmSync(folder, { recursive: true }));

const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const good = write(
  'rows.cedar',
  '@id("large-repair") @reason("More than 2 rows.") forbid(principal, action == Action::"repair-automatically", resource) when { context.rows > 2 && resource.risk != "none" };',
);
const bad = write('bad.cedar', '@id("x") @reason("y") forbid(principal, action, resource) when { context.rowz > 1 };');
write(
  'homeostat.yaml',
  `domains:
  profiles: { consistency: eventual, repair: { mode: auto, rowsPerHour: 500 } }
collections:
  profiles:
    domain: profiles
    key: [id]
    replicas:
      eu: { url: postgres://127.0.0.1/eu }
      us: { url: postgres://127.0.0.1/us }
`,
);

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
  await runProgram(createProgram(context, [registerPolicy], '0'), context, args);
  return written;
}

describe('policy check', () => {
  test('tells a name that nothing has: the guard would never speak', async () => {
    const guard = (when: string, resource = 'resource'): string =>
      write('name.cedar', `@id("x") @reason("y") forbid(principal, action, ${resource}) when { ${when} };`);
    expect(await run('policy', 'check', guard('context.strategy == "last-writer-winz"'))).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no strategy "last-writer-winz"; there are authority'),
    });
    expect(await run('policy', 'check', guard('["saturday", "sonday"].contains(context.weekdayUtc)'))).toMatchObject({
      code: 1,
      err: expect.stringContaining('"sonday"'),
    });
    const misspelt = guard('context.rows > 1', 'resource in Domain::"profile"');
    expect(await run('policy', 'check', misspelt)).toMatchObject({ code: 0 });
    expect(await run('policy', 'check', misspelt, '--config', 'homeostat.yaml')).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no domain "profile"; there are profiles'),
    });
    const right = guard('context.replicas.contains("us") && resource.mode == "auto"', 'resource in Domain::"profiles"');
    expect(await run('policy', 'check', right, '--config', 'homeostat.yaml')).toMatchObject({ code: 0 });
  });

  test('says that nothing is wrong, exit 0', async () => {
    expect(await run('policy', 'check', good)).toEqual({ code: 0, out: '1 policy, nothing wrong.\n', err: '' });
    expect(JSON.parse((await run('policy', 'check', good, '--json')).out)).toMatchObject({ ok: true, policies: ['large-repair'] });
  });
  test('names what is wrong, exit 1', async () => {
    expect(await run('policy', 'check', bad)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/bad\.cedar: line \d+: policy "x".*rowz/),
    });
    expect(JSON.parse((await run('policy', 'check', bad, '--json')).out)).toMatchObject({
      ok: false,
      problems: [expect.stringContaining('rowz')],
    });
  });
  test('checks a directory as one set, and cannot check what is not there: exit 2', async () => {
    expect((await run('policy', 'check', folder)).code).toBe(1);
    expect(await run('policy', 'check', 'nowhere.cedar')).toMatchObject({ code: 2, err: expect.stringContaining('cannot be read') });
  });
});

test('policy schema prints what a policy can look at', async () => {
  expect((await run('policy', 'schema')).out).toContain('confidencePercent: Long');
});

describe('policy explain', () => {
  test('says what each policy does and looks at', async () => {
    const { out, code } = await run('policy', 'explain', good);
    expect(code).toBe(0);
    expect(out).toContain('large-repair: keeps it from running by itself: people decide.');
    expect(out).toContain('looks at context.rows, resource.risk');
  });
  test('says what the guard makes of one proposal, with the nearest change', async () => {
    const file = write('proposal.json', JSON.stringify(proposalOf([update('1'), update('2'), update('3')])));
    const { out } = await run('policy', 'explain', good, '--proposal', file);
    expect(out).toContain('review: 1 person');
    expect(out).toContain('large-repair forbids auto: More than 2 rows.');
    expect(out).toContain('nearest change: rows at most 2 (now 3)');
  });
});

describe('policy backtest', () => {
  const line = (index: number, rows: number, is: Outcome['is']): string => {
    const effects = Array.from({ length: rows }, (_, row) => update(String(row)));
    const proposal = {
      ...proposalOf(effects),
      id: `P${index}`,
      createdAtMs: index * 7_200_000,
      expiresAtMs: index * 7_200_000 + 1_800_000,
    };
    const outcome: Outcome = {
      proposalId: proposal.id,
      caseId: 'C1',
      domain: 'profiles',
      collection: 'profiles',
      strategy: 'authority',
      chosenBy: 'heuristic',
      is,
      confidence: 0.97,
      rows,
      atMs: proposal.createdAtMs + 1_000,
    };
    return JSON.stringify({ proposal, outcome });
  };

  test('says what would have been applied, and how much of that was later undone', async () => {
    const history = write(
      'history.jsonl',
      [line(1, 1, 'verified'), line(2, 2, 'verified'), line(3, 3, 'undone'), line(4, 5, 'verified')].join('\n'),
    );
    const { out, code } = await run('policy', 'backtest', good, '--history', history);
    // The failure of the third costs the strategy its autonomy, so the fourth would have waited for two reasons.
    expect(out).toContain(
      'Of 4 past repairs it would have auto-applied 2, 0 of them later undone or rejected; 2 would have waited for people, 0 would have been denied',
    );
    expect(out).toContain('P3: auto becomes review');
    expect(code).toBe(0);
  });
  test('exits 1 where it would have applied what was undone', async () => {
    const history = write('history.jsonl', line(1, 1, 'undone'));
    const { out, code } = await run('policy', 'backtest', good, '--history', history, '--json');
    expect(JSON.parse(out)).toMatchObject({ repairs: 1, auto: 1, autoWrong: 1 });
    expect(code).toBe(1);
  });
  test('names the line that it cannot read', async () => {
    const history = write('history.jsonl', `${line(1, 1, 'verified')}\nnonsense`);
    expect(await run('policy', 'backtest', good, '--history', history)).toMatchObject({ code: 2, err: expect.stringContaining('line 2') });
  });
});
