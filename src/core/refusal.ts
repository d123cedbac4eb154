import type { WaitRange } from './request.ts';
import { type Instant, type Micros, plus, SECOND } from './time.ts';

/**
 * Every way in which a request can end without a permit, or a call about a permit can fail; a closed list, mapped to the
 * wire in one table (`api/refusal-status.ts`). Stages: `admission` before the queue, `queue` while waiting, `lease` afterwards.
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

/** When a caller whose group was taken out of the configuration while it waited may ask again: the file may be mended by then. */
const WITHDRAWN_RETRY: Micros = SECOND;

/** Refuses a waiter whose group was taken out of the configuration. Retryable: a group that is gone for good answers `unknown_group` to the next request. */
export function withdrawn(now: Instant): Refusal {
  return { reason: 'undecided', retryAt: plus(now, WITHDRAWN_RETRY), detail: 'The group was taken out of the configuration while this caller waited.' };
}

/** An expected "no": a value, not an exception. */
export interface Refusal {
  readonly reason: RefusalReason;
  /** The limit that binds, as `name` or `group/name` for an ancestor's; or the bound of the backlog (`backlog.requests`). */
  readonly limit?: string;
  /** When trying again makes sense; absent where it never does or the time is not known. */
  readonly retryAt?: Instant;
  /**
   * When a request like this one, asked again now, would be admitted if it waited: a range that holds for nine of ten. Absent: not known, or the reason
   * has nothing to do with waiting, or many are refused at once (one range is worked out in 10 ms, for those of the same key and priority).
   */
  readonly range?: WaitRange | undefined;
  /** One sentence for people: what is wrong and what to do next. Absent: the table's own sentence. */
  readonly detail?: string;
}
