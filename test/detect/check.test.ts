import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/config.ts';
import { registerCheck } from '../../src/edge/cli/check.ts';
import { createProgram, runProgram } from '../../src/edge/cli/program.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'homeostat-check-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function check(...args: readonly string[]): Promise<{ code: number; out: string[]; err: string[] }> {
  const seen = { code: 0, out: [] as string[], err: [] as string[] };
  const context = {
    out: (text: string) => void seen.out.push(text),
    err: (text: string) => void seen.err.push(text),
    isTty: false,
    cwd: folder,
    env: {},
    signal: new AbortController().signal,
    exit: (code: number) => {
      seen.code = code;
    },
    loadConfig: () => defaultConfig(),
  };
  await runProgram(createProgram(context, [registerCheck], '0'), context, ['check', ...args]);
  return seen;
}

function attributes(values: Readonly<Record<string, string>>): object[] {
  return Object.entries(values).map(([key, stringValue]) => ({ key, value: { stringValue } }));
}

/** A Java-agent order service: a request, an insert inside `Transaction.commit`, and a send after it; times as it records them. */
function order(trace: number, isOutbox: boolean): string {
  const traceId = trace.toString(16).padStart(32, '0');
  const base = 1_767_600_000_000 + trace * 1000;
  const span = (
    spanId: string,
    parentSpanId: string,
    name: string,
    kind: number,
    fromMs: number,
    toMs: number,
    values: Readonly<Record<string, string>>,
  ) => ({
    traceId,
    spanId: spanId.padStart(16, '0'),
    parentSpanId: parentSpanId === '' ? '' : parentSpanId.padStart(16, '0'),
    name,
    kind,
    startTimeUnixNano: `${base + fromMs}000000`,
    endTimeUnixNano: `${base + toMs}000000`,
    attributes: attributes(values),
  });
  const table = (name: string) => ({ 'db.system': 'mysql', 'db.name': 'shop', 'db.statement': `insert into ${name} (id) values (?)` });
  const spans = [
    span('a', '', '/orders', 2, 0, 40, { 'http.route': '/orders', 'http.method': 'POST' }),
    span('b', 'a', 'Transaction.commit', 1, 5, 20, {}),
    // The child starts a millisecond before its parent, as agents round.
    span('c', 'b', 'INSERT shop.orders', 3, 4, 10, table('orders')),
    ...(isOutbox
      ? [span('d', 'b', 'INSERT shop.outbox', 3, 11, 15, table('outbox'))]
      : [
          span('d', 'a', 'order-events send', 4, 25, 30, {
            'messaging.system': 'kafka',
            'messaging.destination': 'order-events',
            'messaging.operation': 'publish',
          }),
        ]),
  ];
  return JSON.stringify({
    resourceSpans: [{ resource: { attributes: attributes({ 'service.name': 'orders' }) }, scopeSpans: [{ spans }] }],
  });
}

