import type { Instant } from './time.ts';

/**
 * Every way in which an ask can end without a permit, or a call about a permit can fail; a closed list, mapped to the
 * wire in one table (`frontends/status.ts`). Stages: `door` before the queue, `queue` while waiting, `lease` afterwards.
 */
export type RefusalReason =
  | 'malformed'
  | 'unknown_group'
  | 'oversized'
  | 'unauthenticated'
  | 'forbidden'
  | 'too_large'
  | 'draining'
  | 'undecided'
  | 'unstored'
  | 'shed'
  | 'expired'
  | 'infeasible'
  | 'cancelled'
  | 'fenced'
  | 'unknown_permit'
  | 'unknown_request'
  | 'conflict'
  | 'gone'
  | 'fault';

/** An expected "no": a value, not an exception. */
export interface Refusal {
  readonly reason: RefusalReason;
  /** The limit that binds, as `name` or `group/name` for an ancestor's; or the bound of the backlog (`backlog.requests`). */
  readonly limit?: string;
  /** When asking again makes sense; absent where it never does or nobody knows. */
  readonly retryAt?: Instant;
  /** One sentence for people: what is wrong and what to do next. Absent: the table's own sentence. */
  readonly detail?: string;
}
