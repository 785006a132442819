/**
 * A place in a binary log, told from the same place in another log. GTIDs and offsets alone do not do that: a server whose log was reset
 * counts from the beginning again, and one that came back with a backup, or without what was not yet on its disk, gives numbers out a
 * second time. What is read on from there would leave out what it wrote before. A file of the log is known by when it was begun.
 */
export interface LogPosition {
  /** On MariaDB: one for each domain; they say where to go on. */
  readonly gtids: readonly string[] | undefined;
  /** The file that holds the end of what was told, and the offset of that end. On MySQL these say where to go on. */
  readonly file: string;
  readonly offset: number;
  /** When the file was begun, by the server's clock, in seconds since 1970; 0 where that is not known yet. */
  readonly begunS: number;
}

/** `binlog.000003:1234@1767600000`, on MariaDB after `0-1-7,1-2-9 `; undefined where it is none of these. */
export function parseLogPosition(text: string): LogPosition | undefined {
  const match = /^(?:([\d,-]*) )?([^ ].*):(\d+)@(\d+)$/s.exec(text);
  if (match === null) return undefined;
  const [, gtids, file = '', offset, begunS] = match;
  return { gtids: gtids === undefined ? undefined : parseGtids(gtids), file, offset: Number(offset), begunS: Number(begunS) };
}

export function formatLogPosition({ gtids, file, offset, begunS }: LogPosition): string {
  return `${gtids === undefined ? '' : `${gtids.join(',')} `}${file}:${offset}@${begunS}`;
}

export const parseGtids = (text: string): readonly string[] => text.split(',').filter((gtid) => gtid !== '');
