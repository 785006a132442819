import { describe, expect, test } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection, type DetectionOptions } from '../../src/detect/run.ts';
import type { LearnedFact } from '../../src/domain/learned-fact.ts';

/** An outbox by another name: filled beside the order, emptied by a relay in another service. */
function relayed(nth: number): readonly Step[] {
  const at = nth * 5_000;
  const key = `k${nth}`;
  return [
    { kind: 'request', trace: `a${nth}`, span: `a${nth}`, at, lasts: 20, service: 'shop', target: 'POST /orders' },
    { kind: 'append', trace: `a${nth}`, parent: `a${nth}`, at: at + 2, service: 'shop', target: 'orders', key },
    { kind: 'append', trace: `a${nth}`, parent: `a${nth}`, at: at + 5, service: 'shop', target: 'quince', key },
    { kind: 'internal', trace: `b${nth}`, span: `b${nth}`, at: at + 300, lasts: 20, service: 'relay' },
    { kind: 'read', trace: `b${nth}`, parent: `b${nth}`, at: at + 301, service: 'relay', target: 'quince' },
    { kind: 'publish', trace: `b${nth}`, span: `p${nth}`, parent: `b${nth}`, at: at + 305, service: 'relay', target: 'placed' },
    { kind: 'delete', trace: `b${nth}`, parent: `b${nth}`, at: at + 310, service: 'relay', target: 'quince', key },
    { kind: 'consume', trace: `b${nth}`, parent: `p${nth}`, at: at + 340, service: 'mail', target: 'placed' },
  ];
}

/** A request that fills the outbox and also publishes: unsafe unless that table is an outbox. */
const direct: readonly Step[] = [
  { kind: 'request', trace: 'd', span: 'd', at: 90_000, lasts: 20, service: 'till', target: 'POST /sales' },
  { kind: 'append', trace: 'd', parent: 'd', at: 90_002, service: 'till', target: 'quince', key: 'x' },
  { kind: 'publish', trace: 'd', parent: 'd', at: 90_010, service: 'till', target: 'sold' },
];

function run(
  steps: readonly Step[],
  options: DetectionOptions = {},
): { readonly kinds: readonly string[]; readonly learned: readonly LearnedFact[] } {
  const detection = createDetection(options);
  detection.add(exampleOperations(steps));
  return { kinds: detection.finish().map(({ kind, grade }) => `${kind}/${grade}`), learned: detection.learned() };
}

const history = [0, 1, 2, 3, 4].flatMap(relayed);

describe('learned structure', () => {
  test('an outbox is known by how it is used, with what that rests on', () => {
    const { learned } = run(history);
    expect(learned).toContainEqual({ is: 'outbox', name: 'quince', support: 10, confidence: 1, value: 1, from: 'traces' });
    expect(learned).toContainEqual(expect.objectContaining({ is: 'topic-lag', name: 'placed', support: 5, value: 33_000 }));
  });

  test('what an earlier process learned holds from the first trace on', () => {
    const { learned } = run(history);
    expect(run(direct).kinds).toEqual(['dual-write/structural']);
    expect(run(direct, { known: learned }).kinds).toEqual([]);
  });

  test('the configuration has the last word: a table is an outbox, or is none', () => {
    const { learned } = run(history);
    expect(run(direct, { declared: { outboxTables: ['public.quince'] } }).kinds).toEqual([]);
    expect(run(direct, { known: learned, declared: { notOutboxTables: ['quince'] } }).kinds).toEqual(['dual-write/structural']);
    expect(run(history, { declared: { notOutboxTables: ['quince'] } }).learned.filter(({ is }) => is === 'outbox')).toEqual([]);
  });

  const save = (readHost: string): readonly Step[] => [
    { kind: 'request', span: 'root', at: 0, lasts: 60, target: 'POST /profile' },
    { kind: 'write', parent: 'root', at: 5, target: 'profiles', host: 'one' },
    { kind: 'read', parent: 'root', at: 20, target: 'profiles', host: readHost },
  ];

  test('a host that only reads is a replica, unless it is declared to be none', () => {
    const { kinds, learned } = run(save('two'));
    expect(kinds).toEqual(['replica-read-after-write/risk']);
    expect(learned).toContainEqual(expect.objectContaining({ is: 'replica-host', name: 'two for profiles', from: 'traces' }));
    expect(run(save('two'), { declared: { primaryHosts: ['two'] } })).toMatchObject({ kinds: [], learned: [{ is: 'edge' }] });
  });

  /** Three services change together; where the third fails, the first two stand. */
  const workflow = (nth: number, isFailing: boolean): readonly Step[] => {
    const trace = `w${nth}`;
    const at = nth * 3_000;
    return [
      {
        kind: 'request',
        trace,
        span: `${trace}r`,
        at,
        lasts: 90,
        service: 'trips',
        target: 'POST /trips',
        ...(isFailing ? { failed: true } : {}),
      },
      ...['flights', 'hotels', 'cars'].flatMap((name, step): readonly Step[] => {
        const failed = isFailing && step === 2;
        const start = at + 5 + step * 20;
        return [
          {
            kind: 'call',
            trace,
            span: `${trace}c${step}`,
            parent: `${trace}r`,
            at: start,
            lasts: 10,
            service: 'trips',
            target: `POST /${name}`,
            failed,
          },
          { kind: 'request', trace, span: `${trace}s${step}`, parent: `${trace}c${step}`, at: start + 1, lasts: 8, service: name, failed },
          ...(failed ? [] : [{ kind: 'append' as const, trace, parent: `${trace}s${step}`, at: start + 3, service: name, target: name }]),
        ];
      }),
    ];
  };
  const whole = Array.from({ length: 10 }, (_, nth) => workflow(nth, false)).flat();
  const half = workflow(20, true);
  const root = 'trips POST /trips';
  const steps = ['flights insert flights', 'hotels insert hotels', 'cars insert cars'];

  test('steps of a saga are learned, kept and declared', () => {
    const { learned } = run(whole);
    expect(learned).toContainEqual({ is: 'saga', name: root, support: 10, confidence: 1, value: 3, steps, from: 'traces' });
    expect(run(half).kinds).toEqual([]);
    expect(run(half, { known: learned }).kinds).toEqual(['saga-uncompensated/risk']);
    expect(run(half, { declared: { sagas: { [root]: steps } } }).kinds).toEqual(['saga-uncompensated/risk']);
    expect(run([...whole, ...half]).kinds).toEqual(['saga-uncompensated/risk']);
    expect(run([...whole, ...half], { declared: { notSagas: [root] } }).kinds).toEqual([]);
  });

  test('counts go on where an earlier process stopped, and a replay adds nothing', () => {
    const detection = createDetection();
    detection.add(exampleOperations(direct));
    const [first] = detection.finish();
    if (first === undefined) throw new Error('nothing was found');
    const told = [
      { fingerprint: first.fingerprint, count: 7, realised: 2, firstSeenUs: first.firstSeenUs - 1e9, lastSeenUs: first.lastSeenUs },
    ];
    const again = createDetection({ told });
    again.add(exampleOperations(direct));
    again.add(exampleOperations(direct.map((step) => ({ ...step, trace: 'e', at: step.at + 60_000 }))));
    expect(again.finish()).toEqual([expect.objectContaining({ count: 8, realised: 2, firstSeenUs: first.firstSeenUs - 1e9 })]);
  });
});
