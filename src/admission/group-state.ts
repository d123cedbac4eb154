import type { Binding } from '../core/gate/binding.ts';
import { type Instant, later, type Micros, NEVER, SECOND } from '../core/time.ts';
import type { GroupActivityView } from './group-activity.ts';

/** State of a group, the first that holds: `undecided`, `stuck`, `paused`, `late`, `moving`, `open`. */
export type GroupState = 'undecided' | 'stuck' | 'paused' | 'late' | 'moving' | 'open';

/** A group in which nothing was admitted for less than this is not stuck. */
const STUCK_MIN: Micros = 30 * SECOND;
/** Nor one whose callers waited a third of it for an admission within the last hour. */
const STUCK_GAPS = 3;

/** What the state of a group depends on. */
export interface GroupStateInput {
  readonly waiting: number;
  readonly oldestWaiterSince: Instant | undefined;
  readonly pausedUntil: Instant | undefined;
  /** Since when the group is paused; undefined: not known, or it is not. */
  readonly pausedSince: Instant | undefined;
  readonly binding: Binding | undefined;
  readonly activity: GroupActivityView;
  /** Upper end of the range that the waiter observed longest was given on arrival; undefined: none is observed. */
  readonly expectedUntil: Instant | undefined;
}

/** Returns the state of a group and since when it holds (`stuck`: since nothing was admitted); undefined where that is not known. */
export function groupState(now: Instant, facts: GroupStateInput): { readonly state: GroupState; readonly since: Instant | undefined } {
  const { waiting, binding, activity } = facts;
  const quietSince = later(activity.busySince ?? facts.oldestWaiterSince ?? now, activity.lastAdmittedAt ?? (0 as Instant));
  const unknown = waiting > 0 && binding !== undefined && binding.kind !== 'pause' && binding.opensAt === NEVER;
  if (unknown && now - quietSince >= Math.max(STUCK_MIN, STUCK_GAPS * activity.longestGap)) return { state: 'stuck', since: quietSince };
  if (facts.pausedUntil !== undefined || binding?.kind === 'pause') return { state: 'paused', since: facts.pausedSince };
  if (waiting > 0 && facts.expectedUntil !== undefined && facts.expectedUntil < now) return { state: 'late', since: facts.expectedUntil };
  return waiting > 0 ? { state: 'moving', since: activity.busySince ?? facts.oldestWaiterSince } : { state: 'open', since: activity.idleSince };
}
