/** The three places that the shop keeps its state in; each is a database of its own name. */
export const regions = ['eu', 'us', 'ap'] as const;
export type Region = (typeof regions)[number];

export function isRegion(text: string): text is Region {
  return regions.some((region) => region === text);
}

export function otherRegions(region: Region): readonly Region[] {
  return regions.filter((other) => other !== region);
}

/** What the shop replicates. Names of tables and of the collections that the service is told of. */
export const collections = ['accounts', 'profiles', 'orders'] as const;
export type ShopCollection = (typeof collections)[number];

/**
 * What the fault injector asks a request to do wrong, as the JSON of the `x-chaos` header. The shop obeys and says nothing of it
 * in its spans: the service has to find out by itself.
 */
export interface Chaos {
  /** Change events to these regions are lost. */
  readonly lose?: readonly Region[];
  /** Change events are delivered this much later, milliseconds. */
  readonly holdMs?: number;
  /** Read, think for a while, and write without looking again: how updates get lost. Milliseconds of thought. */
  readonly blindMs?: number;
  /** The write is made here although this is not the object's home: both sides of a split brain go on. */
  readonly at?: Region;
  /** The broker delivers the message twice, and the consumer does not remember. */
  readonly deliverTwice?: boolean;
  /** The money of a failed order is not given back. */
  readonly keepMoney?: boolean;
  /** Rows are locked in the order in which they are named, with a pause between: how deadlocks come about. Milliseconds. */
  readonly lockPauseMs?: number;
  /** The broker refuses the message after the database has committed. */
  readonly loseMessage?: boolean;
  /** The broker takes the message and forgets it. */
  readonly forgetMessage?: boolean;
  /** The broker takes the message and delivers it once a later one of the same key has been processed. */
  readonly holdMessage?: boolean;
  /** The message is sent once the broker holds an earlier one of the same key. */
  readonly overtakeHeld?: boolean;
  /** The message is sent while the transaction is still open, and stays open for so long, milliseconds. */
  readonly announceEarlyMs?: number;
  /** The row of the outbox is left alone for so long, milliseconds. */
  readonly stuckMs?: number;
  /** The work is done, and its answer comes so late, milliseconds, that the client has given up. */
  readonly slowAnswerMs?: number;
}
