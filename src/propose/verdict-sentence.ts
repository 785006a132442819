import type { Effect } from '../domain/effect.ts';
import { keyText } from '../domain/row.ts';
import { isCache } from './replica-roles.ts';
import type { Situation } from './strategy.ts';

/** Values longer than this are cut: a sentence is read at 03:10, the rows are beneath it. */
const maxShownCharacters = 40;
/** Columns named in a sentence; more are counted. */
const maxNamedColumns = 3;

/**
 * What will be done and why, the verdict first: "412 profiles are missing in us. Copying them makes all replicas equal. ... Can be
 * undone for 24 h." One changed row is told by its values ("Set balance to 1930 on us (now 1880)") unless a column is `pii`.
 */
export function verdictSentence(situation: Situation, effects: readonly Effect[], because: string, undoHours: number): string {
  const undo = `Can be undone for ${undoHours} h.`;
  const reason = because.charAt(0).toUpperCase() + because.slice(1);
  return [...(oneRow(situation, effects) ?? manyRows(situation, effects)), reason, undo].filter((part) => part !== '').join(' ');
}

/** One key changed on some replicas, in at most two columns that may be shown, from one value to another. */
function oneRow(situation: Situation, effects: readonly Effect[]): readonly string[] | null {
  const [first] = effects;
  if (first === undefined) return null;
  const isSame = (effect: Effect): boolean =>
    effect.kind === 'update' &&
    keyText(situation.shape.key, effect.key) === keyText(situation.shape.key, first.key) &&
    effect.leaves === first.leaves &&
    effect.expects === first.expects;
  if (!effects.every(isSame)) return null;
  const classes = situation.collection.columnClasses;
  const changed = changedColumns(first);
  if (changed.some((column) => classes[column] === 'pii')) return null;
  // The clock moves with every change; it is worth a word only where nothing else does.
  const told = changed.filter((column) => classes[column] !== 'clock' && column !== 'version');
  const columns = told.length === 0 ? changed : told;
  if (columns.length === 0 || columns.length > 2) return null;
  const parts = columns.map((column) => `${column} to ${shown(first.after?.[column])}`);
  const now = columns.map((column) => shown(first.before?.[column])).join(' and ');
  return [`Set ${parts.join(' and ')} on ${list(effects.map(({ replica }) => replica))} (now ${now}).`];
}

function manyRows(situation: Situation, effects: readonly Effect[]): readonly string[] {
  const { collection } = situation;
  const groups = [...Map.groupBy(effects, ({ kind, replica }) => `${kind} ${replica}`).values()];
  const findings: string[] = [];
  const verbs = new Set<string>();
  for (const group of groups) {
    const [first] = group;
    if (first === undefined) continue;
    const rows = `${group.length} ${rowsOf(collection.name, group.length)}`;
    const are = group.length === 1 ? 'is' : 'are';
    if (first.kind === 'insert') {
      verbs.add('copying');
      findings.push(`${rows} ${are} missing in ${first.replica}`);
    } else if (first.kind === 'delete' && isCache(collection, first.replica)) {
      verbs.add('emptying');
      findings.push(`${rows} ${are} stale in ${first.replica}`);
    } else if (first.kind === 'delete') {
      verbs.add('deleting');
      findings.push(`${rows} ${are} in ${first.replica} that should be gone`);
    } else {
      verbs.add('setting');
      findings.push(`${rows} ${group.length === 1 ? 'differs' : 'differ'} in ${first.replica} (${columnList(group)})`);
    }
  }
  const isOne = effects.length === 1;
  const it = isOne ? 'it' : 'them';
  const [only] = verbs;
  const action =
    verbs.size !== 1
      ? 'Repairing them makes'
      : only === 'copying'
        ? `Copying ${it} makes`
        : only === 'emptying'
          ? `Emptying ${it} makes`
          : only === 'deleting'
            ? `Deleting ${it} makes`
            : `Setting ${it} makes`;
  const head = list(findings);
  return [`${head.charAt(0).toUpperCase()}${head.slice(1)}.`, `${action} all replicas equal.`];
}

function rowsOf(collection: string, count: number): string {
  // Collections are named in the plural as often as not; for one row the safe word is "row".
  return count === 1 ? `row of ${collection}` : collection.endsWith('s') ? collection : `rows of ${collection}`;
}

function columnList(effects: readonly Effect[]): string {
  const columns = [...new Set(effects.flatMap(changedColumns))].toSorted();
  const rest = columns.length - maxNamedColumns;
  return rest > 0 ? `${columns.slice(0, maxNamedColumns).join(', ')} and ${rest} more` : columns.join(', ');
}

function changedColumns(effect: Effect): readonly string[] {
  return Object.keys({ ...effect.before, ...effect.after })
    .filter((column) => (effect.before?.[column] ?? null) !== (effect.after?.[column] ?? null))
    .toSorted();
}

function shown(value: string | null | undefined): string {
  if (value === null || value === undefined) return 'NULL';
  if (value === '') return "''";
  const clean = value.replaceAll(/\p{Cc}/gu, ' ');
  return clean.length > maxShownCharacters ? `${clean.slice(0, maxShownCharacters)}…` : clean;
}

function list(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1) ?? ''}`;
}
