import { earlier, type Instant, NEVER } from '../time.ts';
import type { GroupNode } from '../tree/group-node.ts';
import type { Override } from '../tree/overrides.ts';
import { type Dispatcher, MAX_BATCH } from './dispatcher.ts';
import { expireLeases } from './lease-expiry.ts';
import { expireWaiter } from './wait-timeouts.ts';

/**
 * The course of time in one gate: slots that open, leases that lapse, overrides that end, wait timeout that runs out, in
 * order of time however late the call comes. What opens at the very moment at which wait timeout ends is given first.
 *
 * When a call comes late, limits are asked as of now and charged as of now (never early), so a waiter can be given a
 * slot that opened a little after the end of its wait timeout, by no more than the lateness of the call.
 */
export class Ticker {
  readonly #all: Dispatcher;
  readonly #overridden = new Set<GroupNode>();

  constructor(all: Dispatcher) {
    this.#all = all;
  }

  /** Does what is due by `now`: all of it, or a slice when thousands are due, and then there is more to do at once. */
  advance(now: Instant): void {
    const all = this.#all;
    if (all.sealed) return;
    if (this.#endOverrides(now) || all.hasMoreWork) all.dispatch(now);
    for (let expired = 0; expired < MAX_BATCH && !all.hasMoreWork; ) {
      const slotAt = this.#nextSlot();
      const expiryAt = all.timers.nextExpiry();
      if (slotAt > now && expiryAt > now) break;
      if (slotAt <= expiryAt) this.#open(slotAt, now);
      else expired += this.#expire(expiryAt, now);
    }
    all.grants.prune(now);
    all.timers.due = this.nextAt(now);
  }

  /** When `advance` next has something to do, or a little before; NEVER: not by time alone. */
  nextAt(now: Instant): Instant {
    const { timers, hasMoreWork } = this.#all;
    if (hasMoreWork) return now;
    // Nothing is set anywhere: with thousands of gates it is each touched structure that costs.
    return timers.due === NEVER ? NEVER : earlier(this.#nextSlot(), timers.nextExpiry());
  }

  /** Puts an override in force until its end, or the file back in force. */
  override(now: Instant, node: GroupNode, override: Override | undefined): void {
    this.#all.tree.override(now, node, override);
    if (override === undefined) this.#overridden.delete(node);
    else {
      this.#overridden.add(node);
      this.#all.timers.dueBy(override.until);
    }
    this.#all.events.push({ kind: 'overridden', group: node.name, until: override?.until });
    this.onGroupChanged(now, node);
  }

  /** Limits or `enforce` of this node have changed. */
  onGroupChanged(now: Instant, node: GroupNode): void {
    this.#all.reservations.requestAgain(now, this.#all.tree.instances());
    this.#all.invalidate(node);
  }

  /** These nodes have other limits, or stand elsewhere; all below them for whom that changes more than numbers are among them. */
  rebuilt(now: Instant, nodes: readonly GroupNode[]): void {
    this.#all.reservations.requestAgain(now, this.#all.tree.instances(nodes));
    this.#all.reconsiderAll(nodes);
  }

  #nextSlot(): Instant {
    let next = earlier(this.#all.timers.nextReadyAt(), this.#all.grants.nextLapse());
    if (this.#overridden.size > 0) for (const node of this.#overridden) next = earlier(next, node.override?.until ?? NEVER);
    return next;
  }

  /** Before all else, however late the call: what is charged now is charged under the limits of now. */
  #endOverrides(now: Instant): boolean {
    const over = [...this.#overridden].filter((node) => (node.override?.until ?? NEVER) <= now);
    for (const node of over) this.override(now, node, undefined);
    return over.length > 0;
  }

  #open(at: Instant, now: Instant): void {
    expireLeases(this.#all, at, now);
    this.#all.dispatchAt(at, now);
  }

  /** Ends all waiters whose wait timeout ended by `at`, at most a slice; returns how many. No waiter is admitted before all of them are refused. */
  #expire(at: Instant, now: Instant): number {
    const all = this.#all;
    let count = 0;
    for (; count < MAX_BATCH; count++) {
      const slot = all.timers.popExpiry(at);
      if (slot < 0) break;
      expireWaiter(all, now, slot);
    }
    if (all.timers.nextExpiry() > at) all.dispatch(now);
    return Math.max(1, count);
  }
}
