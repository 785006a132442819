import { connect, createServer, type Socket } from 'node:net';

export interface StillProxy {
  /** The target's URL, through this proxy. */
  readonly url: string;
  /** From now on bytes go nowhere, and no connection is closed: a server that stands still, or a network that swallows packets. */
  standStill(): void;
  goOn(): void;
  close(): Promise<void>;
}

/** A TCP proxy before the server of `target`, which can stand still. */
export function startStillProxy(target: string): Promise<StillProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let isStill = false;
  const server = createServer((socket) => {
    const far = connect(Number(port), hostname);
    for (const [from, to] of [
      [socket, far],
      [far, socket],
    ] as const) {
      sockets.add(from);
      from.on('data', (chunk) => to.write(chunk));
      if (isStill) from.pause();
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
      const url = new URL(target);
      url.hostname = '127.0.0.1';
      url.port = String(address !== null && typeof address === 'object' ? address.port : 0);
      resolve({
        url: url.href,
        standStill: () => {
          isStill = true;
          for (const socket of sockets) socket.pause();
        },
        goOn: () => {
          isStill = false;
          for (const socket of sockets) socket.resume();
        },
        close: () =>
          new Promise((done) => {
            for (const socket of sockets) socket.destroy();
            server.close(() => done());
          }),
      });
    });
  });
}
