/** One thing about the fleet's structure that was learned from traces, or declared in the configuration, with what it rests on. */
export interface LearnedFact {
  /**
   * `outbox`: a table whose rows are messages to be sent; `replica-host`: a host that is read and not written; `topic-lag`: how long
   * messages of a topic wait; `saga`: the changes that a workflow makes when it goes through; `edge`: a line of the service graph.
   */
  readonly is: 'outbox' | 'replica-host' | 'topic-lag' | 'saga' | 'edge';
  /** A table, `host for table`, a topic, or the workflow's root (`service POST /path`). */
  readonly name: string;
  /** How many traces speak for it. */
  readonly support: number;
  /** Share of the traces that could have spoken against it and did not. */
  readonly confidence: number;
  /** Of `topic-lag`: the longest wait, microseconds; of `saga`: the number of steps; else 1. */
  readonly value: number;
  /** Of `saga`: its steps, `service verb table`. */
  readonly steps?: readonly string[];
  /** Of `edge`: who calls whom, sends to which topic, takes from which, writes which store. */
  readonly edge?: GraphEdge;
  readonly from: 'name' | 'traces' | 'config';
}

export interface GraphEdge {
  readonly by: 'call' | 'send' | 'take' | 'write';
  /** A service, or the topic of `take`. */
  readonly from: string;
  /** A service, the topic of `send`, or the store of `write`. */
  readonly to: string;
}
