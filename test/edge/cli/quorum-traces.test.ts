import { gzipSync } from 'node:zlib';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Failure } from '../../../src/base/failure.ts';
import { type CliContext, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { registerQuorum } from '../../../src/edge/cli/quorum.ts';

let cwd = '';
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'quorum-cli-'));
});
afterAll(() => rm(cwd, { recursive: true }));

async function run(...args: readonly string[]): Promise<{ readonly out: string; readonly err: string; readonly code: number }> {
  const out: string[] = [];
  const err: string[] = [];
  let code = 0;
  const context: CliContext = {
    out: (text) => out.push(text),
    err: (text) => err.push(text),
    isTty: false,
    cwd,
    env: {},
    signal: new AbortController().signal,
    exit: (value) => {
      code = value;
    },
    loadConfig: () => {
      throw new Failure('config', 'this command needs no config', 'never');
    },
  };
  await runProgram(createProgram(context, [registerQuorum], '0.0.0'), context, ['quorum', ...args]);
  return { out: out.join('\n'), err: err.join('\n'), code };
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });

/** What a client sends to its replicas in one operation: milliseconds there and back by replica, all sent at once. */
function line(nth: number, operation: 'read' | 'write', trips: Readonly<Record<string, number>>, type = 'carts', version = nth): string {
  const startMs = 1_700_000_000_000 + 100 * nth;
  const spans = Object.entries(trips).map(([replica, tripMs], i) => ({
    traceId: hex(nth + 1, 32),
    spanId: hex(16 * (nth + 1) + i, 16),
    parentSpanId: hex(nth + 1, 16),
    name: operation,
    kind: 3,
    startTimeUnixNano: `${startMs}000000`,
    endTimeUnixNano: `${startMs + tripMs}000000`,
    attributes: [
      text('consistency.operation', operation),
      text('consistency.object.type', type),
      text('consistency.object.key', `cart-${nth % 7}`),
      text('consistency.replica.id', replica),
      // Of what reads are told, b is one behind.
      { key: 'consistency.version', value: { intValue: String(operation === 'read' && replica === 'b' ? version - 1 : version) } },
    ],
  }));
  return JSON.stringify({ resourceSpans: [{ resource: { attributes: [text('service.name', 'shop')] }, scopeSpans: [{ spans }] }] });
}

/** Writes are at a, b and c after 1, 5 and 15 ms and known to be after 2, 10 and 30; reads ask b first, which answers after 4 ms. */
function cartLines(count: number, type = 'carts'): string[] {
  return Array.from({ length: count }, (_, i) =>
    i % 2 === 0 ? line(i, 'write', { a: 2, b: 10, c: 30 }, type) : line(i, 'read', { a: 20, b: 4, c: 30 }, type),
  );
}

interface Answer {
  readonly replicas: readonly string[];
  readonly traced: unknown;
  readonly settings: readonly {
    readonly r: number;
    readonly w: number;
    readonly fresh: number;
    readonly freshLow: number;
    readonly freshHigh: number;
    readonly readP99Ms: number;
    readonly writeP99Ms: number;
    readonly curve: readonly { readonly afterMs: number; readonly fresh: number }[];
  }[];
  readonly chosen: unknown;
  readonly because: string;
  readonly commands: readonly string[];
}

