import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configJsonSchema } from '../src/config-schema.ts';
import { defaultConfig, parseConfig } from '../src/config.ts';

const contract = `database: embedded            # or postgres://...
queue: database               # or redis://... , or a list of cluster nodes
llm: { baseUrl: http://localhost:11434/v1, model: qwen3, apiKeyEnv: OPENAI_API_KEY }   # absent: heuristics alone
domains:
  ledger:   { consistency: strict, residency: [eu], repair: { mode: review, approvals: 2 } }
  profiles: { consistency: eventual, stalenessMs: 30000, repair: { mode: auto, rowsPerHour: 500 } }
collections:
  accounts:
    domain: ledger
    key: [id]
    columns: { balance: { class: money }, updated_at: { class: clock } }
    invariants: [ "sum(balance) is unchanged" ]
    authority: eu
    replicas:
      eu: { url: postgres://eu/bank, table: public.accounts, region: eu, role: leader }
      us: { url: postgres://us/bank, table: public.accounts, region: us, role: peer }
      cache: { url: redis://us, key: "account:{id}", value: json, region: us, role: cache }
policies: ./policies
`;

function problemsOf(text: string, env: Record<string, string> = {}): string[] {
  const parsed = parseConfig(text, '/etc/homeostat.yaml', env, { strategies: ['authority', 'majority'] });
  return parsed.is === 'problems' ? parsed.problems.map((problem) => `${problem.line} ${problem.key}: ${problem.says}`) : [];
}

/** The contract's example with one text replaced, so that a test shows only what it breaks. */
function broken(from: string, to: string): string[] {
  expect(contract).toContain(from);
  return problemsOf(contract.replace(from, to));
}

