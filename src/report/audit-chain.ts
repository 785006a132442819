import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { canonicalJson, type Json, sha256Hex } from '../base/hash.ts';

/**
 * The audit ledger as a hash chain (Haber and Stornetta 1991). An entry's content hash is SHA-256 of its canonical JSON; its
 * hash is SHA-256 over the previous hash and the content hash. Two steps instead of one, so that a certificate can walk from an
 * entry to a signed head over 32-byte content hashes, without showing what other entries say.
 *
 * The chain shows edits, gaps and reorderings by itself. It cannot show that its end was cut off: for that a head is signed
 * and published elsewhere (`signHead`), and verification is given that head.
 */
export interface AuditEntry {
  /** 1, 2, 3 ... without a gap. */
  readonly seq: number;
  /** ISO 8601, UTC. */
  readonly at: string;
  /** A person, or `homeostat`. */
  readonly actor: string;
  readonly action: string;
  /** What it is about: `proposal/17`, `repair/9`, `domain/ledger`. */
  readonly subject: string;
  /** Ids, digests and counts; no row values. */
  readonly facts: Json;
  readonly previous: string;
  readonly contentHash: string;
  readonly hash: string;
}

export type AuditDraft = Pick<AuditEntry, 'at' | 'actor' | 'action' | 'subject' | 'facts'>;
export interface ChainLink {
  readonly seq: number;
  readonly hash: string;
}

const members: ReadonlySet<string> = new Set(['seq', 'at', 'actor', 'action', 'subject', 'facts', 'previous', 'contentHash', 'hash']);

/** What the first entry follows. */
export const genesisHash = '0'.repeat(64);
const genesis: ChainLink = { seq: 0, hash: genesisHash };

export function nextEntry(previous: ChainLink | null, draft: AuditDraft): AuditEntry {
  const after = previous ?? genesis;
  const seq = after.seq + 1;
  const contentHash = contentHashOf({ seq, ...draft });
  return { seq, ...draft, previous: after.hash, contentHash, hash: sha256Hex(after.hash + contentHash) };
}

/** What is wrong with `entry` as the one after `previous`; null: nothing. For chains that are streamed. */
export function linkProblem(previous: ChainLink | null, entry: AuditEntry): string | null {
  const after = previous ?? genesis;
  if (entry.seq !== after.seq + 1) return `entry ${after.seq + 1} is missing: ${entry.seq} follows ${after.seq}`;
  const foreign = Object.keys(entry).find((name) => !members.has(name));
  if (foreign !== undefined) return `entry ${entry.seq} has ${JSON.stringify(foreign)}, which was never part of an entry`;
  if (entry.previous !== after.hash) return `entry ${entry.seq} does not follow the entry before it`;
  if (contentHashOf(entry) !== entry.contentHash) return `entry ${entry.seq} was changed`;
  if (sha256Hex(entry.previous + entry.contentHash) !== entry.hash) return `the hash of entry ${entry.seq} was changed`;
  return null;
}

export type ChainVerdict =
  | { readonly is: 'whole'; readonly entries: number; readonly head: string }
  | { readonly is: 'broken'; readonly seq: number; readonly because: string };

/** `head`: a head that was published earlier; the chain must contain it, so that a cut-off end is seen. */
export function verifyChain(
  entries: Iterable<AuditEntry>,
  options: { readonly start?: ChainLink; readonly head?: ChainLink } = {},
): ChainVerdict {
  let previous: ChainLink = options.start ?? genesis;
  let count = 0;
  for (const entry of entries) {
    const problem = linkProblem(previous, entry);
    if (problem !== null) return { is: 'broken', seq: entry.seq, because: problem };
    if (options.head !== undefined && entry.seq === options.head.seq && entry.hash !== options.head.hash) {
      return { is: 'broken', seq: entry.seq, because: `entry ${entry.seq} is not the one whose head was signed` };
    }
    previous = entry;
    count += 1;
  }
  if (options.head !== undefined && previous.seq < options.head.seq) {
    return { is: 'broken', seq: previous.seq + 1, because: `the chain ends at ${previous.seq}, a head was signed at ${options.head.seq}` };
  }
  return { is: 'whole', entries: count, head: previous.hash };
}

/** The end of the chain at one moment, signed with Ed25519, to be published where the service cannot change it. */
export interface SignedHead extends ChainLink {
  readonly at: string;
  /** Base64 of the Ed25519 signature over the canonical JSON of `{ at, hash, seq }`. */
  readonly signature: string;
}

export function signHead(head: ChainLink, at: string, privateKeyPem: string): SignedHead {
  const signature = sign(null, headBytes(head, at), createPrivateKey(privateKeyPem)).toString('base64');
  return { seq: head.seq, hash: head.hash, at, signature };
}

export function isSignedBy(head: SignedHead, publicKeyPem: string): boolean {
  return isSignature(head.signature, headBytes(head, head.at), publicKeyPem);
}

