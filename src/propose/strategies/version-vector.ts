import { z } from 'zod';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { presentRows } from '../present-rows.ts';
import { defineStrategy } from '../strategy.ts';

/** Dominance is causality itself (Parker et al. 1983); what remains is that writers must keep the vector honestly. */
const margin = 0.98;

export const versionVector = defineStrategy({
  id: 'version-vector',
  title: 'Version vector',
  sentence:
    'Copies the row whose version vector has seen everything that the others have; concurrent rows are left to a merge or a person.',
  options: z.strictObject({
    /** A JSON column such as `{"eu": 4, "us": 2}`: how many writes of each replica the row has seen. */
    column: z.string().optional(),
  }),
  needs: ({ shape }, { column }) => {
    if (column === undefined) return 'its options name no version vector column';
    return shape.columns.some(({ name }) => name === column) ? null : `there is no column ${column}`;
  },
  decide: (divergence, situation, { column = '' }) => {
    const present = presentRows(divergence, situation);
    if (present.is === 'undecided') return { is: 'not-mine', because: present.because };
    const rows = present.rows.map((each) => ({ ...each, vector: parseVector(each.row[column] ?? null) }));
    const unreadable = rows.find(({ vector }) => vector === null);
    if (unreadable !== undefined) return { is: 'not-mine', because: `${column} on ${unreadable.replica} is not a version vector` };
    const winners = rows.filter(({ vector }) => rows.every((other) => hasSeen(vector, other.vector)));
    const [winner] = winners;
    if (winner === undefined) return { is: 'not-mine', because: 'the rows were changed concurrently' };
    if (new Set(winners.map(({ row }) => digestOrAbsent(situation.shape, row))).size > 1)
      return { is: 'not-mine', because: 'two different rows have the same version vector' };
    return { is: 'wanted', row: winner.row, margin };
  },
  because: (rows) =>
    `the version vector of ${rows === 1 ? 'the row' : `each of ${rows} rows`} that is copied has seen all that the others have.`,
  example: {
    situation: exampleSituation({
      types: { seen: 'json' },
      strategyOptions: { 'version-vector': { column: 'seen' } },
      rows: { eu: { id: '1', name: 'Ada', seen: '{"eu": 2, "us": 1}' }, us: { id: '1', name: 'Eda', seen: '{"eu": 1, "us": 1}' } },
    }),
    wanted: { id: '1', name: 'Ada', seen: '{"eu": 2, "us": 1}' },
  },
});

type Vector = ReadonlyMap<string, bigint>;

function parseVector(text: string | null): Vector | null {
  if (text === null) return null;
  // Counters may be larger than a double holds, so the numbers are read from the text: canonical JSON writes them plainly.
  if (!/^\{(?:\s*"(?:[^"\\]|\\.)*": ?\d+\s*(?:,(?=\s*")|(?=\})))*\s*\}$/.test(text)) return null;
  return new Map(Array.from(text.matchAll(/"((?:[^"\\]|\\.)*)": ?(\d+)/g), ([, name = '', count = '0']) => [name, BigInt(count)]));
}

function hasSeen(one: Vector | null, other: Vector | null): boolean {
  if (one === null || other === null) return false;
  return [...other].every(([replica, count]) => (one.get(replica) ?? 0n) >= count);
}
