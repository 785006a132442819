// A span of a statement does not say when its transaction ended: what rests on a write having been committed waits for its trace.
import { describe, expect, test } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';

const object = { objectType: 'account', objectKey: 'A1' };

/** A request that writes version 5 at 10 to 12 ms, in a transaction that `end` settles at `atMs`. */
const writer = (end: 'commit' | 'rollback' | 'lost', atMs: number, more: Partial<Step> = {}): readonly Step[] => [
  { kind: 'request', trace: 'w', span: 'w0', at: 0, lasts: atMs + 20, target: 'POST /transfers', ...more },
  { kind: 'transaction', trace: 'w', parent: 'w0', at: 5, sql: 'begin', ...more },
  {
    kind: 'write',
    trace: 'w',
    parent: 'w0',
    at: 10,
    target: 'account',
    facts: { ...object, version: 5n, versionBase: 4n, sessionId: 'ada' },
    ...more,
  },
  ...(end === 'lost' ? [] : [{ kind: 'transaction' as const, trace: 'w', parent: 'w0', at: atMs, sql: end, ...more }]),
];
const first: Step = { kind: 'write', trace: 'f', at: 0, target: 'account', facts: { ...object, version: 4n, versionBase: 3n } };
const read = (at: number, more: Partial<Step['facts']> = {}): Step => ({
  kind: 'read',
  trace: `r${at}`,
  at,
  target: 'account',
  facts: { ...object, version: 4n, ...more },
});
const overwriting: Step = { kind: 'write', trace: 'o', at: 700, target: 'account', facts: { ...object, version: 6n, versionBase: 4n } };

/** Two doctors who each see the other on call and leave: write skew, if both did. */
const doctor = (trace: string, at: number, other: string, end: 'commit' | 'rollback'): readonly Step[] => {
  const facts = { objectType: 'doctor', transactionId: trace };
  return [
    { kind: 'request', trace, span: `${trace}0`, at, lasts: 300, target: 'POST /leave' },
    { kind: 'transaction', trace, parent: `${trace}0`, at, sql: 'begin' },
    ...[trace, other].map(
      (objectKey): Step => ({
        kind: 'read',
        trace,
        span: `${trace}-${objectKey}`,
        parent: `${trace}0`,
        at: at + 3,
        target: 'doctor',
        facts: { ...facts, objectKey, version: 1n },
      }),
    ),
    {
      kind: 'write',
      trace,
      span: `${trace}-w`,
      parent: `${trace}0`,
      at: at + 9,
      target: 'doctor',
      facts: { ...facts, objectKey: trace, version: 2n, versionBase: 1n },
    },
    { kind: 'transaction', trace, parent: `${trace}0`, at: at + 200, sql: end },
  ];
};

const cases: readonly (readonly [string, readonly Step[], readonly string[]])[] = [
  ['a read before the COMMIT is not stale', [first, ...writer('commit', 600), read(400)], []],
  ['a read after it is', [first, ...writer('commit', 600), read(900)], ['stale-read']],
  ['a read after a ROLLBACK is not', [first, ...writer('rollback', 600), read(900)], []],
  [
    'unless the write was tried again and committed',
    [first, ...writer('rollback', 600), { ...(writer('commit', 600)[2] as Step), trace: 'again', at: 700, parent: '' }, read(900)],
    ['stale-read'],
  ],
  [
    'or another had come after it',
    [first, ...writer('rollback', 300), { ...overwriting, at: 500, facts: { ...object, version: 6n, versionBase: 5n } }, read(900)],
    ['stale-read'],
  ],
  ['nor is one after a transaction whose end does not show', [first, ...writer('lost', 600), read(900)], []],
  ['a write that stands by itself is committed when it ends', [first, ...writer('commit', 600).slice(2, 3), read(400)], ['stale-read']],
  [
    'a session that reads beside its open transaction has not written yet',
    [first, ...writer('commit', 600), read(300, { sessionId: 'ada' })],
    [],
  ],
  ['after the COMMIT it has', [first, ...writer('commit', 600), read(800, { sessionId: 'ada' })], ['read-your-writes', 'stale-read']],
  ['what was rolled back was not lost to another write', [first, ...writer('rollback', 600), overwriting], []],
  ['write skew needs both transactions', [...doctor('a', 0, 'b', 'commit'), ...doctor('b', 1, 'a', 'rollback')], []],
  ['and is there where both were committed', [...doctor('a', 0, 'b', 'commit'), ...doctor('b', 1, 'a', 'commit')], ['isolation']],
  [
    'but what others wrote from the same version after it was',
    [first, ...writer('rollback', 600), overwriting, { ...overwriting, trace: 'p', at: 750 }],
    ['lost-update'],
  ],
  ['what was committed was', [first, ...writer('commit', 600), overwriting], ['lost-update']],
];

describe('claims about committed writes', () => {
  test.each(cases)('%s', (_name, steps, kinds) => {
    const operations = exampleOperations(steps);
    const atOnce = createDetection();
    atOnce.add(operations);
    expect(
      atOnce
        .finish()
        .map((anomaly) => anomaly.kind)
        .toSorted(),
    ).toEqual(kinds);
    // As they come, with time moving on between them: the trace of the write is open when the read is looked at.
    const streamed = createDetection();
    const told: string[] = [];
    const byEnd = operations.toSorted((a, b) => a.endUs - b.endUs);
    const beginUs = byEnd[0]?.endUs ?? 0;
    for (let us = 0; us < 20_000_000; us += 50_000) {
      streamed.add(byEnd.filter(({ endUs }) => endUs > beginUs + us - 50_000 && endUs <= beginUs + us));
      told.push(...streamed.advance(beginUs + us).map((anomaly) => anomaly.kind));
    }
    expect([...new Set(told)].toSorted()).toEqual(kinds);
  });

  test('are told as soon as the trace shows the COMMIT, which is before it is known to be over', () => {
    const byEnd = exampleOperations([first, ...writer('commit', 600), read(900)]).toSorted((a, b) => a.endUs - b.endUs);
    const readUs = byEnd.at(-1)?.endUs ?? 0;
    const detection = createDetection();
    detection.add(byEnd);
    expect(detection.advance(readUs + 100_000).map((anomaly) => anomaly.kind)).toEqual(['stale-read']);
  });
});
