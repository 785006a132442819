/**
 * Turns a producer that calls `give` inside a callback (a transaction, a connection) into a generator that is at most one item ahead.
 * Leaving the generator early makes the pending `give` reject, so that the producer cleans up.
 */
export async function* handOver<T>(produce: (give: (item: T) => Promise<void>) => Promise<void>): AsyncGenerator<T> {
  const stopped = new Error('the reader has left');
  let wake: () => void = () => undefined;
  let pending: { readonly item: T; readonly taken: () => void; readonly refused: (reason: Error) => void } | undefined;
  let isDone = false;
  let hasLeft = false;
  let failure: unknown;
  const running = produce(
    (item) =>
      new Promise<void>((taken, refused) => {
        if (hasLeft) return refused(stopped);
        pending = { item, taken, refused };
        wake();
      }),
  )
    .catch((error: unknown) => {
      if (error !== stopped) failure = error;
    })
    .finally(() => {
      isDone = true;
      wake();
    });
  try {
    for (;;) {
      if (pending === undefined && !isDone) await new Promise<void>((resolve) => (wake = resolve));
      if (pending === undefined) break;
      const { item, taken } = pending;
      yield item;
      pending = undefined;
      taken();
    }
  } finally {
    hasLeft = true;
    pending?.refused(stopped);
    await running;
  }
  if (failure !== undefined) throw failure;
}
