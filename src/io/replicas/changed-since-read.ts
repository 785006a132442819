import type { Key } from '../../domain/row.ts';

/** Thrown inside a connector's transaction to roll it back; its `apply` turns it into the result of that name. */
export class ChangedSinceRead extends Error {
  readonly keys: readonly Key[];
  constructor(keys: readonly Key[]) {
    super('rows changed since they were read');
    this.keys = keys;
  }
}
