/** A value that lives inside a callback (a transaction, a connection), held open for calls that come one after the other. */
export interface Held<T> {
  readonly value: T;
  /** Runs `work` on the value. If it fails, the callback ends with that error, and so does this, as the callback's owner reports it. */
  call<R>(work: (value: T) => Promise<R>): Promise<R>;
  /** Ends the callback. */
  close(): Promise<void>;
}

/** `run` hands its value to what it is given and waits for it. Rejects where `run` fails before. */
export function hold<T>(run: (use: (value: T) => Promise<void>) => Promise<void>): Promise<Held<T>> {
  return new Promise((resolve, reject) => {
    let end: () => void = () => undefined;
    let fail: (error: unknown) => void = () => undefined;
    const closed = new Promise<void>((done, failed) => {
      end = done;
      fail = failed;
    });
    const running = run((value) => {
      resolve({
        value,
        call: async (work) => {
          try {
            return await work(value);
          } catch (error) {
            fail(error);
            await running;
            throw error;
          }
        },
        close: async () => {
          end();
          await running.catch(() => undefined);
        },
      });
      return closed;
    });
    running.catch(reject);
  });
}
