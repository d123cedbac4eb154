import type { Instant } from '../time.ts';
import type { AggregateLease } from './aggregate-lease.ts';
import type { LiveLease } from './live-lease.ts';

/** Permits of one group and key that still count: live leases in order of their fences, and permits that can be settled. */
export class LeaseAccount {
  /** Leases that live. */
  live = 0;
  /** Permits without lease that can still be settled: their debits must meet the limit instances that they were charged to. */
  settleables = 0;
  /** What stands on disk for the reported leases among them. */
  aggregate: AggregateLease | undefined;
  #first: LiveLease | undefined;
  #last: LiveLease | undefined;

  /** Adds a lease whose fence is the greatest so far. */
  add(lease: LiveLease): void {
    lease.previousFence = this.#last;
    if (this.#last === undefined) this.#first = lease;
    else this.#last.nextFence = lease;
    this.#last = lease;
    this.live++;
  }

  /** Removes a lease that is over. */
  remove(lease: LiveLease): void {
    if (lease.previousFence === undefined) this.#first = lease.nextFence;
    else lease.previousFence.nextFence = lease.nextFence;
    if (lease.nextFence === undefined) this.#last = lease.previousFence;
    else lease.nextFence.previousFence = lease.previousFence;
    lease.nextFence = undefined;
    lease.previousFence = undefined;
    this.live--;
  }

  /** Returns the lease with the smallest fence; undefined if none lives. The others follow by `nextFence`. */
  get first(): LiveLease | undefined {
    return this.#first;
  }

  /** Returns the smallest fence alive at `now`, that of `lease` at most; leases that lapse at this very moment are no longer alive. */
  fenceFloor(lease: LiveLease, now: Instant): bigint {
    let oldest = this.#first;
    while (oldest !== undefined && oldest !== lease && oldest.expiresAt <= now) oldest = oldest.nextFence;
    return (oldest ?? lease).fence;
  }

  /** Whether nothing here counts any more. What stands for leases on disk serves the next one without a write, while it lasts. */
  idle(now: Instant): boolean {
    return this.live === 0 && this.settleables === 0 && this.aggregate?.isExpired(now) !== false;
  }
}