describe('config', () => {
  it('gives domain nouns with defaults for what the file leaves out', () => {
    const parsed = parseConfig(contract, '/etc/homeostat.yaml', {});
    if (parsed.is !== 'config') throw new Error(JSON.stringify(parsed.problems));
    const { config } = parsed;
    expect(config.domains['ledger']).toMatchObject({
      name: 'ledger',
      risk: 'high',
      stalenessMs: 10_000,
      repair: { mode: 'review', approvals: 2, undoHours: 24 },
    });
    expect(config.collections['accounts']).toMatchObject({
      key: ['id'],
      columnClasses: { balance: 'money', updated_at: 'clock' },
      authority: 'eu',
      scanEveryMs: 60_000,
    });
    expect(
      config.collections['accounts']?.replicas.map((replica) => [replica.id, replica.engine, replica.table ?? replica.keyTemplate]),
    ).toEqual([
      ['eu', 'postgres', 'public.accounts'],
      ['us', 'postgres', 'public.accounts'],
      ['cache', 'redis', 'account:{id}'],
    ]);
    expect(config.policies).toBe('/etc/policies');
    expect(config.warnings).toHaveLength(2);
    expect(Object.isFrozen(config.collections['accounts']?.replicas[0])).toBe(true);
  });

  it('stands on defaults alone', () => {
    expect(defaultConfig()).toMatchObject({ database: 'embedded', queue: 'database', collections: {}, people: [] });
  });

  it.each([
    [
      'a typo in a key',
      'residency: [eu]',
      'residencey: [eu]',
      '5 domains.ledger.residencey: there is no such key; did you mean residency?',
    ],
    [
      'a key without its unit',
      'stalenessMs: 30000',
      'staleness: 30000',
      '6 domains.profiles.staleness: there is no such key; did you mean stalenessMs?',
    ],
    [
      'a value with another unit',
      'stalenessMs: 30000',
      'stalenessMs: 30s',
      '6 domains.profiles.stalenessMs: "30s" has a unit of its own; stalenessMs is in milliseconds: write 30000.',
    ],
    [
      'a number out of bounds',
      'approvals: 2',
      'approvals: 0',
      '5 domains.ledger.repair.approvals: 0 is below the least, 1; write 1 or more.',
    ],
    [
      'an unknown domain',
      'domain: ledger',
      'domain: leger',
      '9 collections.accounts.domain: there is no domain leger; did you mean ledger?',
    ],
    [
      'an authority that is no replica',
      'authority: eu',
      'authority: ap',
      '13 collections.accounts.authority: there is no replica ap; known are eu, us, cache.',
    ],
    [
      'an unknown promise',
      'consistency: strict',
      'consistency: strikt',
      '5 domains.ledger.consistency: "strikt" is not known; did you mean strict? (strict, session, bounded, eventual)',
    ],
    ['a missing key', 'key: [id]', '', '8 collections.accounts: key is missing; add it (Key columns, in order).'],
    [
      'a URL that no connector knows',
      'url: postgres://us/bank',
      'url: oracle://us/bank',
      '16 collections.accounts.replicas.us.url: not a URL that a connector knows; begin it with postgres://, mysql://, redis:// or https://.',
    ],
    [
      'a key template without the key',
      '"account:{id}"',
      '"account:{ID}"',
      '17 collections.accounts.replicas.cache.key: the template does not name the key column id; add {id}.',
    ],
    [
      'an alias of what is not there',
      'consistency: strict,',
      'consistency: *strict,',
      '5 : there is no &strict before *strict; write one, or put the alias in quotes if it is a text.',
    ],
    ['a second document', 'policies: ./policies', '---\nqueue: database', '18 : a second document begins here; keep one, without ---.'],
    ['a duplicate key', 'policies: ./policies', 'queue: database', '18 : the key queue stands twice; keep one.'],
    [
      'an unknown strategy',
      'authority: eu',
      'strategy: majorty',
      '13 collections.accounts.strategy: there is no strategy majorty; did you mean majority?',
    ],
    [
      'a variable that is not set',
      'postgres://us/bank',
      'postgres://u:${US_PASSWORD}@us/bank',
      '16 collections.accounts.replicas.us.url: the environment has no US_PASSWORD; set it, or write ${US_PASSWORD:-default}.',
    ],
    [
      'a list where text belongs',
      'domain: ledger',
      'domain: [ledger]',
      '9 collections.accounts.domain: ["ledger"] is not a text; write a text.',
    ],
  ])('says line, key and fix for %s', (_what, from, to, says) => {
    expect(broken(from, to)).toContain(says);
  });

  it('refuses aliases of aliases that would not fit into memory', () => {
    const ten = (name: string, of: string): string => `${name}: &${name} [${Array.from({ length: 10 }, () => of).join(', ')}]\n`;
    const text = ['b', 'c', 'd', 'e', 'f', 'g'].map((name, n) => ten(name, n === 0 ? '1' : `*${'abcdef'[n]}`)).join('');
    expect(problemsOf(text)).toEqual(['1 : aliases repeat too much of the file; write out what they stand for.']);
  });

  it('asks for a second replica', () => {
    const lonely = contract
      .split('\n')
      .filter((line) => !/^ {6}(us|cache):/.test(line))
      .join('\n');
    expect(problemsOf(lonely)).toEqual([
      '14 collections.accounts.replicas: eu is the only replica: nothing can be compared; add a second one.',
    ]);
  });

  it('says all problems at once, in the order of the lines', () => {
    const twice = contract.replace('mode: auto', 'mode: atuo').replace('class: money', 'clas: money');
    expect(problemsOf(twice).map((says) => says.split(' ')[0])).toEqual(['6', '11']);
  });

  it('takes secrets from the environment and never shows one', () => {
    const text = contract.replace('postgres://us/bank', 'postgres://u:${US_PASSWORD}@us/bank');
    const parsed = parseConfig(text, '/f.yaml', { US_PASSWORD: 'hunter2' });
    expect(parsed.is === 'config' && parsed.config.collections['accounts']?.replicas[1]?.url).toBe('postgres://u:hunter2@us/bank');
    expect(problemsOf('database: mysql://u:hunter2@host/db').join()).not.toContain('hunter2');
  });

  it('takes what exporters need: token, TLS files beside the config, patterns of log texts', () => {
    const ingest = `ingest:
  token: \${INGEST_TOKEN}
  tls: { cert: tls/cert.pem, key: /run/key.pem }
  logKeys:
    - { pattern: 'order (?<key>\\d+) shipped', collection: accounts }
`;
    const parsed = parseConfig(contract + ingest, '/etc/homeostat.yaml', { INGEST_TOKEN: 'a token of sixteen' });
    expect(parsed.is === 'config' && parsed.config.ingest).toMatchObject({
      token: 'a token of sixteen',
      tls: { cert: '/etc/tls/cert.pem', key: '/run/key.pem' },
      logKeys: [{ pattern: 'order (?<key>\\d+) shipped', collection: 'accounts', operation: 'write' }],
    });
    const wrong = (text: string): string[] => {
      const read = parseConfig(`ingest:\n${text}`, '/f.yaml', {});
      return read.is === 'problems' ? read.problems.map(({ line, key, says }) => `${line} ${key}: ${says}`) : [];
    };
    expect(wrong("  logKeys: [{ pattern: 'order (\\d+)', collection: orders }]\n")).toEqual([
      '2 ingest.logKeys.0.pattern: has no group (?<key>...); put one around what names the object.',
    ]);
    expect(wrong("  logKeys: [{ pattern: '(?<key>a)(?=b)', collection: orders }]\n").join()).toMatch(
      /not a regular expression that RE2 can run/,
    );
    expect(wrong('  token: short\n').join()).toMatch(/2 ingest.token: too short; 16 or more characters/);
    expect(wrong('  tls: { cert: a.pem }\n').join()).toMatch(/key is missing/);
  });

  it('says of a quorum of clients what cannot be, and of a target what kind it may be of', () => {
    const wrong = (ring: string, more = ''): string[] => problemsOf(`${contract}targets:\n  ring: { ${ring} }\n${more}`);
    const fine = 'kind: client-quorum, collections: [accounts], replicas: [a, b, c], read: 1, write: 1';
    expect(wrong(fine)).toEqual([]);
    expect(wrong(fine.replace('[accounts]', '[acounts]'))).toEqual([
      '20 targets.ring.collections: there is no collection acounts; did you mean accounts?',
    ]);
    expect(wrong(fine.replace('read: 1, write: 1', 'read: 4, write: 5, faults: 3'))).toEqual([
      '20 targets.ring.read: a read cannot wait for 4 of 3 replicas; write 3 or less.',
      '20 targets.ring.write: a write cannot wait for 5 of 3 replicas; write 3 or less.',
      '20 targets.ring.faults: nothing goes on once 3 of 3 replicas are lost; write 2 or less.',
    ]);
    expect(wrong(fine.replace('a, b, c', 'a, b, a'))).toEqual(['20 targets.ring.replicas: a replica stands twice; name each once.']);
    expect(wrong(fine, `  again: { ${fine} }\n`)).toEqual([
      '21 targets.again.collections: accounts is also in targets.ring; name it in one of them.',
    ]);
    expect(wrong(fine.replace('read: 1', 'reads: 1'))).toEqual([
      '20 targets.ring: read is missing; add it (Answers that a read waits for now (R)).',
      '20 targets.ring.reads: there is no such key; did you mean read?',
    ]);
    // A ring that nothing here connects to is looked at in traces alone; whatever else has no replicas was forgotten.
    const ring = `${contract.replace('policies:', '  carts: { domain: profiles, key: [id] }\npolicies:')}targets:\n  ring: { ${fine} }\n`;
    expect(problemsOf(ring)).toEqual(['18 collections.carts.replicas: there is no replica: nothing can be compared; add a second one.']);
    expect(problemsOf(ring.replace('[accounts]', '[carts]'))).toEqual([]);
    expect(wrong(fine.replace('client-quorum', 'client-quorom'))).toEqual([
      '20 targets.ring.kind: "client-quorom" is not known; did you mean client-quorum? (redis-cluster, postgres-quorum, client-quorum)',
    ]);
    expect(wrong(fine.replace('kind: client-quorum, ', ''))).toEqual([
      '20 targets.ring: kind is missing; add one of redis-cluster, postgres-quorum, client-quorum.',
    ]);
  });

  it('has a JSON Schema in the package that is current', () => {
    const file = new URL('../schema/homeostat.schema.json', import.meta.url);
    const text = `${JSON.stringify(configJsonSchema(), null, 2)}\n`;
    if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(file, text);
    expect(readFileSync(file, 'utf8'), 'run UPDATE_SCHEMA=1 npx vitest run test/config.test.ts').toBe(text);
  });
});
