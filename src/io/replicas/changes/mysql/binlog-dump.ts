/**
 * Reads the binary log as a replica does, over a connection of `mysql2`, which logs in and frames packets. Its own dump command hides
 * the bytes of the events that matter here.
 */
import { EventEmitter } from 'node:events';
import mysql from 'mysql2/promise';
import { systemClock } from '../../../../base/clock.ts';
import { Failure } from '../../../../base/failure.ts';
import type { LogPosition } from './log-position.ts';

export interface DumpOptions {
  readonly url: string;
  readonly from: LogPosition;
  /** A server tells two readers with one id apart by ending the older. */
  readonly serverId: number;
  /** Called first, with whether events end with a checksum. */
  readonly onLogin: (hasChecksums: boolean) => void;
  /** One event, header and body. What is returned is waited for before the next one is read. */
  readonly onEvent: (event: Buffer) => Promise<void> | undefined;
  readonly signal: AbortSignal;
}

/** The parts of `mysql2` beneath its promises that its types leave out. */
interface RawConnection {
  addCommand(command: DumpCommand): void;
  write(bytes: Buffer): void;
  sequenceId: number;
  pause(): void;
  resume(): void;
  readonly stream: { destroy(): void };
}

interface RawPacket {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly end: number;
  isEOF(): boolean;
  isError(): boolean;
  asError(encoding: string): Error;
}

/** Nothing happened for this long: the server says so, and where the log ends. */
const heartbeatMs = 5_000;
const silenceMs = 60_000;
const COM_BINLOG_DUMP = 0x12;

class DumpCommand extends EventEmitter {
  readonly #dump: Buffer;
  readonly #onEvent: (event: Buffer) => void;
  #isSent = false;

  constructor(dump: Buffer, onEvent: (event: Buffer) => void) {
    super();
    this.#dump = dump;
    this.#onEvent = onEvent;
  }

  /** Called by `mysql2` once without a packet, then with each that comes; true: the command has ended. */
  execute(packet: RawPacket | undefined, connection: RawConnection): boolean {
    if (!this.#isSent || packet === undefined) {
      this.#isSent = true;
      connection.write(this.#dump);
      connection.sequenceId = 1;
      return false;
    }
    if (packet.isError()) {
      this.emit('error', packet.asError('utf8'));
      return true;
    }
    if (packet.isEOF()) {
      this.emit('error', new Failure('changes-ended', 'The server ended the binary log: it is read again.', 'later'));
      return true;
    }
    // A zero, then the event.
    this.#onEvent(packet.buffer.subarray(packet.offset + 1, packet.end));
    return false;
  }
}

/** Until the signal aborts (then it resolves) or the connection is lost (then it throws what `mysql2` threw). */
export async function dumpBinlog(options: DumpOptions): Promise<void> {
  const { from, signal, serverId } = options;
  if (signal.aborted) return;
  const connection = await mysql.createConnection({ uri: options.url, connectTimeout: 10_000, enableKeepAlive: true });
  const raw = (connection as unknown as { readonly connection: RawConnection }).connection;
  const failed = new Promise<never>((_resolve, reject) => connection.on('error', reject));
  failed.catch(() => undefined);
  let lastHeardMs = systemClock.monotonicMs();
  const watch = setInterval(() => {
    if (systemClock.monotonicMs() - lastHeardMs > silenceMs) raw.stream.destroy();
  }, heartbeatMs);
  try {
    // Both generations of names; a server takes those that it knows for variables of ours.
    for (const name of ['master', 'source']) {
      await connection.query(
        `SET @${name}_binlog_checksum = @@GLOBAL.binlog_checksum, @${name}_heartbeat_period = ${heartbeatMs * 1_000_000}`,
      );
    }
    const [rows] = await connection.query<mysql.RowDataPacket[]>('SELECT @@GLOBAL.binlog_checksum AS checksum');
    options.onLogin(rows[0]?.['checksum'] !== 'NONE');
    if (from.gtids !== undefined) {
      await connection.query('SET @mariadb_slave_capability = 4, @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0');
      await connection.query('SET @slave_connect_state = ?', [from.gtids.join(',')]);
    }
    const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    const broken = new Promise<never>((_resolve, reject) => {
      const command = new DumpCommand(dumpPacket(from, serverId), (event) => {
        lastHeardMs = systemClock.monotonicMs();
        try {
          const waits = options.onEvent(event);
          if (waits === undefined) return;
          raw.pause();
          waits.then(() => raw.resume(), reject);
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
      command.on('error', reject);
      raw.addCommand(command);
    });
    await Promise.race([stopped, broken, failed]);
  } finally {
    clearInterval(watch);
    // What `mysql2` calls destroying ends our half only, and the server goes on sending.
    connection.destroy();
    raw.stream.destroy();
  }
}

/** Position, flags, server id, file; a position by GTID goes before, and the file stays empty. */
function dumpPacket(from: LogPosition, serverId: number): Buffer {
  const file = Buffer.from(from.gtids === undefined ? from.file : '');
  const packet = Buffer.alloc(4 + 11 + file.length);
  packet.writeUIntLE(11 + file.length, 0, 3);
  packet.writeUInt8(COM_BINLOG_DUMP, 4);
  packet.writeUInt32LE(from.gtids === undefined ? from.offset : 4, 5);
  packet.writeUInt16LE(0, 9);
  packet.writeUInt32LE(serverId, 11);
  file.copy(packet, 15);
  return packet;
}
