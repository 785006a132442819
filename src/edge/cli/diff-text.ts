/** What `homeostat diff` says on a terminal: the verdict in a sentence, then the keys that differ. */
import type { Divergence } from '../../domain/divergence.ts';
import type { CompareProgress, CompareSummary } from '../../runtime/compare.ts';

const n = (value: number): string => value.toLocaleString('en-US');

export class DiffTally {
  readonly #kinds = new Map<string, number>();
  differing = 0;

  add(divergence: Divergence): void {
    this.differing += 1;
    const lacking = Object.entries(divergence.replicas).flatMap(([id, row]) => (row === null ? [id] : []));
    const kind = divergence.is === 'different' ? 'different' : `${divergence.is}, not on ${list(lacking)}`;
    this.#kinds.set(kind, (this.#kinds.get(kind) ?? 0) + 1);
  }

  get kinds(): string {
    return [...this.#kinds]
      .toSorted(([, a], [, b]) => b - a)
      .map(([kind, count]) => `${n(count)} ${kind}`)
      .join('; ');
  }
}

export function list(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`;
}

export function summaryText(summary: CompareSummary, tally: DiffTally): string {
  const { differing } = tally;
  const verdict =
    differing === 0
      ? `${summary.collection}: ${list(summary.replicas)} are equal.`
      : `${summary.collection}: ${n(differing)} ${differing === 1 ? 'key differs' : 'keys differ'} among ${list(summary.replicas)} (${tally.kinds}).`;
  const moving = summary.flapping === 0 ? '' : ` ${n(summary.flapping)} of them changed while they were looked at.`;
  return `${verdict}${moving} ${n(summary.rowsScanned)} rows scanned, ${n(summary.bytesMoved)} bytes moved, ${n(summary.rowsFetched)} rows fetched, ${summary.rounds} rounds, ${summary.seconds.toFixed(1)} s.`;
}

export function divergenceText(divergence: Divergence): string {
  const key = Object.entries(divergence.key)
    .map(([column, value]) => `${column} ${quoted(value)}`)
    .join(', ');
  const lines = [`${key}: ${divergence.is}${divergence.columns.length === 0 ? '' : ` in ${divergence.columns.join(', ')}`}`];
  const width = Math.max(...Object.keys(divergence.replicas).map((id) => id.length));
  for (const [id, row] of Object.entries(divergence.replicas)) {
    const shown = divergence.columns.length > 0 ? divergence.columns : Object.keys(row ?? {});
    const says = row === null ? 'no row' : shown.map((column) => `${column}=${quoted(row[column] ?? null)}`).join(' ');
    lines.push(`  ${id.padEnd(width)}  ${says}`);
  }
  return lines.join('\n');
}

/** NULL apart from text; control characters escaped, so that a value cannot write to the terminal. */
function quoted(value: string | null): string {
  if (value === null) return 'NULL';
  const text = JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}…` : value);
  // eslint-disable-next-line no-control-regex
  return text.replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const doing: Readonly<Record<CompareProgress['phase'], string>> = {
  pause: 'pausing',
  digests: 'scanning',
  keys: 'comparing keys',
  rows: 'reading the rows that differ',
  confirm: 'looking once more at what differs',
};

/** One line: what is being done, how far, how long it may still take. `from`: rows that an earlier run had done. */
export function progressText(progress: CompareProgress, seconds: number, from: number): string {
  const done = from + progress.rowsDone;
  const share = progress.rowsOf === 0 ? 0 : Math.min(1, done / progress.rowsOf);
  const rows =
    progress.rowsOf === 0 ? '' : `, ${n(done)} of about ${n(Math.round(progress.rowsOf))} rows done (${Math.floor(share * 100)} %)`;
  const left =
    progress.rowsDone > 0 && share < 1 ? `, about ${Math.ceil((seconds / progress.rowsDone) * (progress.rowsOf - done))} s left` : '';
  const because = progress.says === undefined ? '' : ` because ${progress.says}`;
  return `${doing[progress.phase]}${because}${rows}, ${n(progress.differing)} differing so far, ${Math.round(seconds)} s${left}`;
}