/** One text for one signature: decoding passes over what does not belong into base64. */
function isSignature(text: unknown, bytes: Buffer, publicKeyPem: string): boolean {
  if (typeof text !== 'string') return false;
  const signature = Buffer.from(text, 'base64');
  return signature.toString('base64') === text && verify(null, bytes, createPublicKey(publicKeyPem), signature);
}

/**
 * What one repair was, who allowed it and how it ended, provable offline with the published key alone. The path proves each entry that it
 * shows; that these are all there are about the repair (that it was not undone, say) is what the signature of the whole vouches for.
 */
export interface Certificate {
  readonly version: 2;
  readonly subject: string;
  readonly effectDigest: string;
  /** The entries about the repair, in order. */
  readonly entries: readonly AuditEntry[];
  /** Content hashes of the entries between the first one and the head, itself included, as `[seq, contentHash]`; others stay unread. */
  readonly path: readonly (readonly [number, string])[];
  readonly head: SignedHead;
  /** Base64 of the Ed25519 signature over the canonical JSON of everything else. */
  readonly signature: string;
}

/** Entries to walk in one certificate: 32 bytes each, so at most some 10 MB. Sign heads more often than that. */
const maxPath = 100_000;

/**
 * `chain` are the entries from the first one about `subject` to the signed head, without a gap. Null where it holds none about it.
 */
export function makeCertificate(input: {
  readonly subject: string;
  readonly effectDigest: string;
  readonly chain: readonly AuditEntry[];
  /** Entries are about the repair when they name its subject, or one of these (its proposal, its case). */
  readonly alsoAbout?: readonly string[];
  readonly head: SignedHead;
  readonly privateKeyPem: string;
}): Certificate | null {
  const subjects = new Set([input.subject, ...(input.alsoAbout ?? [])]);
  const entries = input.chain.filter((entry) => subjects.has(entry.subject) && entry.seq <= input.head.seq);
  const [first] = entries;
  if (first === undefined) return null;
  const path = input.chain
    .filter((entry) => entry.seq >= first.seq && entry.seq <= input.head.seq)
    .slice(0, maxPath)
    .map((entry) => [entry.seq, entry.contentHash] as const);
  const body = { version: 2, subject: input.subject, effectDigest: input.effectDigest, entries, path, head: input.head } as const;
  return { ...body, signature: sign(null, bodyBytes(body), createPrivateKey(input.privateKeyPem)).toString('base64') };
}

export function verifyCertificate(
  certificate: Certificate,
  publicKeyPem: string,
): { readonly is: 'valid' } | { readonly is: 'invalid'; readonly because: string } {
  const invalid = (because: string) => ({ is: 'invalid', because }) as const;
  const [first] = certificate.entries;
  if (first === undefined) return invalid('it holds no entries');
  if (!isSignedBy(certificate.head, publicKeyPem)) return invalid('the head is not signed with this key');
  const { signature, ...body } = certificate;
  if (!isSignature(signature, bodyBytes(body), publicKeyPem)) return invalid('it is not as it was signed');
  const contents = new Map(certificate.path);
  for (const entry of certificate.entries) {
    if (contentHashOf(entry) !== entry.contentHash) return invalid(`entry ${entry.seq} was changed`);
    if (contents.get(entry.seq) !== entry.contentHash) return invalid(`entry ${entry.seq} is not on the path to the head`);
  }
  let hash = first.previous;
  let seq = first.seq - 1;
  for (const [at, content] of certificate.path) {
    if (at !== seq + 1) return invalid(`the path has a gap after ${seq}`);
    hash = sha256Hex(hash + content);
    seq = at;
    const named = certificate.entries.find((entry) => entry.seq === at);
    if (named !== undefined && named.hash !== hash) return invalid(`the hash of entry ${at} was changed`);
  }
  if (seq !== certificate.head.seq || hash !== certificate.head.hash) return invalid('the path does not lead to the signed head');
  const names = (facts: Json): boolean => canonicalJson(facts).includes(certificate.effectDigest);
  return certificate.entries.some((entry) => names(entry.facts)) ? { is: 'valid' } : invalid('no entry names the effect digest');
}

/** How the repair ended, by the last entry about it that says so. */
export function endOf(certificate: Certificate): 'sealed' | 'compensated' | 'failed' | 'stale' | 'open' {
  const ends = ['sealed', 'compensated', 'failed', 'stale'] as const;
  const last = certificate.entries.findLast(
    ({ subject, action }) => subject === certificate.subject && ends.some((end) => action === `repair.${end}`),
  );
  return ends.find((end) => last?.action === `repair.${end}`) ?? 'open';
}

function contentHashOf(entry: AuditDraft & { readonly seq: number }): string {
  const { seq, at, actor, action, subject, facts } = entry;
  return sha256Hex(canonicalJson({ seq, at, actor, action, subject, facts }));
}

function headBytes(head: ChainLink, at: string): Buffer {
  return Buffer.from(canonicalJson({ at, hash: head.hash, seq: head.seq }));
}

function bodyBytes(body: Omit<Certificate, 'signature'>): Buffer {
  return Buffer.from(canonicalJson(body as unknown as Json));
}
