import { createHmac } from 'node:crypto';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { invariant } from '../base/assert.ts';
import { canonicalJson, type Json, sha256Hex } from '../base/hash.ts';
import type { Divergence } from '../domain/divergence.ts';
import type { Evidence } from '../domain/proposal.ts';
import { keyText, type Row } from '../domain/row.ts';
import type { RankedCandidate } from './rank.ts';
import { compareClocks } from './row-clock.ts';
import type { Situation } from './strategy.ts';

/** What a model may name as the cause; anything else is not an answer. */
export const rootCauses = [
  'lost-change-event',
  'late-change-event',
  'dual-write',
  'lost-update',
  'concurrent-writes',
  'stale-cache',
  'clock-skew',
  'manual-change',
  'restored-replica',
  'deleted-and-resent',
  'unknown',
] as const;
export type RootCause = (typeof rootCauses)[number];
export const abstainChoice = 'abstain';

export interface PromptTemplate {
  /** `choose-repair/v1`. */
  readonly name: string;
  readonly system: string;
  readonly user: string;
  readonly output: Json;
  readonly promptTokens: number;
  readonly answerTokens: number;
}

/** One question to a model: no values of rows unless the domain allows them, and a closed set of answers. */
export interface Prompt {
  readonly template: string;
  readonly messages: readonly { readonly role: 'system' | 'user'; readonly content: string }[];
  /** JSON Schema of the only acceptable answers. */
  readonly schema: Json;
  /** SHA-256 of messages and schema: what the choice is recorded with. */
  readonly hash: string;
  readonly answerTokens: number;
  /** Label in the prompt -> candidate id. */
  readonly choices: ReadonlyMap<string, string>;
  readonly evidence: readonly string[];
}

const frontMatter = z.object({
  task: z.string().regex(/^[a-z-]+$/),
  version: z.number().int().positive(),
  inputs: z.array(z.string()),
  output: z.json(),
  promptTokens: z.number().int().min(100).max(100_000),
  answerTokens: z.number().int().min(16).max(10_000),
});
const inputNames = ['collection', 'domain', 'differences', 'candidates', 'evidence', 'causes'] as const;
type Inputs = Record<(typeof inputNames)[number], string>;

/** Parses a file of `prompts/`. Throws on one that is not a prompt: it is part of the program, not of anybody's input. */
export function parsePromptTemplate(text: string): PromptTemplate {
  const parts = /^---\n([\s\S]*?)\n---\n## system\n([\s\S]*?)\n## user\n([\s\S]*)$/.exec(text);
  invariant(parts !== null, 'a prompt has front matter, a system part and a user part');
  const [, head = '', system = '', user = ''] = parts;
  const matter = frontMatter.parse(parseYaml(head));
  for (const input of matter.inputs) invariant(user.includes(`{{${input}}}`), 'a prompt uses each input that it names', { input });
  return {
    name: `${matter.task}/v${matter.version}`,
    system: system.trim(),
    user: user.trim(),
    output: matter.output as Json,
    promptTokens: matter.promptTokens,
    answerTokens: matter.answerTokens,
  };
}

/** Rows shown to the model. The pattern of a case is in its first rows; a hundred more of the same tell it nothing. */
const maxShownKeys = 8;
const maxShownEvidence = 12;
const maxShownColumns = 24;
/** Characters a token, on the low side, so that the estimate errs towards shorter prompts. */
const charactersPerToken = 3;

/**
 * `hmacKey` makes pseudonyms of keys, so that the same key has the same name in every prompt and none can be read back.
 * `allowsRawValues`: the domain's policy says so and the endpoint is in one of its regions; `pii` columns stay patterns even then.
 * `order` shuffles the candidates: a model that prefers whatever stands first must not prefer what the heuristic put first.
 */
