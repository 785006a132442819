import { connect, createServer, type Socket } from 'node:net';

export interface DelayProxy {
  /** `host:port` of the proxy. */
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** How long a message is on its way to the server, and what it answers on the way back; milliseconds. */
export interface Ways {
  readonly there: number;
  readonly back: number;
}

/**
 * A TCP proxy before a server of the same machine that is as far away as `ways` says, anew for each request. It is for connections on which
 * one request waits for its answer before the next is sent; no byte overtakes another.
 */
export function startDelayProxy(targetPort: number, ways: (request: string) => Ways): Promise<DelayProxy> {
  const sockets = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();
  const server = createServer({ noDelay: true }, (socket) => {
    const far = connect({ port: targetPort, host: '127.0.0.1', noDelay: true });
    let back = 0;
    const later = (to: Socket): ((chunk: string | Buffer, ms: number) => void) => {
      let dueMs = 0;
      return (chunk, ms) => {
        dueMs = Math.max(dueMs, performance.now() + ms);
        const timer = setTimeout(
          () => {
            timers.delete(timer);
            to.write(chunk);
          },
          Math.max(0, dueMs - performance.now()),
        );
        timers.add(timer);
      };
    };
    const [send, answer] = [later(far), later(socket)];
    socket.on('data', (chunk) => {
      const way = ways(String(chunk));
      back = way.back;
      send(chunk, way.there);
    });
    far.on('data', (chunk) => answer(chunk, back));
    for (const [from, to] of [
      [socket, far],
      [far, socket],
    ] as const) {
      sockets.add(from);
      from.on('close', () => {
        to.destroy();
        sockets.delete(from);
      });
      from.on('error', () => to.destroy());
    }
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      resolve({
        host: `127.0.0.1:${port}`,
        port,
        close: () =>
          new Promise((done) => {
            for (const timer of timers) clearTimeout(timer);
            for (const socket of sockets) socket.destroy();
            server.close(() => done());
          }),
      });
    });
  });
}
