import { describe, expect, test } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';

/** An order with its outbox row, and its relay a moment later; `rowShows`: false where the order came before the first span that we get. */
function relayed(nth: number, at: number, rowShows: boolean, relayedAfter = 300): readonly Step[] {
  const outboxId = `o-${nth}`;
  const row: readonly Step[] = [
    { kind: 'request', trace: `a${nth}`, span: `a${nth}`, at, lasts: 20, service: 'shop', target: 'POST /orders' },
    { kind: 'append', trace: `a${nth}`, parent: `a${nth}`, at: at + 2, service: 'shop', target: 'orders' },
    { kind: 'append', trace: `a${nth}`, parent: `a${nth}`, at: at + 5, service: 'shop', target: 'outbox', facts: { outboxId } },
  ];
  const publish: readonly Step[] = [
    { kind: 'publish', trace: `b${nth}`, span: `p${nth}`, at: at + relayedAfter, service: 'relay', target: 'placed', facts: { outboxId } },
  ];
  return [...(rowShows ? row : []), ...(relayedAfter < 0 ? [] : publish)];
}

/** The end of a request whose beginning was before the first span that we get. */
function tail(nth: number, at: number): readonly Step[] {
  return [0, 1, 2].map((i) => ({ kind: 'read', trace: `t${nth}`, parent: 'before', at: at + i * 10, service: 'shop', target: 'orders' }));
}

function kindsOf(steps: readonly Step[]): readonly string[] {
  const detection = createDetection({});
  detection.add(exampleOperations(steps));
  return detection.finish().map(({ kind, grade }) => `${kind}/${grade}`);
}

const everyMs = 500;
const orders = (unseen: (nth: number) => boolean, stuck: number): readonly Step[] =>
  Array.from({ length: 400 }, (_, nth) => relayed(nth, nth * everyMs, !unseen(nth), nth === stuck ? -1 : 300)).flat();

describe('whoever is attached to a fleet that runs', () => {
  test('sees tails of what came before, and claims a row that was never published all the same', () => {
    const tails = Array.from({ length: 12 }, (_, nth) => tail(nth, nth * 400)).flat();
    expect(kindsOf([...tails, ...orders((nth) => nth < 6, 300)])).toEqual(['outbox-lag/proven']);
  });

  test('claims nothing where rows go missing all the time: then a publish can be missing too', () => {
    expect(kindsOf(orders((nth) => nth % 60 === 59, 200))).toEqual([]);
  });

  test('claims nothing where spans go missing all the time', () => {
    const tails = Array.from({ length: 200 }, (_, nth) => tail(nth, nth * 1_000)).flat();
    expect(kindsOf([...tails, ...orders(() => false, 200)])).toEqual([]);
  });

  test('claims nothing in a history so short that only its beginning shows', () => {
    expect(kindsOf(orders((nth) => nth < 6, 10).filter(({ at }) => at < 58 * everyMs))).toEqual([]);
  });
});
