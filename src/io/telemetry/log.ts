/** One line a happening, for people and collectors: JSON on stderr. No row values, no URLs with passwords. */
export type Log = (level: 'info' | 'warn' | 'error', says: string, facts?: Readonly<Record<string, unknown>>) => void;

export function createLog(write: (line: string) => void, nowMs: () => number): Log {
  return (level, says, facts = {}) => {
    write(`${JSON.stringify({ at: new Date(nowMs()).toISOString(), level, says, ...facts })}\n`);
  };
}

/** What an error says, with what caused it, without stack: for a log line. */
export function sayError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && !error.message.includes(error.cause.message)
    ? `${error.message} (${error.cause.message})`
    : error.message;
}
