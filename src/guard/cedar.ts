import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import { sha256Hex } from '../base/hash.ts';
import type { MatchedRule } from '../domain/verdict.ts';
import type { GuardFacts } from './facts.ts';
import { changedColumns, isReversible } from './invariants.ts';
import { policySchema } from './policy-schema.ts';

/** One guard from a policy file. */
export interface Policy {
  readonly id: string;
  readonly effect: 'permit' | 'forbid';
  readonly reason: string;
  /** People who must approve what this guard keeps from running by itself. */
  readonly approvals: number;
  readonly file: string;
  readonly text: string;
  /** Actions that it can say something about; `either`: the same thing about both, so that one question answers for both. */
  readonly about: 'either' | 'repair' | 'repair-automatically' | 'unknown';
}

/** A set that parsed, validated against the schema, and is ready to be asked. */
export interface Policies {
  readonly policies: readonly Policy[];
  /** SHA-256 of ids and texts: the version that a verdict was made with. */
  readonly digest: string;
}

export type ParsedPolicies =
  | { readonly is: 'policies'; readonly policies: Policies }
  | { readonly is: 'error'; readonly problems: readonly string[] };

/**
 * Guards are `forbid`; without one of these everything is allowed, so that what remains to decide is what stands in the way.
 * Policies can only forbid more than the hard invariants do, never less: a `permit` of a user adds nothing.
 */
const basePolicyId = 'homeostat:base';
const basePolicy = 'permit(principal, action, resource);';
const wholeSetProblem = 'the policies cannot be used';

