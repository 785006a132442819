import { connect, createServer, type Socket } from 'node:net';

export interface ByteProxy {
  readonly port: number;
  /** Bytes in both directions so far. */
  bytes(): number;
  close(): Promise<void>;
}

/** A TCP proxy that counts: the same yardstick for every tool. */
export function startByteProxy(targetPort: number): Promise<ByteProxy> {
  let bytes = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const target = connect(targetPort, '127.0.0.1');
    for (const [from, to] of [
      [socket, target],
      [target, socket],
    ] as const) {
      sockets.add(from);
      from.on('data', (chunk) => {
        bytes += chunk.length;
        to.write(chunk);
      });
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
      resolve({
        port: address !== null && typeof address === 'object' ? address.port : 0,
        bytes: () => bytes,
        close: () =>
          new Promise((done) => {
            for (const socket of sockets) socket.destroy();
            server.close(() => done());
          }),
      });
    });
  });
}
