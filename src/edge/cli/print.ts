/** Sentences and tables for a terminal: colours on a tty only, numbers to the right. */
import type { CliContext } from './program.ts';

const codes = { red: 31, green: 32, amber: 33, accent: 34, dim: 2, bold: 1 } as const;

export function paint(context: CliContext, colour: keyof typeof codes, text: string): string {
  const isPlain = !context.isTty || context.env['NO_COLOR'] !== undefined;
  return isPlain ? text : `\u001b[${codes[colour]}m${text}\u001b[0m`;
}

export interface TableColumn<T> {
  readonly head: string;
  readonly of: (item: T) => string | number;
  readonly isRight?: boolean;
}

export function table<T>(items: readonly T[], columns: readonly TableColumn<T>[]): string {
  const cells = [columns.map((column) => column.head), ...items.map((item) => columns.map((column) => String(column.of(item))))];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => (row[index] ?? '').length)));
  return cells
    .map((row) =>
      row
        .map((cell, index) => (columns[index]?.isRight === true ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `12 s`, `4 min`, `3 h`, `2 d`. */
export function duration(ms: number): string {
  const absolute = Math.abs(ms);
  if (absolute < 1000) return `${Math.round(absolute)} ms`;
  if (absolute < 60_000) return `${Math.round(absolute / 1000)} s`;
  if (absolute < 3_600_000) return `${Math.round(absolute / 60_000)} min`;
  if (absolute < 172_800_000) return `${Math.round(absolute / 3_600_000)} h`;
  return `${Math.round(absolute / 86_400_000)} d`;
}

export function count(rows: number, one: string, many = `${one}s`): string {
  return `${rows.toLocaleString('en')} ${rows === 1 ? one : many}`;
}
