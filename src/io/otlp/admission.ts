import { timingSafeEqual } from 'node:crypto';
import type { Server as NetServer } from 'node:net';
import { Failure } from '../../base/failure.ts';

/**
 * What both receivers hold at once, so that no number of exporters takes more than the bound: requests in flight and their bytes, as
 * received and decompressed. One that does not fit is told to come back, never queued.
 */
export class Admission {
  readonly #mostRequests: number;
  readonly #mostBytes: number;
  #requests = 0;
  #bytes = 0;

  constructor(mostRequests: number, mostBytes: number) {
    this.#mostRequests = mostRequests;
    this.#mostBytes = mostBytes;
  }

  /** Undefined where there is no room. `declared`: the body's length where the client says it, else 0. */
  enter(declared: number): Admitted | undefined {
    if (this.#requests >= this.#mostRequests || (this.#bytes > 0 && this.#bytes + declared > this.#mostBytes)) return undefined;
    this.#requests += 1;
    this.#bytes += declared;
    let held = declared;
    return {
      hold: (bytes) => {
        this.#bytes += bytes - held;
        held = bytes;
      },
      holdIfRoom: (bytes) => {
        // Alone, any body within the limit fits.
        if (this.#bytes > held && this.#bytes - held + bytes > this.#mostBytes) return false;
        this.#bytes += bytes - held;
        held = bytes;
        return true;
      },
      leave: () => {
        this.#requests -= 1;
        this.#bytes -= held;
        held = 0;
      },
    };
  }
}

export interface Admitted {
  /** How many bytes the request really holds now. */
  hold(bytes: number): void;
  /** The same for what will be held; false, and nothing changes, where there is no room for it. */
  holdIfRoom(bytes: number): boolean;
  leave(): void;
}

export function isSameToken(header: string | undefined, expected: Buffer): boolean {
  // The scheme is case-insensitive (RFC 9110, 11.1); the token is not.
  const given = Buffer.from((header ?? '').replace(/^bearer +/i, 'Bearer '));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** Resolves once the server listens; a port that cannot be had is one sentence. */
export function listenOn(server: NetServer, what: string, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const because =
        error.code === 'EADDRINUSE'
          ? 'is in use; stop what listens there or choose another with --port-base'
          : `cannot be opened (${error.code ?? error.message})`;
      reject(new Failure('port', `${what} port ${port} on ${host} ${because}`, 'never', error));
    });
    server.listen(port, host, () => resolve());
  });
}
