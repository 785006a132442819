import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface Child<Ask> {
  ask<T>(message: Ask): Promise<T>;
  close(): void;
}

/** A child process that answers one message after another. */
export function startChild<Ask extends object>(file: string): Child<Ask> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // Not ours: the launcher's preload takes the channel for its own.
    execArgv: [
      ...(process.env['BENCH_PROF'] ? ['--cpu-prof', '--cpu-prof-dir=/tmp/inc/prof'] : []),
      '--disable-warning=ExperimentalWarning',
    ],
  });
  return {
    ask: <T>(message: Ask) =>
      new Promise<T>((resolve, reject) => {
        const lost = (): void => reject(new Error(`${file} ended`));
        child.once('exit', lost);
        child.once('message', (answer: { readonly value?: T; readonly error?: string }) => {
          child.off('exit', lost);
          if (answer.error === undefined) resolve(answer.value as T);
          else reject(new Error(answer.error));
        });
        child.send(message);
      }),
    close: () => child.kill('SIGKILL'),
  };
}
