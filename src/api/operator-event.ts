/** What an operator did, for the log: who, to which group. `refused`: why it was not done. Times in milliseconds; undefined: without end. */
export interface OperatorEvent {
  readonly kind: 'group_paused' | 'group_resumed' | 'group_overridden' | 'waiter_evicted' | 'lease_revoked' | 'requests_redriven';
  /** The credential's name; '' without auth. */
  readonly caller: string;
  /** '' where it is about no group in particular. */
  readonly group: string;
  readonly key?: string | undefined;
  readonly forMs?: number | undefined;
  /** Debt of the group's limits was dropped. */
  readonly forgiveDebt?: boolean | undefined;
  readonly limits?: readonly string[] | undefined;
  readonly enforce?: boolean | undefined;
  readonly waiter?: string | undefined;
  readonly permit?: string | undefined;
  /** Id of the one request it is about. */
  readonly request?: string | undefined;
  /** How many requests. */
  readonly requests?: number | undefined;
  /** As the operator wrote it. */
  readonly reason?: string | undefined;
  readonly refused?: string | undefined;
}
