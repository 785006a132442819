import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import { createRng } from '../../src/base/rng.ts';
import { contextOf, parsePolicies, type Policies } from '../../src/guard/cedar.ts';
import type { GuardFacts } from '../../src/guard/facts.ts';
import { policySchema } from '../../src/guard/policy-schema.ts';
import { decide } from '../../src/guard/verdict.ts';
import { type AuditEntry, nextEntry, verifyChain } from '../../src/report/audit-chain.ts';
import { factsOf, proposalOf, update } from '../guard/guard-facts.ts';
import type { Bench } from './bench.ts';

/** Rows of a proposal: as many as an ordinary case has; the guard hashes and checks each of them for every verdict. */
const rows = 50;

export const bench: Bench = {
  name: 'policy',
  says: 'a whole verdict (hard invariants and Cedar policies) with 20 and 200 policies, and audit entries made a second; against Cedar asked without preparsing',
  run: async ({ quick, log }) => {
    const decisions = quick ? 1_500 : 20_000;
    const few = policySet(20);
    const many = policySet(200);
    const facts = manyFacts(200);
    const at20 = times(decisions, facts, (one) => decide(one, few));
    log(`20 policies: median ${quantile(at20, 0.5).toFixed(3)} ms`);
    const at200 = times(decisions, facts, (one) => decide(one, many));
    log(`200 policies: median ${quantile(at200, 0.5).toFixed(3)} ms`);
    const stateless20 = times(quick ? 200 : 2_000, facts, (one) => askStateless(few, one));
    const stateless200 = times(quick ? 100 : 500, facts, (one) => askStateless(many, one));

    const records = quick ? 20_000 : 300_000;
    const startedMs = performance.now();
    const chain: AuditEntry[] = [];
    for (let index = 0; index < records; index += 1) {
      chain.push(
        nextEntry(chain.at(-1) ?? null, {
          at: '2026-01-01T00:00:00.000Z',
          actor: 'homeostat',
          action: 'repair.sealed',
          subject: `R${index}`,
          facts: { proposal: `P${index}`, digest: 'd'.repeat(64), rows: 12, approvedBy: ['ada', 'bob'] },
        }),
      );
    }
    const madeMs = performance.now() - startedMs;
    const verifyStartedMs = performance.now();
    if (verifyChain(chain).is !== 'whole') throw new Error('the chain that was made is not whole');
    const verifiedMs = performance.now() - verifyStartedMs;
    return {
      figures: {
        p99_ms_20: quantile(at20, 0.99),
        p99_ms_200: quantile(at200, 0.99),
        p50_ms_20: quantile(at20, 0.5),
        p50_ms_200: quantile(at200, 0.5),
        audit_records_per_s: records / (madeMs / 1000),
        audit_verified_per_s: records / (verifiedMs / 1000),
      },
      baseline: { p99_ms_20: quantile(stateless20, 0.99), p99_ms_200: quantile(stateless200, 0.99) },
    };
  },
};

/** Guards as people write them: about size, time, place, kind of column, strategy. Few of them match any one repair. */
function policySet(count: number): Policies {
  const conditions = [
    (n: number) => `context.rows > ${100 + n}`,
    (n: number) => `context.deletes > ${10 + n} && context.strategy != "authority"`,
    (n: number) => `context.columns.contains("column${n}")`,
    (n: number) => `resource.name == "collection${n}" && context.confidencePercent < 99`,
    (n: number) => `context.hourUtc == ${n % 24} && context.weekdayUtc == "sunday" && context.rows > ${n}`,
    (n: number) => `context.classes.contains("pii") && resource.regions.contains("region${n}")`,
  ];
  const text = Array.from({ length: count }, (_, index) => {
    const condition = conditions[index % conditions.length]?.(index) ?? 'false';
    const action = index % 3 === 0 ? 'action' : 'action == Action::"repair-automatically"';
    return `@id("guard-${index}") @reason("Guard number ${index}.") forbid(principal, ${action}, resource) when { ${condition} };`;
  }).join('\n');
  const parsed = parsePolicies([{ name: 'bench.cedar', text }]);
  if (parsed.is === 'error') throw new Error(parsed.problems.join('\n'));
  return parsed.policies;
}

function manyFacts(count: number): readonly GuardFacts[] {
  const rng = createRng(5);
  return Array.from({ length: count }, (_, index) => {
    const effects = Array.from({ length: 1 + rng.int(rows * 2) }, (__, row) => update(`${index}-${row}`, rng.pick(['us', 'ap'])));
    return factsOf({ proposal: proposalOf(effects, { confidence: 0.9 + rng.next() / 10 }), nowMs: rng.int(1_000_000) });
  });
}

function times(count: number, facts: readonly GuardFacts[], work: (facts: GuardFacts) => unknown): readonly number[] {
  const taken: number[] = [];
  // The first tenth warms up and is not counted.
  for (let index = -Math.floor(count / 10); index < count; index += 1) {
    const one = facts[Math.abs(index) % facts.length];
    if (one === undefined) continue;
    const startedMs = performance.now();
    work(one);
    if (index >= 0) taken.push(performance.now() - startedMs);
  }
  return taken.toSorted((a, b) => a - b);
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Cedar's basic interface, which parses schema and policies for every question: one question, where a verdict asks two. */
function askStateless(policies: Policies, facts: GuardFacts): void {
  const answer = cedar.isAuthorized({
    principal: { type: 'Service', id: 'homeostat' },
    action: { type: 'Action', id: 'repair-automatically' },
    resource: { type: 'Collection', id: facts.collection.name },
    context: { ...contextOf(facts) } as Record<string, cedar.CedarValueJson>,
    schema: policySchema,
    validateRequest: true,
    policies: { staticPolicies: Object.fromEntries(policies.policies.map(({ id, text }) => [id, text])) },
    entities: [],
  });
  if (answer.type === 'failure') throw new Error(answer.errors.map(({ message }) => message).join('; '));
}
