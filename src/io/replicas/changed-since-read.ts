import { Failure } from '../../base/failure.ts';
import type { Key } from '../../domain/row.ts';

/** Thrown inside a connector's transaction to roll it back; its `apply` turns it into the result of that name. */
export class ChangedSinceRead extends Error {
  readonly keys: readonly Key[];
  constructor(keys: readonly Key[]) {
    super('rows changed since they were read');
    this.keys = keys;
  }
}

/** An insert that did not go in though no row of its key is there: nothing has changed, and proposing it anew would end the same way. */
export function refusedInsert(who: string, rows: number): Failure {
  return new Failure(
    'constraint',
    `${who} takes ${rows} of the new rows not in: a value that must be unique there belongs to another row, or a trigger or rule keeps them out.`,
    'never',
  );
}
