import { MILLISECOND, type Micros, SECOND } from '../core/time.ts';

/**
 * The lengths of time that replicas share shards by (docs/design/coordination.md 2.6). Safety depends on none of them, only how soon a
 * dead replica is replaced and how much its going costs.
 */
export interface Timing {
  /** H: slots of shard time are written ahead by this much. */
  readonly horizon: Micros;
  /** P: between two renewals, and two heartbeats. Less than `horizon` / 3. */
  readonly renewEvery: Micros;
  /** A session that was not renewed for `horizon` is given up this much later. */
  readonly grace: Micros;
  /** SUSP: a session whose number has not grown for this long is read in its register, and revoked if it has not grown there either. */
  readonly suspectAfter: Micros;
  /** The k-th replica in the order of a shard or session waits k times this, so that one acts and the others see it. */
  readonly rankDelay: Micros;
  /** A new replica only listens for this long before it claims anything. */
  readonly listenFor: Micros;
  /** Shards are moved to even out the load once membership has not changed for this long. */
  readonly settleFor: Micros;
  /** Interval at which the register of a shard that no replica reports as its own is read. */
  readonly sweepEvery: Micros;
}

/** As shipped: a dead replica is replaced in about a second. */
export const TIMING: Timing = {
  horizon: SECOND,
  renewEvery: 200 * MILLISECOND,
  grace: 50 * MILLISECOND,
  suspectAfter: 700 * MILLISECOND,
  rankDelay: 100 * MILLISECOND,
  listenFor: 400 * MILLISECOND,
  settleFor: 5 * SECOND,
  sweepEvery: 500 * MILLISECOND,
};