describe('homeostat check', () => {
  it('prints one JSON line for a place seen in several traces, drops duplicates and exits 1', async () => {
    const file = join(folder, 'orders.jsonl.gz');
    writeFileSync(file, gzipSync([order(1, false), order(2, false), order(2, false), order(3, false)].join('\n')));
    const { code, out, err } = await check(file, '--json');
    expect(code).toBe(1);
    expect(out).toHaveLength(1);
    const finding: unknown = JSON.parse(out[0] ?? '');
    expect(finding).toMatchObject({
      kind: 'dual-write',
      grade: 'structural',
      service: 'orders',
      collection: 'orders',
      count: 3,
      complete: true,
    });
    expect(finding).toMatchObject({
      spans: expect.arrayContaining([{ traceId: '1'.padStart(32, '0'), spanId: 'c'.padStart(16, '0') }]),
      fix: expect.stringContaining('outbox'),
    });
    expect(err.join('\n')).toContain('4 duplicate spans dropped');
  });

  it('exits 0 where there is nothing to find', async () => {
    const file = join(folder, 'outbox.jsonl');
    writeFileSync(file, [order(1, true), order(2, true)].join('\n'));
    const { code, out } = await check(file, '--json');
    expect({ code, out }).toEqual({ code: 0, out: [] });
  });

  it('exits 2 with one sentence on what is not OTLP', async () => {
    const file = join(folder, 'broken.json');
    writeFileSync(file, 'not json');
    const { code, out, err } = await check(file, '--json');
    expect({ code, out }).toEqual({ code: 2, out: [] });
    expect(err.join('\n')).toContain('broken.json');
  });

  it('tells lines that cannot be read, checks the rest, and says that the answer is not whole', async () => {
    const file = join(folder, 'torn.jsonl');
    const cut = order(2, false);
    writeFileSync(
      file,
      [order(1, false), '{"resourceSpans": [oops', cut.slice(0, cut.length / 2), order(3, false), 'nonsense', order(4, false)].join('\n'),
    );
    const { code, out, err } = await check(file, '--json');
    expect(code).toBe(2);
    expect(JSON.parse(out[0] ?? '')).toMatchObject({ kind: 'dual-write', count: 3 });
    const told = err.join('\n');
    // Two torn lines in a row could be one value over two lines.
    expect(told).toContain('torn.jsonl:2: the JSON value that begins here is cut off before line 4');
    expect(told).toContain('torn.jsonl:5: not JSON');
    expect(told).toContain('2 parts could not be read');
  });

  it('says so where ids are not written in hexadecimal, and nothing could be looked at', async () => {
    const file = join(folder, 'base64.json');
    writeFileSync(
      file,
      order(1, false).replaceAll(
        /"(traceId|spanId|parentSpanId)":"([0-9a-f]+)"/g,
        (_all, name: string, hex: string) => `"${name}":"${Buffer.from(hex, 'hex').toString('base64')}"`,
      ),
    );
    const { code, err } = await check(file, '--json');
    expect(code).toBe(2);
    expect(err.join('\n')).toContain(
      'base64.json:1: 4 spans with a trace id that is not 16 bytes or is zero; OTLP/JSON writes ids in hexadecimal',
    );
  });

  it('keeps every digit of a version that is written as a number', async () => {
    const write = (nth: number, version: string, base: string): string =>
      `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"${`${nth}`.repeat(32)}","spanId":"${`${nth}`.repeat(16)}","name":"w","kind":3,"startTimeUnixNano":"${nth}000000000","endTimeUnixNano":"${nth}001000000","attributes":[
        {"key":"consistency.object.type","value":{"stringValue":"account"}},{"key":"consistency.object.key","value":{"stringValue":"1"}},{"key":"consistency.operation","value":{"stringValue":"write"}},
        {"key":"consistency.version","value":{"intValue":${version}}},{"key":"consistency.version.base","value":{"intValue": ${base}}}]}]}]}]}`.replaceAll(
        '\n',
        '',
      );
    const file = join(folder, 'long.jsonl');
    // A double takes both bases for one.
    writeFileSync(
      file,
      [write(1, '1152921504606846981', '1152921504606846980'), write(2, '1152921504606846991', '1152921504606846990')].join('\n'),
    );
    expect(await check(file, '--json')).toMatchObject({ code: 0, out: [] });
    writeFileSync(
      file,
      [write(1, '1152921504606846981', '1152921504606846980'), write(2, '1152921504606846982', '1152921504606846980')].join('\n'),
    );
    const { code, out } = await check(file, '--json');
    expect({ code, kinds: out.map((line) => (JSON.parse(line) as { kind: string }).kind) }).toEqual({ code: 1, kinds: ['lost-update'] });
  });

  it('keeps what a gzip file held before it was cut off', async () => {
    const file = join(folder, 'cut.jsonl.gz');
    const lines = Array.from({ length: 3000 }, (_, i) => order(i + 1, false)).join('\n');
    const whole = gzipSync(lines);
    writeFileSync(file, whole.subarray(0, whole.length - 2000));
    const { code, out, err } = await check(file, '--json');
    expect(code).toBe(2);
    expect(JSON.parse(out[0] ?? '').count).toBeGreaterThan(1000);
    expect(err.join('\n')).toContain('cut.jsonl.gz: the gzip data is damaged or cut off');
  });

  it('names a file that is not there before it reads another', async () => {
    const file = join(folder, 'orders-again.jsonl');
    writeFileSync(file, order(1, false));
    const { code, out, err } = await check(file, join(folder, 'gone.jsonl'), '--json');
    expect({ code, out }).toEqual({ code: 2, out: [] });
    expect(err.join('\n')).toContain('gone.jsonl: no such file');
  });

  it('finds the same whatever the order of the lines', async () => {
    const lines = [1, 2, 3, 4, 5, 6].map((trace) => order(trace, trace % 2 === 0));
    const answers = [];
    for (const [nth, text] of [lines, lines.toReversed()].entries()) {
      const file = join(folder, `ordered-${nth}.jsonl`);
      writeFileSync(file, text.join('\n'));
      answers.push((await check(file, '--json')).out);
    }
    expect(answers[0]).toHaveLength(1);
    expect(answers[1]).toEqual(answers[0]);
  });
});
