import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Hash64 } from '../../src/base/hash64.ts';
import { AnnouncedWrites } from '../../src/detect/announced-writes.ts';
import { exampleOperations } from '../../src/detect/example.ts';
import { noMessage, SentMessages } from '../../src/detect/sent-messages.ts';
import { hashSpan, idsOf } from '../../src/detect/span-ids.ts';
import { viewTrace } from '../../src/detect/trace-view.ts';
import { writeOutcomes } from '../../src/detect/write-outcome.ts';
import type { Operation } from '../../src/domain/operation.ts';

const untakenUs = 50_000;
const retainUs = 200_000;

function published(atMs: number, span: string, target: string, id: string): Operation {
  const [operation] = exampleOperations([{ kind: 'publish', at: atMs, lasts: 0, span, target, message: { id, key: `key of ${span}` } }]);
  if (operation === undefined) throw new Error('no operation');
  return operation;
}

describe('sent messages', () => {
  it('are remembered as a list of times says, whenever the sweep comes', () => {
    const hash = new Hash64();
    const step = fc.record({
      does: fc.constantFrom('send', 'send', 'send', 'find', 'find', 'find by id', 'take', 'sweep'),
      waitsMs: fc.nat(30),
      which: fc.nat(12),
      target: fc.constantFrom('orders', 'mails'),
      hasId: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150, size: 'max' }), (steps) => {
        const messages = new SentMessages(untakenUs);
        messages.keepFor(retainUs);
        const gone: number[] = [];
        messages.onGone = (hung) => gone.push(hung);
        const sent: { readonly span: string; readonly id: string; readonly target: string; readonly operation: Operation }[] = [];
        const takenUs = new Map<string, number>();
        let atMs = 0;
        for (const { does, waitsMs, which, target, hasId } of steps) {
          atMs += waitsMs;
          const atUs = published(atMs, 'x', target, '').endUs;
          const isKnown = (one: (typeof sent)[number]): boolean =>
            atUs - one.operation.endUs <= retainUs &&
            Math.min(atUs, takenUs.get(one.target) ?? Number.POSITIVE_INFINITY) - one.operation.endUs <= untakenUs;
          const one = sent[sent.length - 1 - which];
          switch (does) {
            case 'send': {
              const span = `s${sent.length}`;
              const id = hasId ? `id ${which} of ${sent.length >> 3}` : '';
              const operation = published(atMs, span, target, id);
              // Looking ahead changes nothing, also where something else comes first.
              if (which > 4) messages.comeNear([viewTrace('', [published(atMs, 'other', target, 'other')]), viewTrace('', [operation])]);
              const row = messages.note(operation, true);
              expect(messages.note(operation, true)).toBe(row);
              messages.announce(row, sent.length);
              sent.push({ span, id, target, operation });
              break;
            }
            case 'find': {
              if (one === undefined) break;
              const { low, high } = hashSpan(hash, idsOf(one.operation));
              const row = messages.ofSpan(low, high, atUs, retainUs);
              expect(row !== noMessage).toBe(isKnown(one));
              if (row === noMessage) break;
              expect(messages.noteOf(row)).toMatchObject({
                traceId: one.operation.traceId,
                spanId: one.operation.spanId,
                endUs: one.operation.endUs,
              });
              expect([messages.idOf(row), messages.keyOf(row), messages.topicOf(row).target]).toEqual([
                one.id,
                `key of ${one.span}`,
                one.target,
              ]);
              break;
            }
            case 'find by id': {
              if (one === undefined || one.id === '') break;
              const last = sent.findLast(({ id }) => id === one.id);
              const row = messages.ofId('kafka', one.id, atUs, retainUs);
              expect(row !== noMessage).toBe(last !== undefined && isKnown(last));
              if (row !== noMessage) expect(messages.noteOf(row).spanId).toBe(last?.operation.spanId);
              break;
            }
            case 'take':
              if (sent.some((other) => other.target === target)) takenUs.set(target, Math.min(takenUs.get(target) ?? atUs, atUs));
              messages.noteTaken('kafka', target, atUs);
              break;
            case 'sweep':
              messages.sweep(atUs);
              break;
          }
        }
        // What hung on a row is given back once, and only when the message is past.
        expect(new Set(gone).size).toBe(gone.length);
        for (let nth = 0; nth < 20; nth += 1) messages.sweep(Number.MAX_SAFE_INTEGER);
        expect(messages.size).toBe(0);
        expect(gone.length).toBe(sent.length);
      }),
      { numRuns: 300 },
    );
  });

  it('of a topic that nobody takes from are remembered as a share once they are many, and all of them from when somebody takes', () => {
    const messages = new SentMessages(1_000_000, 100);
    messages.keepFor(1_000_000);
    const hash = new Hash64();
    const isKnown = (operation: Operation): boolean => {
      const { low, high } = hashSpan(hash, idsOf(operation));
      return messages.ofSpan(low, high, operation.endUs, 1_000_000) !== noMessage;
    };
    const send = (count: number, atMs: number, target: string): readonly Operation[] =>
      Array.from({ length: count }, (_, nth) => {
        const operation = published(atMs, `${target} ${atMs} ${nth}`, target, '');
        messages.note(operation, true);
        return operation;
      });
    const mails = send(50, 0, 'mails');
    messages.noteTaken('kafka', 'mails', mails[0]?.endUs ?? 0);
    const orders = send(1000, 1, 'orders');
    expect(orders.every(isKnown)).toBe(true);
    for (let sweep = 0; sweep < 5; sweep += 1) messages.sweep(published(2, 'x', 'orders', '').endUs);
    // An eighth or a sixteenth of a thousand is a hundred at most, give or take four standard errors.
    const known = orders.filter(isKnown);
    expect(known.length).toBeGreaterThan(30);
    expect(known.length).toBeLessThanOrEqual(100);
    expect(messages.size).toBe(50 + known.length);
    expect(mails.every(isKnown)).toBe(true);
    const later = send(1000, 3, 'orders').filter(isKnown);
    expect(later.length).toBeGreaterThan(30);
    expect(later.length).toBeLessThan(170);
    expect(messages.size).toBe(50 + known.length + later.length);
    const since = published(4, 'x', 'orders', '').endUs;
    messages.noteTaken('kafka', 'orders', since);
    expect(send(1000, 5, 'orders').every(isKnown)).toBe(true);
  });

  it('that are pinned stay however old they are', () => {
    const messages = new SentMessages(untakenUs);
    messages.keepFor(retainUs);
    const row = messages.note(published(0, 'a', 'orders', 'm'), true);
    expect(messages.pin(row)).toBe(true);
    expect(messages.pin(row)).toBe(false);
    for (let nth = 0; nth < 20; nth += 1) messages.sweep(Number.MAX_SAFE_INTEGER);
    expect(messages.idOf(row)).toBe('m');
    messages.unpin(row);
    for (let nth = 0; nth < 20; nth += 1) messages.sweep(Number.MAX_SAFE_INTEGER);
    expect(messages.size).toBe(0);
  });
});

it('writes that a message announces have their keys, also where one is the key of the message', () => {
  const messages = new SentMessages(untakenUs);
  const writes = new AnnouncedWrites(messages, retainUs);
  const row = messages.note(published(0, 'p', 'orders', 'm-1'), true);
  const operations = exampleOperations(['key of p', '', 'another'].map((key, at) => ({ kind: 'write', at, target: 'orders', key })));
  const { units } = viewTrace('t', operations);
  writes.hang(
    row,
    'key of p',
    units.flatMap((unit) => writeOutcomes(unit)),
  );
  expect(writes.of(row).map(({ key }) => key)).toEqual(['key of p', '', 'another']);
  // A message without a key.
  const [unkeyed] = exampleOperations([{ kind: 'publish', at: 5, target: 'orders', message: { id: 'm-2' } }]);
  const other = messages.note(unkeyed as Operation, true);
  writes.hang(
    other,
    '',
    units.flatMap((unit) => writeOutcomes(unit)),
  );
  expect(writes.of(other).map(({ key }) => key)).toEqual(['key of p', '', 'another']);
  for (let sweep = 0; sweep < 4; sweep += 1) messages.sweep(10_000_000_000_000_000);
  expect(messages.size).toBe(0);
});
