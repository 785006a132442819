import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AuditEntry,
  type Certificate,
  isSignedBy,
  linkProblem,
  makeCertificate,
  nextEntry,
  signHead,
  verifyCertificate,
  verifyChain,
} from '../../src/report/audit-chain.ts';

const pem = () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
};
const keys = pem();
const digest = 'd'.repeat(64);

function chainOf(length: number, subjectOf: (index: number) => string = () => 'repair/1'): readonly AuditEntry[] {
  const entries: AuditEntry[] = [];
  for (let index = 0; index < length; index += 1) {
    entries.push(
      nextEntry(entries.at(-1) ?? null, {
        at: `2026-01-01T00:00:0${index % 10}.000Z`,
        actor: 'homeostat',
        action: 'repair.applied',
        subject: subjectOf(index),
        facts: { index, digest },
      }),
    );
  }
  return entries;
}

describe('I8: the audit chain', () => {
  test('an untouched chain is whole, from its start or from a known entry', () => {
    const chain = chainOf(5);
    expect(verifyChain(chain)).toEqual({ is: 'whole', entries: 5, head: chain[4]?.hash });
    const third = chain[2];
    if (third === undefined) expect.fail();
    expect(verifyChain(chain.slice(3), { start: third }).is).toBe('whole');
    expect(verifyChain([])).toMatchObject({ is: 'whole', entries: 0 });
  });

  test('any edit of any field of any entry is seen', () => {
    const fields = ['at', 'actor', 'action', 'subject', 'facts', 'seq', 'previous', 'contentHash', 'hash', 'more'] as const;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.nat(7), fc.constantFrom(...fields), (length, at, field) => {
        const chain = chainOf(length).map((entry) => ({ ...entry }));
        const victim = chain[at % length];
        if (victim === undefined) return;
        Object.assign(
          victim,
          field === 'more' ? { more: true } : { [field]: field === 'seq' ? 99 : field === 'facts' ? { index: -1 } : 'f'.repeat(64) },
        );
        expect(verifyChain(chain).is).toBe('broken');
      }),
    );
  });

  test('an edit with all later hashes made again is seen against a signed head', () => {
    const chain = chainOf(4);
    const head = chain[3];
    if (head === undefined) expect.fail();
    const forged: AuditEntry[] = [];
    for (const entry of chain) forged.push(nextEntry(forged.at(-1) ?? null, { ...entry, actor: 'mallory' }));
    expect(verifyChain(forged).is).toBe('whole');
    expect(verifyChain(forged, { head }).is).toBe('broken');
    expect(verifyChain(chain.slice(0, 3), { head })).toMatchObject({ is: 'broken', because: expect.stringContaining('ends at 3') });
  });

  test('removal, repetition and reordering are seen', () => {
    const chain = chainOf(6);
    fc.assert(
      fc.property(fc.shuffledSubarray([...chain]), (some) => {
        const isPrefix = some.every((entry, index) => entry === chain[index]);
        expect(verifyChain(some).is).toBe(isPrefix ? 'whole' : 'broken');
      }),
    );
    const [first] = chain;
    if (first === undefined) expect.fail();
    expect(linkProblem(first, first)).toContain('missing');
  });
});

describe('certificates', () => {
  const chain = chainOf(9, (index) => (index % 3 === 1 ? 'repair/7' : index === 2 ? 'proposal/3' : 'domain/x'));
  const last = chain[8];
  if (last === undefined) throw new Error('a chain of nine has a ninth entry');
  const head = signHead(last, '2026-01-02T00:00:00.000Z', keys.privateKey);
  const certificate = makeCertificate({
    subject: 'repair/7',
    effectDigest: digest,
    chain,
    alsoAbout: ['proposal/3'],
    head,
    privateKeyPem: keys.privateKey,
  });
  if (certificate === null) throw new Error('the chain has entries about repair/7');

  test('verify offline, with the public key alone, and show nothing of other entries', () => {
    expect(verifyCertificate(certificate, keys.publicKey)).toEqual({ is: 'valid' });
    expect(JSON.stringify(certificate)).not.toContain('domain/x');
    expect(certificate.entries.map(({ seq }) => seq)).toEqual([2, 3, 5, 8]);
    expect(verifyCertificate(JSON.parse(JSON.stringify(certificate)) as Certificate, keys.publicKey)).toEqual({ is: 'valid' });
  });

  test('another key, a changed head, entry, path or digest is seen', () => {
    expect(verifyCertificate(certificate, pem().publicKey)).toMatchObject({ is: 'invalid' });
    expect(isSignedBy({ ...head, seq: 8 }, keys.publicKey)).toBe(false);
    const [first, ...others] = certificate.entries;
    if (first === undefined) expect.fail();
    for (const forged of [
      { ...certificate, head: { ...head, hash: '0'.repeat(64) } },
      { ...certificate, entries: [{ ...first, actor: 'mallory' }, ...others] },
      { ...certificate, entries: [{ ...first, hash: '0'.repeat(64) }, ...others] },
      { ...certificate, entries: [] },
      { ...certificate, path: certificate.path.slice(1) },
      { ...certificate, path: certificate.path.slice(0, -1) },
      { ...certificate, path: certificate.path.toReversed() },
      { ...certificate, effectDigest: 'e'.repeat(64) },
      // That it was undone, say, was left out.
      { ...certificate, entries: certificate.entries.slice(0, -1) },
      { ...certificate, subject: 'repair/8' },
      { ...certificate, entries: [first, ...others.map((entry) => ({ ...entry, previous: '0'.repeat(64) }))] },
      { ...certificate, signature: `${certificate.signature}x` },
      { ...certificate, head: { ...head, signature: `${head.signature}x` } },
    ]) {
      expect(verifyCertificate(forged, keys.publicKey)).toMatchObject({ is: 'invalid' });
    }
  });

  test('there is none about what the chain does not hold', () => {
    expect(makeCertificate({ subject: 'repair/8', effectDigest: digest, chain, head, privateKeyPem: keys.privateKey })).toBeNull();
  });
});