export function buildPrompt(input: {
  readonly template: PromptTemplate;
  readonly situation: Situation;
  readonly ranked: readonly RankedCandidate[];
  readonly hmacKey: Uint8Array;
  readonly allowsRawValues: boolean;
  readonly order: number;
}): Prompt {
  const { situation, template } = input;
  invariant(input.ranked.length > 0, 'a model chooses among at least one candidate');
  const shuffled = input.ranked.toSorted((a, b) => (shuffleKey(input.order, a) < shuffleKey(input.order, b) ? -1 : 1));
  const labelled = shuffled.map((candidate, index) => ({ label: `candidate-${index + 1}`, candidate }));
  const evidence = shownEvidence(situation, input.ranked, input.allowsRawValues);
  const schema = fillSchema(template.output, {
    $choices: [...labelled.map(({ label }) => label), abstainChoice],
    $causes: [...rootCauses],
    $evidence: evidence.map(({ id }) => id),
  });
  const { collection, domain } = situation;
  const inputs = (keys: number): Inputs => ({
    collection: `${collection.name}; key ${collection.key.join(', ')}; columns ${columnList(situation)}; invariants: ${collection.invariants.join('; ') || 'none declared'}`,
    domain: `${domain.name}, ${domain.consistency}, risk ${domain.risk}; replicas ${collection.replicas.map(({ id, role }) => `${id} (${role})`).join(', ')}${collection.authority === undefined ? '' : `; declared authority ${collection.authority}`}`,
    differences: differences(situation, keys, input.hmacKey, input.allowsRawValues),
    candidates: labelled.map(({ label, candidate }) => `- ${label}: ${describe(situation, candidate, keys, input.hmacKey)}`).join('\n'),
    evidence: evidence.map(({ id, says }) => `${id}: ${oneLine(says)}`).join('\n') || 'none',
    causes: rootCauses.join(', '),
  });
  let keys = Math.min(maxShownKeys, situation.divergences.length);
  let user = fill(template.user, inputs(keys));
  while (keys > 1 && (template.system.length + user.length) / charactersPerToken > template.promptTokens) {
    keys -= 1;
    user = fill(template.user, inputs(keys));
  }
  const messages = [
    { role: 'system', content: template.system },
    { role: 'user', content: user },
  ] as const;
  return {
    template: template.name,
    messages,
    schema,
    hash: sha256Hex(canonicalJson({ messages: messages.map((message) => ({ ...message })), schema })),
    answerTokens: template.answerTokens,
    choices: new Map(labelled.map(({ label, candidate }) => [label, candidate.id])),
    evidence: evidence.map(({ id }) => id),
  };
}

/** Tokens that the question and its answer may cost: what a budget is asked for before the call. */
export function estimateTokens(prompt: Prompt): number {
  const characters = prompt.messages.reduce((sum, { content }) => sum + content.length, canonicalJson(prompt.schema).length);
  return Math.ceil(characters / charactersPerToken) + prompt.answerTokens;
}

function shuffleKey(order: number, candidate: RankedCandidate): string {
  return sha256Hex(`${order} ${candidate.digest}`);
}

function pseudonym(hmacKey: Uint8Array, situation: Situation, divergence: Pick<Divergence, 'key'>): string {
  const text = JSON.stringify([situation.collection.name, keyText(situation.shape.key, divergence.key)]);
  return `key-${createHmac('sha256', hmacKey).update(text).digest('hex').slice(0, 12)}`;
}

function columnList(situation: Situation): string {
  const others = situation.shape.columns.filter(({ name }) => !situation.shape.key.includes(name));
  const shown = others.slice(0, maxShownColumns).map(({ name, type }) => `${name} ${type}${classOf(situation, name)}`);
  return shown.join(', ') + (others.length > maxShownColumns ? ` and ${others.length - maxShownColumns} more` : '');
}

function classOf(situation: Situation, column: string): string {
  const columnClass = situation.collection.columnClasses[column];
  return columnClass === undefined || columnClass === 'plain' ? '' : ` (${columnClass})`;
}

function differences(situation: Situation, keys: number, hmacKey: Uint8Array, allowsRawValues: boolean): string {
  const shown = situation.divergences.slice(0, keys).map((divergence) => {
    const replicas = Object.keys(divergence.replicas).toSorted();
    const head = `${pseudonym(hmacKey, situation, divergence)} (${divergence.is}): ${replicas.map((id) => `${id}${(divergence.replicas[id] ?? null) === null ? ' -' : ''}`).join(', ')}`;
    const columns = situation.shape.columns
      .filter(({ name }) => !situation.shape.key.includes(name) && (divergence.columns.length === 0 || divergence.columns.includes(name)))
      .slice(0, maxShownColumns)
      .map(({ name }) => `  ${name}${classOf(situation, name)}: ${pattern(situation, divergence, name, replicas, allowsRawValues)}`);
    return [head, ...columns].join('\n');
  });
  const rest = situation.divergences.length - keys;
  return shown.join('\n') + (rest > 0 ? `\nand ${rest} more keys` : '');
}

