import type { LeaderLease } from '../coordination/coordinator.ts';
import { earlier, type Instant, MILLISECOND, plus } from '../core/time.ts';
import { LedgerFenced } from '../ledger/ledger.ts';
import type { Clock } from './clock.ts';

/** Between two tries to extend a leader lease that could not be written. */
const RETRY = 250 * MILLISECOND;

/**
 * The right to decide for one tree now: only at shard times `from <= now < until()` of its leader lease (docs/design/coordination.md 2.3).
 * The leader lease is extended by asking, so an idle tree writes nothing.
 */
export class TermGuard {
  readonly #clock: Clock;
  readonly #leaderLease: LeaderLease;
  readonly #lost: (cause: Error) => void;
  readonly #trouble: (cause: unknown) => void;
  #failing = false;
  #awaited: Promise<void> | undefined;
  /** Nothing is decided while this is pending: a change of trees. */
  #barred: Promise<void> | undefined;

  /** `trouble`: called when an extension fails, and with undefined when one works again. */
  constructor(deps: { clock: Clock; leaderLease: LeaderLease; lost: (cause: Error) => void; trouble?: (cause: unknown) => void }) {
    this.#clock = deps.clock;
    this.#leaderLease = deps.leaderLease;
    this.#lost = deps.lost;
    this.#trouble = deps.trouble ?? (() => {});
  }

  /** The leader lease cannot be extended just now: there is nothing to decide with until a write succeeds. */
  get failing(): boolean {
    return this.#failing;
  }

  /** undefined: decide now. Otherwise wait for this, which never rejects, then try again. */
  ready(now: Instant): Promise<void> | undefined {
    if (this.#awaited !== undefined) return this.#awaited;
    if (this.#barred !== undefined) return this.#barred;
    const extended = this.#leaderLease.extend(now);
    if (extended === undefined && now >= this.#leaderLease.from && now < this.#leaderLease.until()) {
      this.#works();
      return undefined;
    }
    this.#awaited = this.#wait(extended, now).finally(() => {
      this.#awaited = undefined;
    });
    return this.#awaited;
  }

  /** Decides nothing until `change` has settled. */
  block(change: Promise<unknown>): void {
    const free = () => {
      this.#barred = undefined;
    };
    this.#barred = change.then(free, free);
  }

  async #wait(extended: Promise<void> | undefined, now: Instant): Promise<void> {
    try {
      if (extended !== undefined) await extended;
      else await this.#until(now < this.#leaderLease.from ? this.#leaderLease.from : plus(now, MILLISECOND));
    } catch (cause) {
      if (cause instanceof LedgerFenced) this.#lost(cause);
      else {
        if (!this.#failing) this.#trouble(cause);
        this.#failing = true;
        await this.#until(earlier(plus(this.#clock.now(), RETRY), plus(now, 4 * RETRY)));
      }
    }
  }

  #works(): void {
    if (!this.#failing) return;
    this.#failing = false;
    this.#trouble(undefined);
  }

  #until(when: Instant): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.at(when, resolve);
    });
  }
}
