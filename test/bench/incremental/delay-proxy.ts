import { connect, createServer, type Socket } from 'node:net';

export interface DelayProxy {
  readonly port: number;
  /** What the target sends from now on comes this much later; never before what it sent earlier. */
  setDelay(ms: number): void;
  close(): Promise<void>;
}

/** A TCP proxy that holds back what the target answers: replication through it lags. */
export function startDelayProxy(targetPort: number): Promise<DelayProxy> {
  let delayMs = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const target = connect(targetPort, '127.0.0.1');
    const held: { readonly chunk: Buffer; readonly dueMs: number }[] = [];
    let timer: NodeJS.Timeout | undefined;
    const release = (): void => {
      timer = undefined;
      for (let first = held[0]; first !== undefined && first.dueMs <= performance.now(); first = held[0]) {
        socket.write(first.chunk);
        held.shift();
      }
      const [next] = held;
      if (next !== undefined) timer = setTimeout(release, Math.max(1, next.dueMs - performance.now()));
    };
    socket.on('data', (chunk) => target.write(chunk));
    target.on('data', (chunk: Buffer) => {
      const dueMs = Math.max(performance.now() + delayMs, held.at(-1)?.dueMs ?? 0);
      held.push({ chunk, dueMs });
      timer ??= setTimeout(release, delayMs);
    });
    for (const [one, other] of [
      [socket, target],
      [target, socket],
    ] as const) {
      sockets.add(one);
      one.on('close', () => {
        clearTimeout(timer);
        other.destroy();
        sockets.delete(one);
      });
      one.on('error', () => other.destroy());
    }
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve({
        port: address !== null && typeof address === 'object' ? address.port : 0,
        setDelay: (ms) => {
          delayMs = ms;
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
