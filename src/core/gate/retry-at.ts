import { type Costs, costOf } from '../group.ts';
import { DISTANT_PAST, type Instant, later, type Micros, NEVER, plus, SECOND } from '../time.ts';
import type { KeyState } from '../tree/key-state.ts';

/** Time after which to try again where none can be computed: only a release, or the end of a pause without end, would help. */
const RETRY_UNKNOWN: Micros = SECOND;

/**
 * Returns when asking again makes sense, which callers receive as Retry-After: where a limit waits for leases, when the first of them ends; else at `expectedAt`, when its
 * place in the queue would have gone; else when the limits alone would let it pass.
 */
export function retryAt(now: Instant, state: KeyState, costs: Costs, expectedAt: Instant): Instant {
  let at: Instant = later(now, pausedFor(state, now));
  let byLease = false;
  for (const instance of state.limits) {
    if (!instance.enforced) continue;
    const cost = costOf(costs, instance.rule.unit);
    byLease ||= instance.isConcurrency && instance.limit.readyAt(now, cost) === NEVER;
    at = later(at, instance.opensAt(now, cost));
  }
  if (!byLease && expectedAt !== NEVER) at = later(now, expectedAt);
  return at === NEVER ? plus(now, RETRY_UNKNOWN) : at;
}

/** Returns until when this key is paused, here or above; DISTANT_PAST if it is not. */
export function pausedFor(state: KeyState, now: Instant): Instant {
  let until: Instant = DISTANT_PAST;
  for (const node of state.node.path) until = later(until, later(node.pausedUntil, node.keyPausedUntil(state.key, now)));
  return until;
}
