import { describe, expect, it } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { ConsistencyFacts, Version } from '../../src/domain/operation.ts';

/**
 * Versions that mean something else than their number or text says: objects that are deleted and made again, contents that come back, writes
 * that are tried again, caches that have not got an entry. Nothing is proven there.
 */
function findingsOf(steps: readonly Step[]): readonly string[] {
  const detection = createDetection();
  detection.add(exampleOperations(steps));
  return detection
    .finish()
    .map((anomaly) => anomaly.model ?? anomaly.kind)
    .toSorted((a, b) => (a < b ? -1 : 1));
}

type Facts = Partial<ConsistencyFacts>;

let spans = 0;
const op = (
  kind: Step['kind'],
  at: number,
  version: Version | undefined,
  versionBase: Version | undefined,
  more: Facts = {},
  rest: Partial<Step> = {},
): Step => {
  spans += 1;
  const facts = { objectType: 'cart', objectKey: '7', version, versionBase, ...more };
  return { kind, at, trace: more.transactionId || `t${spans}`, span: `s${spans}`, system: '', facts, ...rest };
};
const write = (at: number, version: Version, base?: Version, more?: Facts, rest?: Partial<Step>): Step =>
  op('write', at, version, base, more, rest);
const read = (at: number, version: Version, more?: Facts): Step => op('read', at, version, undefined, more);
const remove = (at: number, base?: Version, more?: Facts): Step => op('delete', at, undefined, base, more);
const by = (transactionId: string, outcome: ConsistencyFacts['transactionOutcome'] = 'committed'): Facts => ({
  transactionId,
  transactionOutcome: outcome,
});
const ada = { sessionId: 'ada' };
const cache = { replicaId: 'cache', replicaRole: 'cache' };
const other = { objectType: 'order' };

