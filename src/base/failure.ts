/**
 * A failure of the world: a refused connection, a full disk, a wrong password. `message` is one sentence that says what to
 * do; `retry` says whether the same call can go through later. Expected outcomes are return values, not failures.
 */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly code: string;
  readonly retry: 'later' | 'never';

  constructor(code: string, message: string, retry: 'later' | 'never', cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.retry = retry;
  }
}