describe('homeostat quorum of traces', () => {
  it('tells what known latencies give, and chooses under the promises', async () => {
    await writeFile(join(cwd, 'carts.jsonl'), `${cartLines(400).join('\n')}\n`);
    await writeFile(join(cwd, 'promises.json'), JSON.stringify({ slo: { freshShare: 0.999 }, current: { r: 3, w: 3 }, trials: 2_000 }));
    const { out, err, code } = await run('carts.jsonl', '--promises', 'promises.json', '--json');
    expect({ err, code }).toEqual({ err: '', code: 0 });
    const answer = JSON.parse(out) as Answer;
    const of = (r: number, w: number): Answer['settings'][number] | undefined => answer.settings.find((one) => one.r === r && one.w === w);
    expect(answer.replicas).toEqual(['a', 'b', 'c']);
    // The write is known after 2 ms, the question is at b 2 ms later, and the write at 5 ms.
    expect(of(1, 1)).toMatchObject({ fresh: 0, freshLow: 0, freshHigh: 0, readP99Ms: 4, writeP99Ms: 2 });
    expect(of(1, 1)?.curve.slice(0, 2)).toEqual([
      { afterMs: 0, fresh: 0 },
      { afterMs: 1, fresh: 1 },
    ]);
    expect(of(2, 1)).toMatchObject({ fresh: 1, freshLow: 1, readP99Ms: 20 });
    expect(of(1, 2)).toMatchObject({ fresh: 1, freshLow: 1, writeP99Ms: 10 });
    expect(answer.chosen).toEqual({ r: 1, w: 2 });
    expect(answer.commands[0]).toBe(
      "Cassandra: CONSISTENCY ONE for reads and CONSISTENCY QUORUM for writes, in the driver's execution profiles",
    );
    expect(answer.traced).toEqual({
      collection: 'carts',
      writes: 200,
      reads: 200,
      leftOut: { otherReplicas: 0, alone: 0, failed: 0, repeated: 0 },
      staleAsCounted: { reads: 200, byR: [1, 0, 0] },
    });
  });

  it('says the same in words, of a gzipped file too', async () => {
    await writeFile(join(cwd, 'carts.jsonl.gz'), gzipSync(cartLines(400).join('\n')));
    const { out, code } = await run('carts.jsonl.gz');
    expect(code).toBe(0);
    expect(out).toContain('carts: 200 writes and 200 reads that went to all replicas; left out: 0 not to all of them');
    expect(out).toContain('of 200 with versions, 100 % stale at R=1, 0 % stale at R=2');
    expect(out).toContain('0.0000 to 0.0000');
  });

  it('keeps a promise only surely: what the unknown halves of trips may break is not chosen', async () => {
    // Most writes to b take 10 ms, some 12: these 2 may be lost on either way.
    const lines = Array.from({ length: 600 }, (_, i) =>
      i % 2 === 0 ? line(i, 'write', { a: 6, b: i % 6 === 0 ? 12 : 10, c: 30 }) : line(i, 'read', { a: 20, b: 1, c: 30 }),
    );
    await writeFile(join(cwd, 'halves.jsonl'), lines.join('\n'));
    await writeFile(join(cwd, 'halves.json'), JSON.stringify({ slo: { freshShare: 0.99 }, trials: 20_000 }));
    const answer = JSON.parse((await run('halves.jsonl', '--promises', 'halves.json', '--json')).out) as Answer;
    const [first] = answer.settings;
    expect(first).toMatchObject({ r: 1, w: 1, fresh: 1, freshHigh: 1 });
    expect(first?.freshLow).toBeGreaterThan(0.55);
    expect(first?.freshLow).toBeLessThan(0.7);
    expect(answer.chosen).not.toEqual({ r: 1, w: 1 });
    // But who has it already is not told to leave it: it may as well be kept.
    await writeFile(join(cwd, 'halves.json'), JSON.stringify({ slo: { freshShare: 0.99 }, current: { r: 1, w: 1 }, trials: 20_000 }));
    const kept = JSON.parse((await run('halves.jsonl', '--promises', 'halves.json', '--json')).out) as Answer;
    expect(kept).toMatchObject({ chosen: { r: 1, w: 1 }, commands: [] });
  });

  it('tells what it could not read, goes on, and exits 2', async () => {
    await writeFile(join(cwd, 'cut.jsonl'), `${cartLines(400).join('\n')}\n{"resourceSpans": [`);
    const { out, err, code } = await run('cut.jsonl');
    expect(code).toBe(2);
    expect(err).toMatch(/^cut\.jsonl:401: /);
    expect(out).toContain('200 writes and 200 reads');
  });

  it.each<[string, () => readonly string[], readonly string[], RegExp]>([
    ['has no operation on several replicas', () => [line(1, 'write', { a: 2 })], [], /^x\.jsonl: no client span here was sent together/],
    [
      'has too few',
      () => cartLines(100),
      [],
      /^x\.jsonl: 50 writes and 50 reads of carts went to all of a, b, c at the same time, and it takes 100 of each/,
    ],
    [
      'shows several collections',
      () => [...cartLines(4), line(4, 'read', { a: 1, b: 2 }, 'orders')],
      [],
      /^x\.jsonl: choose one of carts, orders with --collection/,
    ],
    ['does not show the collection', () => cartLines(4), ['--collection', 'orders'], /^x\.jsonl: --collection orders is not among carts/],
    ['does not show a replica', () => cartLines(4), ['--replicas', 'a,d'], /^x\.jsonl: --replicas: d is not among a, b, c/],
    ['is asked about one replica', () => cartLines(4), ['--replicas', 'a'], /^x\.jsonl: 2 to 16 replicas/],
  ])('says so where the file %s', async (_, lines, args, says) => {
    await writeFile(join(cwd, 'x.jsonl'), lines().join('\n'));
    const { out, err, code } = await run('x.jsonl', ...args);
    expect({ out, code }).toEqual({ out: '', code: 2 });
    expect(err).toMatch(says);
  });

  it('says so where promises are wrong, or go with samples', async () => {
    await writeFile(join(cwd, 'ok.jsonl'), cartLines(400).join('\n'));
    await writeFile(join(cwd, 'p.json'), JSON.stringify({ current: { r: 4, w: 1 } }));
    expect((await run('ok.jsonl', '--promises', 'p.json')).err).toMatch(/^p\.json: "current" asks for more than the 3 replicas/);
    await writeFile(join(cwd, 'p.json'), JSON.stringify({ latencies: {} }));
    expect((await run('ok.jsonl', '--promises', 'p.json')).err).toMatch(/^p\.json: the file: /);
    await writeFile(join(cwd, 's.json'), JSON.stringify({ latencies: { w: [1], a: [1], r: [1], s: [1] } }));
    expect(await run('s.json', '--promises', 'p.json')).toMatchObject({ code: 2, err: '--promises goes with traces; s.json holds none' });
    expect((await run('no.json', '--collection', 'x')).err).toMatch(/^cannot read no\.json/);
    await writeFile(join(cwd, 'none.txt'), 'not a trace');
    expect((await run('none.txt')).err).toMatch(/^none\.txt is not JSON, nor OTLP/);
  });
});
