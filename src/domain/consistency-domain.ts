/** The promise that a class of state makes to its readers. */
export type Consistency = 'strict' | 'session' | 'bounded' | 'eventual';
export type Risk = 'low' | 'medium' | 'high';

/**
 * How far repair may go by itself. `off` detects only; `review` proposes and waits for people; `auto` applies what the guard
 * allows. A strict domain and a money column are never automatic, whatever stands here.
 */
export type RepairMode = 'off' | 'review' | 'auto';

export interface ConsistencyDomain {
  readonly name: string;
  readonly consistency: Consistency;
  /** How old a replica may be before its difference counts, where the engine gives no position. */
  readonly stalenessMs: number;
  /** Regions the domain's values may be in; empty: anywhere. */
  readonly residency: readonly string[];
  readonly risk: Risk;
  readonly repair: {
    readonly mode: RepairMode;
    /** People who must approve a reviewed repair. */
    readonly approvals: number;
    /** Automatic repair budget. */
    readonly rowsPerHour: number;
    /** How long before-images are kept for undo. */
    readonly undoHours: number;
    /** How long a proposal waits for approval before it is rejected. */
    readonly approvalExpiryMinutes: number;
  };
  readonly llm: {
    /** Whether the language model may choose among candidates in this domain. */
    readonly enabled: boolean;
    /** Whether prompts may hold raw values; otherwise equality patterns and HMAC'd keys only. */
    readonly rawValues: boolean;
    readonly tokensPerDay: number;
  };
}
