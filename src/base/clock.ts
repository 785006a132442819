/** The only source of time. Loops take one, so that tests and the simulator can hold it still or make it jump. */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch. May jump. */
  nowMs(): number;
  /** Monotonic milliseconds with an arbitrary origin: for measuring durations and deadlines. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
