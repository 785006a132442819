/**
 * The streaming replication protocol over a connection of `pg` (PostgreSQL documentation, "Streaming Replication Protocol"): starts a
 * logical slot, hands on its messages, and answers with how far we have come.
 */
import pg from 'pg';
import { systemClock } from '../../../../base/clock.ts';
import { Failure } from '../../../../base/failure.ts';

export interface StreamOptions {
  readonly url: string;
  readonly slot: string;
  /** Make the slot first, for the life of this connection. */
  readonly isTemporary: boolean;
  /** The slot is there: what is committed from here on is told. With the LSN where a temporary one begins. */
  readonly onSlot: (beginsAt: bigint | undefined) => void;
  readonly publications: readonly string[];
  /** Leave out what replication wrote here: the server's subscriptions apply under an origin. */
  readonly isLocalOnly: boolean;
  /** One pgoutput message. */
  readonly onMessage: (payload: Buffer) => void;
  /** The server has nothing before this LSN that it has not sent. */
  readonly onKeepalive: (endLsn: bigint) => void;
  /** The LSN up to which all was dealt with. */
  readonly settled: () => bigint;
  readonly signal: AbortSignal;
}

/** The protocol's half-open parts of `pg`, which its types leave out. */
interface ReplicationConnection {
  on(event: 'replicationStart', listener: () => void): void;
  on(event: 'copyData', listener: (message: { readonly chunk: Buffer }) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  sendCopyFromChunk(chunk: Buffer): void;
  readonly stream: { destroy(): void };
}

const statusEveryMs = 1_000;
/** The server sends a keepalive at least this often when asked to; a connection that is silent for longer is dead. */
const silenceMs = 60_000;
/** PostgreSQL counts microseconds from 2000-01-01. */
const postgresEpochMs = 946_684_800_000;

/** Streams until the signal aborts (then it resolves) or the connection is lost (then it throws what `pg` threw). */
export async function streamChanges(options: StreamOptions): Promise<void> {
  const { signal } = options;
  if (signal.aborted) return;
  const settings: pg.ClientConfig & { readonly replication: 'database' } = {
    connectionString: options.url,
    replication: 'database',
    keepAlive: true,
    connectionTimeoutMillis: 10_000,
    application_name: 'homeostat changes',
    // Texts of keys as the connector reads them.
    options: '-c datestyle=ISO,YMD -c timezone=UTC -c intervalstyle=iso_8601 -c extra_float_digits=1 -c bytea_output=hex',
  };
  const client = new pg.Client(settings);
  // A connection that ends says so to the query below; without a listener the process would end with it.
  client.on('error', () => undefined);
  await client.connect();
  const connection = (client as unknown as { readonly connection: ReplicationConnection }).connection;
  let lastHeardMs = systemClock.monotonicMs();
  let isStreaming = false;
  const status = (): void => {
    if (isStreaming) connection.sendCopyFromChunk(statusUpdate(options.settled()));
  };
  const timer = setInterval(() => {
    status();
    if (systemClock.monotonicMs() - lastHeardMs > silenceMs) connection.stream.destroy();
  }, statusEveryMs);
  try {
    options.onSlot(options.isTemporary ? await createTemporarySlot(client, options.slot) : undefined);
    const names = options.publications.map((name) => pg.escapeIdentifier(name)).join(',');
    const streaming = client.query(
      `START_REPLICATION SLOT ${pg.escapeIdentifier(options.slot)} LOGICAL 0/0 (proto_version '1', publication_names ${pg.escapeLiteral(names)}${options.isLocalOnly ? `, origin 'none'` : ''})`,
    );
    connection.on('replicationStart', () => {
      isStreaming = true;
    });
    const stop = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    let failure: unknown;
    const broken = new Promise<never>((_resolve, reject) => {
      connection.on('copyData', ({ chunk }) => {
        lastHeardMs = systemClock.monotonicMs();
        if (failure !== undefined) return;
        try {
          // w: start LSN, end LSN, clock, message; k: end LSN, clock, whether an answer is wanted
          if (chunk[0] === 0x77) options.onMessage(chunk.subarray(25));
          else if (chunk[0] === 0x6b) {
            options.onKeepalive(chunk.readBigUInt64BE(1));
            if (chunk[17] === 1) status();
          }
        } catch (error) {
          failure = error;
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
    await Promise.race([
      stop,
      broken,
      streaming.then(() => {
        throw new Failure('changes-ended', 'The server ended the stream of changes: it is started again.', 'later');
      }),
    ]);
    status();
  } finally {
    isStreaming = false;
    clearInterval(timer);
    // The protocol's polite end waits for the server to send all that it has; what it has is in the slot.
    connection.stream.destroy();
    await client.end().catch(() => undefined);
  }
}

/** Waits until the transactions that are open now have ended. */
async function createTemporarySlot(client: pg.Client, name: string): Promise<bigint> {
  const { rows } = await client.query<{ consistent_point: string }>(
    `CREATE_REPLICATION_SLOT ${pg.escapeIdentifier(name)} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT`,
  );
  return parseLsn(rows[0]?.consistent_point ?? '');
}

/** r: written, flushed, applied, clock, no answer wanted. */
function statusUpdate(lsn: bigint): Buffer {
  const message = Buffer.alloc(34);
  message[0] = 0x72;
  message.writeBigUInt64BE(lsn, 1);
  message.writeBigUInt64BE(lsn, 9);
  message.writeBigUInt64BE(lsn, 17);
  message.writeBigInt64BE(BigInt(systemClock.nowMs() - postgresEpochMs) * 1_000n, 25);
  return message;
}

/** `16/B374D848` as a number. */
export function parseLsn(text: string): bigint {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  if (match === null) throw new RangeError(`not an LSN: ${text}`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}
