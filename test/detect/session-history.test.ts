import fc from 'fast-check';
import { expect, it } from 'vitest';
import { nonMonotonicRead } from '../../src/detect/detectors/non-monotonic-read.ts';
import { readYourWrites } from '../../src/detect/detectors/read-your-writes.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { KeyedObjects } from '../../src/detect/keyed-objects.ts';
import { createDetection } from '../../src/detect/run.ts';

const retainMs = 600_000;

const step = fc.record({
  does: fc.constantFrom('read', 'read', 'write', 'write', 'delete', 'abort', 'fail'),
  session: fc.constantFrom('ada', 'bob', ''),
  trace: fc.constantFrom('t1', 't2'),
  object: fc.constantFrom('1', '2', '3'),
  version: fc.nat(6),
  waitMs: fc.oneof(
    { weight: 10, arbitrary: fc.integer({ min: 10, max: 50 }) },
    { weight: 1, arbitrary: fc.constantFrom(100_000, 700_000) },
  ),
});
type Drawn = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A trace that names no session is one, and is forgotten on an object after a minute. */
const retainOf = (drawn: Drawn): number => (drawn.session === '' ? 60_000 : retainMs);

const never = Number.NEGATIVE_INFINITY;
const skewMs = 100;

/** The object's life before the last delete, and the highest version of the one that follows. */
interface Life {
  lastMs: number;
  highest: number;
  goneMs: number;
  goneVersion: number;
  isGone: boolean;
}

/** How often each session read older than it may, from all that it did on each object, one after the other on one clock. */
function expected(drawn: readonly Drawn[]): Map<string, number> {
  const found = new Map<string, number>();
  const count = (place: string): void => void found.set(place, (found.get(place) ?? 0) + 1);
  const pairs = new Map<string, { lastMs: number; write: Drawn | undefined; writeMs: number; reads: number[] }>();
  const lives = new Map<string, Life>();
  let atMs = 0;
  for (const operation of drawn) {
    atMs += operation.waitMs;
    const name = `${operation.session === '' ? operation.trace : operation.session} ${operation.object}`;
    let pair = pairs.get(name);
    if (pair !== undefined && atMs - pair.lastMs > retainOf(operation)) pair = undefined;
    const { does, version } = operation;
    let life = lives.get(operation.object);
    if (life === undefined || atMs - life.lastMs > retainMs)
      life = { lastMs: atMs, highest: never, goneMs: never, goneVersion: never, isGone: false };
    lives.set(operation.object, life);
    life.lastMs = atMs;
    if (does === 'write' && life.isGone) Object.assign(life, { isGone: false, highest: never });
    if (does === 'read') {
      const { goneMs, goneVersion } = life;
      const isOfThisLife = pair !== undefined && pair.writeMs > goneMs + skewMs;
      if (pair?.write?.does === 'write' && version < pair.write.version && isOfThisLife) count(`read-your-writes ${name}`);
      if (pair?.reads.some((read) => read > version && read > goneVersion) === true) count(`non-monotonic-read ${name}`);
    }
    if (does === 'read' || does === 'write') life.highest = Math.max(life.highest, version);
    if (does === 'delete')
      // It takes a millisecond, and began on a whole one: it can have ended a millisecond later than it seems.
      Object.assign(life, { isGone: true, goneMs: atMs + 2, goneVersion: Math.max(life.goneVersion, life.highest, version) });
    const isKept = does === 'read' || does === 'write' || does === 'delete';
    if (pair === undefined && isKept) pair = { lastMs: atMs, write: undefined, writeMs: never, reads: [] };
    if (pair === undefined) continue;
    pairs.set(name, pair);
    pair.lastMs = atMs;
    if (does === 'read') pair.reads.push(version);
    if (does === 'write' || does === 'delete') Object.assign(pair, { write: operation, writeMs: atMs + 1 });
    if (does === 'delete') pair.reads = [];
  }
  return found;
}

function operationsOf(drawn: readonly Drawn[]) {
  let atMs = 0;
  return exampleOperations(
    drawn.map(({ does, session, trace, object, version, waitMs }, nth): Step => {
      atMs += waitMs;
      return {
        kind: does === 'abort' || does === 'fail' ? 'write' : does,
        at: atMs,
        lasts: 1,
        trace,
        span: `${nth}`,
        service: 'shop',
        ...(does === 'fail' ? { failed: true } : {}),
        facts: {
          objectType: 'cart',
          objectKey: object,
          version: BigInt(version),
          sessionId: session,
          ...(does === 'abort' ? { transactionOutcome: 'aborted' as const } : {}),
        },
      };
    }),
  );
}

it('session checks agree with a list of all that each session did', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 60, maxLength: 250 }), fc.integer({ min: 1, max: 100 }), (drawn, batch) => {
      const detection = createDetection({ only: [readYourWrites, nonMonotonicRead], latenessMs: 1 });
      const found = new Map<string, number>();
      const operations = operationsOf(drawn);
      const sessionOf = new Map(
        operations.map((operation, nth) => [
          `${operation.traceId}/${operation.spanId}`,
          drawn[nth]?.session === '' ? drawn[nth]?.trace : drawn[nth]?.session,
        ]),
      );
      const keep = (findings: ReturnType<typeof detection.finish>): void => {
        for (const { kind, objectKey, spans, count } of findings)
          for (const span of spans) found.set(`${kind} ${sessionOf.get(`${span.traceId}/${span.spanId}`)} ${objectKey}`, count);
      };
      for (let from = 0; from < operations.length; from += batch) {
        detection.add(operations.slice(from, from + batch));
        keep(detection.advanceToLateness());
      }
      keep(detection.finish());
      expect(found).toEqual(expected(drawn));
    }),
    { numRuns: 200 },
  );
});

it('holds sessions for as long as they may be asked for, and at most a third more than those', () => {
  const fold = { step: () => undefined, bytes: () => 0 };
  const objects = new KeyedObjects([{ scope: 'session', fold, report: () => undefined }], retainMs * 1000, 1e9, 1);
  const aliveFor = (session: string, everyMs: number, count: number, firstMs: number): void => {
    const steps = Array.from({ length: count }, (_, nth): Step => {
      const facts = { objectType: 'cart', objectKey: `${firstMs}-${nth}`, version: 1n, sessionId: session };
      return { kind: 'read', at: firstMs + nth * everyMs, lasts: 1, trace: `t${firstMs}-${nth}`, span: 's', facts };
    });
    objects.run(exampleOperations(steps));
  };
  // A named one for ten minutes, each trace for one.
  aliveFor('ada', 1000, 50, 0);
  aliveFor('', 20, 9000, 100_000);
  expect(objects.pairs).toBeGreaterThanOrEqual(3050);
  expect(objects.pairs).toBeLessThanOrEqual(50 + 3000 * (4 / 3) + 8);
  aliveFor('', 20, 30_000, 700_000);
  expect(objects.pairs).toBeGreaterThanOrEqual(3000);
  expect(objects.pairs).toBeLessThanOrEqual(3000 * (4 / 3) + 8);
});