const cases: Readonly<Record<string, readonly (readonly [string, readonly Step[], readonly string[]])[]>> = {
  'an object that is deleted and made again': [
    ['begins from nothing twice', [write(0, 1n, ''), remove(50, 1n), write(90, 1n, '')], []],
    ['also with opaque versions', [write(0, 'a', ''), op('delete', 50, '', 'a'), write(90, 'b', '')], []],
    ['also where the delete names no version', [write(0, 1n, ''), remove(50), write(90, 1n, '')], []],
    [
      'lives through the same versions again',
      [write(0, 1n, ''), write(50, 2n, 1n), remove(90, 2n), write(120, 1n, ''), write(150, 2n, 1n)],
      [],
    ],
    [
      'loses an update in its second life',
      [write(0, 5n, 4n), remove(50), write(90, 1n, ''), write(120, 2n, 1n), write(150, 3n, 1n)],
      ['lost-update'],
    ],
    ['is not stale at version 1', [write(0, 5n, 4n), remove(5000, 5n), write(6000, 1n, ''), read(8000, 1n)], []],
    [
      'is stale at version 1 once it has 2',
      [write(0, 5n, 4n), remove(5000, 5n), write(6000, 1n, ''), write(6100, 2n, 1n), read(8000, 1n)],
      ['stale-read'],
    ],
    ['is stale where it is missed again', [write(0, 5n, 4n), remove(100, 5n), write(200, 1n, ''), read(8000, '')], ['stale-read']],
    ['is read lower by a session', [read(0, 5n, ada), remove(20), write(40, 1n, ''), read(400, 1n, ada)], []],
    ['is read lower by a session that writes', [write(0, 5n, 4n, ada), remove(20), write(40, 1n, ''), read(400, 1n, ada)], []],
    [
      'is read backwards in its second life',
      [remove(20, 3n), write(40, 4n, ''), read(400, 5n, ada), read(800, 4n, ada)],
      ['non-monotonic-read'],
    ],
    ['is absent for who wrote it', [write(0, 5n, 4n, ada), remove(50), read(900, '', ada)], []],
    ['is absent for who read it', [read(0, 5n, ada), remove(50), read(900, '', ada)], []],
    [
      'has other contents',
      [
        write(0, 1n, '', { valueDigest: 'a', replicaId: 'eu' }),
        remove(20, 1n, { replicaId: 'eu' }),
        write(40, 1n, '', { valueDigest: 'b', replicaId: 'eu' }),
        read(60, 1n, { valueDigest: 'b', replicaId: 'us' }),
      ],
      [],
    ],
    [
      'is made by who depends on its last writer',
      [
        write(0, 5n, 4n, by('a')),
        write(1, 7n, 6n, { ...by('a'), ...other }),
        remove(20, 5n),
        read(40, 7n, { ...by('b'), ...other }),
        write(41, 1n, '', by('b')),
      ],
      [],
    ],
    [
      'though nobody saw it deleted',
      [
        write(0, 5n, 4n, by('a')),
        write(1, 7n, 6n, { ...by('a'), ...other }),
        read(40, 7n, { ...by('b'), ...other }),
        write(41, 1n, '', by('b')),
        read(900, 1n, ada),
      ],
      [],
    ],
    ['with others of its type', [write(0, 5n, 4n, ada), remove(50, undefined, { objectKey: '' }), read(900, '', ada)], []],
    ['and inserted by SQL, unseen deletes between', [write(0, 1n, ''), write(90, 1n, '', {}, { statement: { verb: 'insert' } })], []],
  ],
  'contents that come back': [
    ['are not what was replaced', [write(0, 'b', 'a'), write(50, 'c', 'b'), write(100, 'b', 'c'), read(5000, 'b')], []],
    [
      'are not older for a session',
      [write(0, 'b', 'a'), write(50, 'c', 'b'), read(100, 'c', ada), write(200, 'b', 'c'), read(400, 'b', ada)],
      [],
    ],
    ['are derived from again', [write(0, 'b', 'a'), write(100, 'a', 'b'), write(200, 'c', 'a')], []],
    ['close no circle', [write(0, 'b', 'a', by('a')), write(100, 'a', 'b', by('b'))], []],
  ],
  'a write that is tried again': [
    ['is what is read', [write(0, 5n, 4n, by('a', 'aborted')), write(50, 5n, 4n, by('b')), read(100, 5n, by('c'))], []],
    [
      'was not yet there for an early reader',
      [write(0, 5n, 4n, by('a', 'aborted')), read(20, 5n, by('c')), write(50, 5n, 4n, by('b'))],
      ['G1a'],
    ],
    [
      'is what is read where the first is known late to be aborted',
      [
        write(0, 5n, 4n, by('a', 'unknown')),
        write(50, 5n, 4n, by('b')),
        read(100, 5n, by('c')),
        write(150, 9n, 8n, { ...by('a', 'aborted'), ...other }),
      ],
      [],
    ],
    [
      'by somebody unseen has other contents',
      [write(0, 5n, 4n, { ...by('a', 'aborted'), valueDigest: 'x' }), read(100, 5n, { ...by('c'), valueDigest: 'y' })],
      [],
    ],
  ],
  'a cache': [
    ['that has not got an entry is not stale', [write(0, 5n, 4n), read(5000, '', cache)], []],
    ['that has not got an entry hides no own write', [write(0, 5n, 4n, ada), read(900, '', { ...cache, ...ada })], []],
    [
      'that is emptied leaves the write to be read',
      [write(0, 5n, 4n, ada), remove(20, undefined, { ...cache, ...ada }), read(900, 4n, { ...cache, ...ada })],
      ['read-your-writes'],
    ],
    [
      'that is emptied does not delete the object',
      [write(0, 'b', 'a'), remove(20, undefined, cache), read(5000, 'a', cache)],
      ['stale-read'],
    ],
  ],
  'two domains': [
    ['have objects of one name', [write(0, 5n, 4n, { domain: 'x' }), write(50, 6n, 4n, { domain: 'y' })], []],
    ['are one where one of the services does not say', [write(0, 5n, 4n, { domain: 'x' }), write(50, 6n, 4n)], ['lost-update']],
    [
      'have transactions of their own',
      [
        write(0, 2n, 1n, { ...by('a'), domain: 'x' }),
        write(1, 3n, 2n, { ...by('b'), domain: 'y' }),
        write(2, 2n, 1n, { ...by('b'), ...other, domain: 'y' }),
        write(3, 3n, 2n, { ...by('a'), ...other, domain: 'x' }),
      ],
      [],
    ],
  ],
};

for (const [what, some] of Object.entries(cases))
  describe(what, () => {
    it.each(some)('%s', (_name, steps, expected) => {
      expect(findingsOf(steps)).toEqual(expected);
    });
  });
