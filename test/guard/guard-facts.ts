import type { Collection } from '../../src/domain/collection.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import { parseRowDigest } from '../../src/domain/digest.ts';
import { type Effect, effectDigest, invertEffects } from '../../src/domain/effect.ts';
import type { Proposal } from '../../src/domain/proposal.ts';
import type { GuardFacts } from '../../src/guard/facts.ts';

export const collection: Collection = {
  name: 'profiles',
  domain: 'profiles',
  key: ['id'],
  columnClasses: { balance: 'money' },
  excludedColumns: [],
  invariants: [],
  replicas: ['eu', 'us', 'ap'].map((id) => ({ id, engine: 'postgres', url: '', region: id, role: 'peer', columnNames: {} })),
  scanEveryMs: 1_000,
};

export const domain: ConsistencyDomain = {
  name: 'profiles',
  consistency: 'eventual',
  stalenessMs: 30_000,
  residency: [],
  risk: 'low',
  repair: { mode: 'auto', approvals: 1, rowsPerHour: 100, undoHours: 24, approvalExpiryMinutes: 30 },
  llm: { enabled: true, rawValues: false, tokensPerDay: 100_000 },
};

const digestOf = (letter: string) => parseRowDigest(letter.repeat(32));

export function update(id: string, replica = 'us'): Effect {
  return {
    replica,
    collection: 'profiles',
    key: { id },
    kind: 'update',
    expects: digestOf('a'),
    before: { id, name: 'Eda', balance: '1' },
    after: { id, name: 'Ada', balance: '1' },
    leaves: digestOf('b'),
  };
}

export function proposalOf(effects: readonly Effect[], over: Partial<Proposal> = {}): Proposal {
  return {
    id: 'P1',
    caseId: 'C1',
    domain: 'profiles',
    collection: 'profiles',
    strategy: 'authority',
    effects,
    inverse: invertEffects(effects),
    digest: effectDigest(effects),
    simulation: { digestsEqual: true, invariants: [], rowsTouched: effects.length, inverseRestores: true },
    confidence: 0.97,
    says: 'Update 1 row on us of profiles.',
    evidence: [],
    alternatives: [],
    choice: { by: 'heuristic' },
    author: 'homeostat',
    createdAtMs: 0,
    expiresAtMs: 1_800_000,
    ...over,
  };
}

/** Facts to which no rule objects: each test changes one thing. */
export function factsOf(over: Partial<GuardFacts> = {}): GuardFacts {
  return {
    proposal: proposalOf([update('1')]),
    domain,
    collection,
    nowMs: 1_000,
    isConfirmed: true,
    freeze: null,
    breaker: null,
    rowsLastHour: 0,
    caseReturns: 0,
    record: { verified: 0, failed: 0, verifiedSinceFailure: 0 },
    ...over,
  };
}