/** `eu=A us=B ap=A`, and for clocks which replica is ahead: equality and order, not values. */
function pattern(
  situation: Situation,
  divergence: Divergence,
  column: string,
  replicas: readonly string[],
  allowsRawValues: boolean,
): string {
  const isRaw = allowsRawValues && situation.collection.columnClasses[column] !== 'pii';
  const letters = new Map<string, string>();
  const cells = replicas.map((replica) => {
    const row: Row | null = divergence.replicas[replica] ?? null;
    if (row === null) return `${replica}=-`;
    const value = row[column] ?? null;
    if (value === null) return `${replica}=NULL`;
    if (isRaw) return `${replica}=${JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}...` : value)}`;
    const letter = letters.get(value) ?? String.fromCharCode(65 + Math.min(letters.size, 25));
    letters.set(value, letter);
    return `${replica}=${letter}`;
  });
  return (
    cells.join(' ') + (situation.collection.columnClasses[column] === 'clock' ? clockOrder(situation, divergence, column, replicas) : '')
  );
}

function clockOrder(situation: Situation, divergence: Divergence, column: string, replicas: readonly string[]): string {
  const clocks = replicas.flatMap((replica) => {
    const value = divergence.replicas[replica]?.[column] ?? null;
    return value === null ? [] : [{ replica, value }];
  });
  const newest = clocks.find(({ value }) =>
    clocks.every((other) => (compareClocks(situation.shape, column, value, other.value)?.order ?? -1) >= 0),
  );
  if (newest === undefined) return '';
  const holders = clocks.filter(({ value }) => value === newest.value).map(({ replica }) => replica);
  return holders.length === clocks.length ? ' (equal)' : ` (newest on ${holders.join(', ')})`;
}

function describe(situation: Situation, candidate: RankedCandidate, keys: number, hmacKey: Uint8Array): string {
  const counts = Map.groupBy(candidate.effects, ({ replica, kind }) => `${kind} on ${replica}`);
  const what = [...counts].map(([name, list]) => `${list.length} ${name}`).join(', ');
  const covers =
    candidate.covers === undefined || candidate.covers.keys === candidate.covers.of
      ? ''
      : `; settles ${candidate.covers.keys} of ${candidate.covers.of} keys`;
  const sources = situation.divergences.slice(0, keys).map((divergence) => {
    const text = keyText(situation.shape.key, divergence.key);
    const changed = new Set(
      candidate.effects.filter(({ key }) => keyText(situation.shape.key, key) === text).map(({ replica }) => replica),
    );
    if (changed.size === 0) return null;
    const kept = Object.keys(divergence.replicas).filter((replica) => !changed.has(replica));
    return `${pseudonym(hmacKey, situation, divergence)} becomes ${kept.length === 0 ? 'a merged row' : `what ${kept.toSorted().join(', ')} has`}`;
  });
  const results = sources.filter((source) => source !== null).join('; ');
  return `${[candidate.strategy, ...candidate.agreeing].join(' and ')}: ${what}${covers}. ${oneLine(candidate.because)} ${results}.`;
}

/** Sentences that our own code wrote; a cause's title may hold an object key, so it goes in only where raw values may. */
function shownEvidence(situation: Situation, ranked: readonly RankedCandidate[], allowsRawValues: boolean): readonly Evidence[] {
  const all = ranked
    .flatMap(({ evidence }) => evidence)
    .filter((each, index, list) => list.findIndex(({ id }) => id === each.id) === index);
  const { cause } = situation;
  const found: readonly Evidence[] =
    cause === undefined
      ? []
      : [
          {
            id: 'cause',
            kind: 'span',
            says: allowsRawValues
              ? cause.title
              : `a ${cause.grade} finding "${cause.kind}"${cause.service === undefined ? '' : ` in ${cause.service}`}`,
          },
        ];
  return [...found, ...all].slice(0, maxShownEvidence);
}

function fill(text: string, inputs: Inputs): string {
  return text.replaceAll(/\{\{([a-z]+)\}\}/g, (mark, name: string) => {
    const known = inputNames.find((input) => input === name);
    return known === undefined ? mark : inputs[known];
  });
}

function fillSchema(schema: Json, enums: Readonly<Record<string, readonly string[]>>): Json {
  if (typeof schema === 'string') return enums[schema] ?? schema;
  if (schema === null || typeof schema !== 'object') return schema;
  if (Array.isArray(schema)) return (schema as readonly Json[]).map((item) => fillSchema(item, enums));
  return Object.fromEntries(
    Object.entries(schema as { readonly [key: string]: Json }).flatMap(([key, value]) => {
      // An enum without members is not JSON Schema; an array whose items cannot exist is empty.
      if (key === 'enum' && typeof value === 'string' && enums[value]?.length === 0) return [['enum', ['none']] as const];
      return [[key, fillSchema(value, enums)] as const];
    }),
  );
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}
