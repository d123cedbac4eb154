import { DISTANT_PAST, type Instant, MILLISECOND, type Micros } from '../../core/time.ts';
import type { ShardClock } from '../clocks/shard-clock.ts';
import { type LeaderLease, LeadershipLost } from '../coordinator.ts';
import type { ShardHandle, ShardTime, Timers } from '../replica.ts';

/** A caller of `extend` that waits for slots is resumed after this long at the latest. */
const CHECK_EACH: Micros = 250 * MILLISECOND;

/** Dependencies of {@link ShardLease}. */
export interface ShardLeaseDeps {
  readonly shard: number;
  readonly term: bigint;
  readonly from: Instant;
  readonly shardClock: ShardClock;
  /** Returns r1 as of now; DISTANT_PAST once nothing is to be decided in this term. */
  readonly until: () => Instant;
  readonly mono: () => Micros;
  readonly timers: Timers;
}

/** The leader lease of one shard in one term. The session renews its slots anyway, so `extend` only waits. */
export class ShardLease implements ShardHandle, LeaderLease {
  readonly shard: number;
  readonly term: bigint;
  readonly from: Instant;
  readonly clock: ShardTime;
  readonly #deps: ShardLeaseDeps;
  #lost = false;
  #waiting: { readonly promise: Promise<void>; readonly until: Instant; readonly end: (why?: Error) => void } | undefined;

  constructor(deps: ShardLeaseDeps) {
    this.#deps = deps;
    this.shard = deps.shard;
    this.term = deps.term;
    this.from = deps.from;
    this.clock = { now: () => deps.shardClock.at(deps.mono()) };
  }

  get leaderLease(): LeaderLease {
    return this;
  }

  until(): Instant {
    return this.#lost ? DISTANT_PAST : this.#deps.until();
  }

  extend(now: Instant): Promise<void> | undefined {
    if (this.#lost) return Promise.reject(this.#why());
    const until = this.until();
    if (now < until) return undefined;
    this.#waiting ??= this.#wait(until);
    return this.#waiting.promise;
  }

  /** Resumes waiting callers if an acknowledged record brought slots. */
  renewed(): void {
    if (this.#waiting !== undefined && this.until() > this.#waiting.until) this.#waiting.end();
  }

  /** Ends the lease for ever. */
  lose(): void {
    this.#lost = true;
    this.#waiting?.end(this.#why());
  }

  #wait(until: Instant): { promise: Promise<void>; until: Instant; end: (why?: Error) => void } {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const end = (why?: Error): void => {
      this.#waiting = undefined;
      cancel();
      if (why === undefined) resolve();
      else reject(why);
    };
    const cancel = this.#deps.timers.after(CHECK_EACH, () => end());
    return { promise, until, end };
  }

  #why(): LeadershipLost {
    return new LeadershipLost(`Shard ${this.shard} is not decided here in term ${this.term} any more.`);
  }
}
