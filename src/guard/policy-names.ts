import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import type { Policy } from './cedar.ts';

/** The names that there are. What is absent is not known here, and any name may be right. */
export interface KnownNames {
  /** By attribute, as in `context.strategy` or `resource.mode`. */
  readonly values: Readonly<Record<string, readonly string[] | undefined>>;
  /** By entity type, as in `Domain::"ledger"`. */
  readonly entities: Readonly<Record<string, readonly string[] | undefined>>;
}

/**
 * Names in a policy that nothing has. The schema knows types, not names: a guard of `Domain::"legder"` is valid, says nothing of any repair,
 * and lets through what it was written to stop.
 */
export function strangeNames(policy: Policy, known: KnownNames): readonly string[] {
  const answer = cedar.policyToJson(policy.text);
  if (answer.type !== 'success') return [];
  const { principal: _principal, action: _action, ...rest } = answer.json;
  const problems: string[] = [];
  const note = (what: string, name: string, names: readonly string[] | undefined): void => {
    if (names === undefined || names.includes(name)) return;
    problems.push(`policy "${policy.id}": there is no ${what} "${name}"; there are ${names.join(', ')}`);
  };
  visit(rest, (node) => {
    const { type, id } = node;
    if (typeof type === 'string' && typeof id === 'string') note(type.toLowerCase(), id, known.entities[type]);
    // What must differ from a name that is not there forbids too much, which shows at once.
    for (const operator of ['==', 'contains', 'containsAll', 'containsAny']) {
      const operands = node[operator];
      if (!isObject(operands)) continue;
      const attribute = attributeOf(operands['left']) ?? attributeOf(operands['right']);
      if (attribute === undefined) continue;
      for (const name of [...textsOf(operands['left']), ...textsOf(operands['right'])]) note(attribute, name, known.values[attribute]);
    }
  });
  return [...new Set(problems)];
}

type Node = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Node => typeof value === 'object' && value !== null && !Array.isArray(value);

function visit(value: unknown, take: (node: Node) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, take);
  if (!isObject(value)) return;
  take(value);
  for (const child of Object.values(value)) visit(child, take);
}

/** The name of an attribute that is read: `{".": {"left": {"Var": "context"}, "attr": "strategy"}}`. */
function attributeOf(value: unknown): string | undefined {
  const read = isObject(value) ? value['.'] : undefined;
  if (!isObject(read) || typeof read['attr'] !== 'string' || !isObject(read['left']) || typeof read['left']['Var'] !== 'string')
    return undefined;
  return read['attr'];
}

/** A text, or the texts of a set. */
function textsOf(value: unknown): readonly string[] {
  if (!isObject(value)) return [];
  if (typeof value['Value'] === 'string') return [value['Value']];
  return Array.isArray(value['Set']) ? value['Set'].flatMap(textsOf) : [];
}