/** Parses and validates policy files. Each policy needs `@id` and `@reason`: a verdict names the rule and says why in its words. */
export function parsePolicies(files: readonly { readonly name: string; readonly text: string }[]): ParsedPolicies {
  const problems: string[] = [];
  const policies: Policy[] = [];
  /** In which file and line each policy begins. */
  const places: string[] = [];
  for (const { name, text: written } of files) {
    // Editors on Windows begin files with a byte order mark.
    const file = { name, text: written.replace(/^\uFEFF/, '') };
    const parts = cedar.policySetTextToParts(file.text);
    if (parts.type === 'failure') {
      problems.push(...parts.errors.map((error) => `${file.name}: ${placed(file.text, error)}`));
      continue;
    }
    if (parts.policy_templates.length > 0) problems.push(`${file.name}: templates are not used here; write each policy out`);
    const starts = startsOf(file.text, parts.policies);
    for (const [nth, text] of parts.policies.entries()) {
      const at = starts[nth] ?? -1;
      const place = at < 0 ? file.name : `${file.name}: line ${file.text.slice(0, at).split('\n').length}`;
      const parsed = readPolicy(file.name, place, text);
      if ('problem' in parsed) {
        problems.push(parsed.problem);
        continue;
      }
      policies.push(parsed);
      places.push(place);
    }
  }
  const seen = new Set<string>([basePolicyId]);
  for (const [nth, { id, file }] of policies.entries()) {
    if (seen.has(id)) problems.push(`${places[nth] ?? file}: two policies have the @id "${id}"`);
    seen.add(id);
  }
  if (problems.length > 0) return { is: 'error', problems };

  const answer = cedar.validate({ schema: policySchema, policies: { staticPolicies: staticPolicies(policies) } });
  if (answer.type === 'failure') return { is: 'error', problems: answer.errors.map(({ message }) => message) };
  for (const { policyId, error } of answer.validationErrors) {
    const place = places[policies.findIndex(({ id }) => id === policyId)] ?? wholeSetProblem;
    // The same mistake is found once for each action that the policy is about.
    const words = error.message.replace(/^for policy `[^`]*`, /, '').replace(/ for Action::"[^"]*"/, '');
    const problem = `${place}: policy "${policyId}": ${words}${error.help === null ? '' : ` (${error.help})`}`;
    if (!problems.includes(problem)) problems.push(problem);
  }
  if (problems.length > 0) return { is: 'error', problems };
  const set: Policies = { policies, digest: sha256Hex(JSON.stringify(policies.map(({ id, text }) => [id, text]))) };
  const ready = prepare(set);
  return ready === null ? { is: 'policies', policies: set } : { is: 'error', problems: [ready] };
}

/**
 * What the policies say of these facts. Cedar skips a `forbid` whose evaluation fails, and an unrelated `permit` then wins; so
 * any error in the answer is a rule that denies.
 */
export function evaluatePolicies(
  policies: Policies,
  facts: GuardFacts,
): { readonly rules: readonly MatchedRule[]; readonly approvals: number } {
  const problem = prepare(policies);
  if (problem !== null) return { rules: [evaluationError('policies', problem)], approvals: 1 };
  const context = contextOf(facts);
  const asked = ask(policies, facts, 'repair-automatically', context);
  const denied = needsSecondQuestion(policies, asked) ? ask(policies, facts, 'repair', context) : nothingSaid;
  const rules = [...denied.errors];
  let approvals = 1;
  for (const policy of policies.policies) {
    const denies = denied.forbids.has(policy.id);
    if (!denies && !asked.forbids.has(policy.id)) continue;
    approvals = Math.max(approvals, policy.approvals);
    rules.push({
      id: policy.id,
      effect: denies ? 'denies' : 'forbids-auto',
      reason: policy.reason,
      nearestChange: nearestChange(policies, facts, policy, denies, context),
    });
  }
  for (const error of asked.errors) if (!rules.some(({ id }) => id === error.id)) rules.push(error);
  return { rules, approvals };
}

/** The same for a change that is no repair of rows, as its own context tells it: only what denies it matters, people are asked anyway. */
export function policiesOnChange(
  policies: Policies,
  facts: Pick<GuardFacts, 'collection' | 'domain'>,
  context: PolicyContext,
): { readonly rules: readonly MatchedRule[]; readonly approvals: number } {
  const problem = prepare(policies);
  if (problem !== null) return { rules: [evaluationError('policies', problem)], approvals: 1 };
  const denied = ask(policies, facts, 'repair', context);
  const asked = ask(policies, facts, 'repair-automatically', context);
  const rules: MatchedRule[] = [...denied.errors];
  let approvals = 1;
  for (const policy of policies.policies) {
    if (!denied.forbids.has(policy.id) && !asked.forbids.has(policy.id)) continue;
    approvals = Math.max(approvals, policy.approvals);
    const effect = denied.forbids.has(policy.id) ? 'denies' : 'forbids-auto';
    rules.push({ id: policy.id, effect, reason: policy.reason, nearestChange: null });
  }
  for (const error of asked.errors) if (!rules.some(({ id }) => id === error.id)) rules.push(error);
  return { rules, approvals };
}

/** The summary of a repair that policies see. */
export type PolicyContext = Readonly<Record<string, number | string | boolean | readonly string[]>>;

export function contextOf(facts: GuardFacts): PolicyContext {
  const { proposal, collection } = facts;
  const { effects } = proposal;
  const columns = changedColumns(effects);
  const replicas = [...new Set(effects.map(({ replica }) => replica))].toSorted();
  const now = new Date(facts.nowMs);
  return {
    rows: effects.length,
    inserts: effects.filter(({ kind }) => kind === 'insert').length,
    updates: effects.filter(({ kind }) => kind === 'update').length,
    deletes: effects.filter(({ kind }) => kind === 'delete').length,
    replicas,
    regions: [...new Set(collection.replicas.filter(({ id }) => replicas.includes(id)).map(({ region }) => region))].toSorted(),
    columns,
    classes: [...new Set(columns.map((column) => collection.columnClasses[column] ?? 'plain'))].toSorted(),
    strategy: proposal.strategy,
    // Rounded down: a guard "at least 95" means it.
    confidencePercent: Math.floor(proposal.confidence * 100),
    reversible: isReversible(proposal),
    chosenBy: proposal.choice.by,
    modelAgrees: proposal.choice.by !== 'llm' || proposal.choice.agrees,
    rowsLastHour: facts.rowsLastHour,
    caseReturns: facts.caseReturns,
    verifiedBefore: facts.record.verified,
    failedBefore: facts.record.failed,
    hourUtc: now.getUTCHours(),
    weekdayUtc: ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'][now.getUTCDay()] ?? 'sunday',
  };
}

type Action = 'repair' | 'repair-automatically';
interface Said {
  readonly forbids: ReadonlySet<string>;
  readonly errors: readonly MatchedRule[];
}
const nothingSaid: Said = { forbids: new Set(), errors: [] };

/**
 * A policy that is about either action and did not match one does not match the other. So the second question is asked only when
 * something matched, or some policy is about `repair` alone or looks at the action in its conditions.
 */
function needsSecondQuestion(policies: Policies, asked: Said): boolean {
  return (
    asked.forbids.size > 0 || asked.errors.length > 0 || policies.policies.some(({ about }) => about === 'repair' || about === 'unknown')
  );
}

function ask(policies: Policies, facts: Pick<GuardFacts, 'collection' | 'domain'>, action: Action, context: PolicyContext): Said {
  const { collection, domain } = facts;
  const answer = cedar.statefulIsAuthorized({
    principal: { type: 'Service', id: 'homeostat' },
    action: { type: 'Action', id: action },
    resource: { type: 'Collection', id: collection.name },
    context: { ...context } as Record<string, cedar.CedarValueJson>,
    // Without the schema, which costs two thirds of the time: the context is made by `contextOf` alone, and a test holds that
    // to the schema. Whatever a policy cannot evaluate is an error, and denies.
    validateRequest: false,
    preparsedPolicySetId: slotOf(policies.digest),
    entities: [
      { uid: { type: 'Domain', id: domain.name }, attrs: {}, parents: [] },
      {
        uid: { type: 'Collection', id: collection.name },
        attrs: {
          name: collection.name,
          domain: domain.name,
          consistency: domain.consistency,
          risk: domain.risk,
          mode: domain.repair.mode,
          regions: [...new Set(collection.replicas.map(({ region }) => region))],
          classes: [...new Set(Object.values(collection.columnClasses))],
        },
        parents: [{ type: 'Domain', id: domain.name }],
      },
    ],
  });
  if (answer.type === 'failure')
    return { forbids: new Set(), errors: answer.errors.map(({ message }) => evaluationError('policies', message)) };
  const { decision, diagnostics } = answer.response;
  const errors = diagnostics.errors.map(({ policyId, error }) => evaluationError(policyId, error.message));
  if (decision === 'allow') return { forbids: new Set(), errors };
  const forbids = new Set(diagnostics.reason);
  // A denial that no policy explains cannot come from a forbid; whatever it is, it is not an allow.
  if (forbids.size === 0 && errors.length === 0) errors.push(evaluationError('policies', 'Cedar denied and named no policy'));
  return { forbids, errors };
}

/** Single changes to the facts that a person could bring about, tried one after the other until the policy no longer forbids. */
function nearestChange(policies: Policies, facts: GuardFacts, policy: Policy, denies: boolean, context: PolicyContext): string | null {
  const action: Action = denies ? 'repair' : 'repair-automatically';
  const allows = (changed: PolicyContext): boolean => {
    const said = ask(policies, facts, action, changed);
    return said.errors.length === 0 && !said.forbids.has(policy.id);
  };
  const rows = Number(context['rows']);
  // Counts are monotone in every sensible guard: look for the largest that passes, in about log2(rows) questions.
  for (const count of ['rows', 'deletes', 'inserts', 'updates', 'rowsLastHour', 'caseReturns', 'failedBefore'] as const) {
    const now = Number(context[count]);
    if (now === 0 || !allows({ ...context, [count]: 0 })) continue;
    let low = 0;
    let high = now;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (allows({ ...context, [count]: middle })) low = middle;
      else high = middle;
    }
    return count === 'rows' && low === 0 ? null : `${count} at most ${low} (now ${now})`;
  }
  for (const count of ['confidencePercent', 'verifiedBefore'] as const) {
    const now = Number(context[count]);
    let high = count === 'confidencePercent' ? 100 : 1_000;
    if (now >= high || !allows({ ...context, [count]: high })) continue;
    let low = now;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (allows({ ...context, [count]: middle })) high = middle;
      else low = middle;
    }
    return `${count} at least ${high} (now ${now})`;
  }
  if (context['reversible'] === false && allows({ ...context, reversible: true })) return 'a repair that can be undone';
  if (context['modelAgrees'] === false && allows({ ...context, modelAgrees: true })) return 'a choice that the heuristic agrees with';
  for (let hours = 1; hours < 24 && rows > 0; hours += 1) {
    const hourUtc = (Number(context['hourUtc']) + hours) % 24;
    if (allows({ ...context, hourUtc })) return `run it at ${String(hourUtc).padStart(2, '0')}:00 UTC`;
  }
  for (const weekdayUtc of ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday']) {
    if (allows({ ...context, weekdayUtc })) return `run it on a ${weekdayUtc}`;
  }
  for (const set of ['replicas', 'regions', 'columns', 'classes'] as const) {
    const members = context[set];
    if (!Array.isArray(members) || members.length < 2) continue;
    const spared = members.find((member) => allows({ ...context, [set]: members.filter((other) => other !== member) }));
    if (spared !== undefined) return `leave ${String(spared)} out (${set})`;
  }
  return null;
}

/**
 * Where each policy begins in its file, -1 where that does not show: Cedar says neither that nor that they come in their order. The longest
 * are placed first, because one can be the end of another.
 */
function startsOf(file: string, policies: readonly string[]): readonly number[] {
  const starts = policies.map(() => -1);
  const taken: { readonly from: number; readonly to: number }[] = [];
  for (const [nth, text] of [...policies.entries()].toSorted(([, a], [, b]) => b.length - a.length)) {
    let at = file.indexOf(text);
    const isTaken = ({ from, to }: (typeof taken)[number]): boolean => at < to && from < at + text.length;
    while (at >= 0 && taken.some(isTaken)) at = file.indexOf(text, at + 1);
    starts[nth] = at;
    if (at >= 0) taken.push({ from: at, to: at + text.length });
  }
  return starts;
}

function readPolicy(file: string, place: string, text: string): Policy | { readonly problem: string } {
  const json = cedar.policyToJson(text);
  const where = `${place}: ${text.trim().split('\n')[0] ?? ''}`;
  if (json.type === 'failure') return { problem: `${where}: ${json.errors.map(({ message }) => message).join('; ')}` };
  const { id, reason, approvals } = json.json.annotations ?? {};
  if (id === undefined || id === '') return { problem: `${where}: the policy has no @id("...")` };
  if (reason === undefined || reason === '') return { problem: `${place}: policy "${id}" has no @reason("...")` };
  const need = approvals === undefined ? 1 : Number(approvals);
  if (!Number.isInteger(need) || need < 1 || need > 20)
    return { problem: `${place}: policy "${id}": @approvals is a whole number from 1 to 20` };
  return { id, effect: json.json.effect, reason, approvals: need, file, text, about: aboutOf(json.json) };
}

function aboutOf(policy: cedar.PolicyJson): Policy['about'] {
  if (JSON.stringify(policy.conditions).includes('{"Var":"action"}')) return 'unknown';
  if (policy.action.op === 'All') return 'either';
  if (policy.action.op !== '==' || !('entity' in policy.action)) return 'unknown';
  const named = JSON.stringify(policy.action.entity);
  return named.includes('"repair-automatically"') ? 'repair-automatically' : named.includes('"repair"') ? 'repair' : 'unknown';
}

function staticPolicies(policies: readonly Policy[]): Record<string, string> {
  return Object.fromEntries([[basePolicyId, basePolicy], ...policies.map(({ id, text }) => [id, text] as const)]);
}

/**
 * Cedar keeps parsed sets inside its wasm memory by name, and has no way to drop one; a ring of slots bounds that memory while
 * many versions are back-tested. This is a memo: the same set gives the same answers whatever is in it.
 */
const slots = 16;
const loaded = new Map<string, string>();

function slotOf(digest: string): string {
  return `policies-${Number.parseInt(digest.slice(0, 8), 16) % slots}`;
}

function prepare(policies: Policies): string | null {
  const slot = slotOf(policies.digest);
  if (loaded.get(slot) === policies.digest) return null;
  const answer = cedar.preparsePolicySet(slot, { staticPolicies: staticPolicies(policies.policies) });
  if (answer.type === 'failure') return answer.errors.map(({ message }) => message).join('; ');
  loaded.set(slot, policies.digest);
  return null;
}

function evaluationError(id: string, message: string): MatchedRule {
  return {
    id: `evaluation-error:${id}`,
    effect: 'denies',
    reason: `The policy ${id} could not be evaluated: ${message}`,
    nearestChange: 'correct the policy',
  };
}

function placed(text: string, error: cedar.DetailedError): string {
  const start = error.sourceLocations?.[0]?.start;
  const expected = error.sourceLocations?.[0]?.label;
  const line = start === undefined ? '' : `line ${text.slice(0, start).split('\n').length}: `;
  return `${line}${error.message}${expected === null || expected === undefined ? '' : ` (${expected})`}`;
}
