import type { AcquireHandle, AdmissionService, Outcome } from '../admission/admission.ts';
import type { Clock } from '../admission/clock.ts';
import { DelayQueue } from '../admission/delay-queue.ts';
import { ONE_REQUEST } from '../core/group.ts';
import type { Refusal } from '../core/refusal.ts';
import type { Arrival } from '../core/request.ts';
import { type Instant, MILLISECOND, type Micros, plus, SECOND } from '../core/time.ts';

/** How a caller is answered; exactly one of these is called, unless it leaves. */
export interface Answer {
  /** It may start its session. Returns false if it was gone: nothing was written. */
  admit(): boolean;
  /** It is not admitted, for this reason of the refusal table: its connection ends without an answer. */
  close(reason: Refusal['reason']): void;
}

/** A caller in line. */
export interface Caller {
  /** The connection is gone. Its place is free at once, and found again by the next caller of its shard within `returnWithin`. */
  leave(): void;
}

/** What the queue needs. */
export interface GatewayQueueDeps {
  readonly admission: Pick<AdmissionService, 'acquire' | 'pause'>;
  readonly clock: Clock;
  readonly group: string;
  /** Buckets; undefined: not known yet, callers are held. 0: no limit. */
  readonly maxConcurrency: number | undefined;
  /** Between two answers of a bucket, slack included. */
  readonly spacing: Micros;
  /** Callers held at most; one more is closed as `shed`. */
  readonly callersMax: number;
  /** A place is kept so long for the next caller of its shard. */
  readonly returnWithin: Micros;
}

/** Refusals after which the same caller is asked for again: a moment later it may be decided. */
const PASSING: ReadonlySet<Refusal['reason']> = new Set(['undecided', 'unstored']);
const RETRY_MIN: Micros = 100 * MILLISECOND;
const RETRY_MAX: Micros = 5 * SECOND;

/** Grants remembered, to keep buckets apart when their number changes. */
const GRANTS_MAX = 100_000;

interface Waiter {
  readonly shard: number;
  readonly answer: Answer;
  key: string;
  held: AcquireHandle | undefined;
  /** Its place among all arrivals, where it had one. */
  since: Arrival | undefined;
  over: boolean;
  cancelRetry: (() => void) | undefined;
}

interface Place {
  readonly shard: number;
  readonly since: Arrival;
  readonly until: Instant;
}

/**
 * Callers of gateway shards, held until their bucket lets them go: a bucket is a key of one group, which spaces them. The number
 * of buckets may change while callers wait: each then waits in its new bucket, where it stood.
 */
export class GatewayQueue {
  readonly #deps: GatewayQueueDeps;
  #maxConcurrency: number | undefined;
  #spacing: Micros;
  #callersMax: number;
  /** Everyone held, in order of arrival. */
  readonly #waiting = new Set<Waiter>();
  readonly #places = new Map<number, Place[]>();
  /** Places kept, of all shards. */
  #kept = 0;
  readonly #expiring: DelayQueue<Place>;
  #grants: { readonly shard: number; readonly at: Instant }[] = [];

  constructor(deps: GatewayQueueDeps) {
    this.#deps = deps;
    this.#maxConcurrency = deps.maxConcurrency;
    this.#spacing = deps.spacing;
    this.#callersMax = deps.callersMax;
    this.#expiring = new DelayQueue({ clock: deps.clock, delay: deps.returnWithin, due: (place) => this.#forget(place) });
  }

  /** Callers held. */
  get held(): number {
    return this.#waiting.size;
  }

  /** Buckets; undefined: not known yet. */
  get maxConcurrency(): number | undefined {
    return this.#maxConcurrency;
  }

  /** Holds a caller. Its answer may come before this returns. */
  arrive(shard: number, answer: Answer): Caller {
    const waiter: Waiter = { shard, answer, key: '', held: undefined, since: this.#placeOf(shard), over: false, cancelRetry: undefined };
    if (this.#waiting.size >= this.#callersMax) {
      waiter.over = true;
      answer.close('shed');
      return { leave: () => {} };
    }
    this.#waiting.add(waiter);
    this.#submit(waiter);
    return { leave: () => this.#leave(waiter) };
  }

  /** Other bounds from now on; for callers that come later. */
  rebound(bounds: { readonly spacing: Micros; readonly callersMax: number }): void {
    this.#spacing = bounds.spacing;
    this.#callersMax = bounds.callersMax;
  }

  /**
   * So many buckets from now on. Callers change buckets at their places. A bucket that gets a shard which was admitted less than a
   * spacing ago as one of another bucket is paused for the rest of it, since Discord counts by the new number.
   */
  setMaxConcurrency(buckets: number): void {
    const before = this.#maxConcurrency;
    if (before === buckets) return;
    this.#maxConcurrency = buckets;
    if (before !== undefined && buckets > 0) this.#keepApart(before, buckets);
    for (const waiter of [...this.#waiting]) this.#move(waiter);
  }

  #keepApart(before: number, buckets: number): void {
    const now = this.#deps.clock.now();
    const ends = new Map<string, Instant>();
    for (const { shard, at } of this.#grants) {
      const key = keyOf(shard, buckets);
      const end = plus(at, this.#spacing);
      if (end > now && (before === 0 || keyOf(shard, before) !== key) && end > (ends.get(key) ?? now)) ends.set(key, end);
    }
    for (const [key, end] of ends) void this.#deps.admission.pause(this.#deps.group, key, end - now);
  }

  #move(waiter: Waiter): void {
    if (waiter.over) return;
    const key = keyOf(waiter.shard, this.#maxConcurrency ?? 0);
    if (waiter.held !== undefined && waiter.key === key) return;
    this.#unplace(waiter);
    this.#submit(waiter);
  }

  /** Takes it out of the line and keeps what it needs to stand there again. */
  #unplace(waiter: Waiter): void {
    waiter.cancelRetry?.();
    waiter.cancelRetry = undefined;
    const { held } = waiter;
    waiter.held = undefined;
    if (held === undefined) return;
    waiter.since = held.arrival() ?? waiter.since;
    held.cancel();
  }

  #submit(waiter: Waiter): void {
    if (this.#maxConcurrency === undefined || waiter.over) return;
    waiter.key = keyOf(waiter.shard, this.#maxConcurrency);
    let outcome: Outcome | undefined;
    let asked: AcquireHandle | undefined;
    const held = this.#deps.admission.acquire(
      {
        ...{ group: this.#deps.group, key: waiter.key, costs: ONE_REQUEST, since: waiter.since, holder: `shard ${waiter.shard}`, caller: '' },
        ...{ priority: undefined, priorityClass: undefined, wait: undefined, lease: undefined, requestId: undefined, session: undefined, bytes: 0 },
      },
      (decided) => {
        outcome = decided;
        // What was left meanwhile is none of its business any more.
        if (asked !== undefined && waiter.held === asked) this.#decided(waiter, asked, decided);
      },
    );
    asked = held;
    waiter.held = held;
    if (outcome !== undefined) this.#decided(waiter, held, outcome);
  }

  #decided(waiter: Waiter, held: AcquireHandle, outcome: Outcome): void {
    waiter.held = undefined;
    if (waiter.over) return held.cancel();
    if (outcome.kind === 'admitted') {
      this.#end(waiter);
      if (!waiter.answer.admit()) return held.cancel();
      held.delivered();
      this.#granted(waiter.shard);
      return;
    }
    const { reason, retryAt } = outcome.refusal;
    if (!PASSING.has(reason)) {
      this.#end(waiter);
      waiter.answer.close(reason);
      return;
    }
    const { clock } = this.#deps;
    const now = clock.now();
    waiter.since = held.arrival() ?? waiter.since;
    const pause = Math.min(RETRY_MAX, Math.max(RETRY_MIN, (retryAt ?? now) - now));
    waiter.cancelRetry = clock.at(plus(now, pause), () => {
      waiter.cancelRetry = undefined;
      this.#submit(waiter);
    });
  }

  #granted(shard: number): void {
    const now = this.#deps.clock.now();
    if (this.#grants.length >= GRANTS_MAX || (this.#grants[0] !== undefined && plus(this.#grants[0].at, 2 * this.#spacing) <= now))
      this.#grants = this.#grants.filter(({ at }) => plus(at, this.#spacing) > now).slice(-(GRANTS_MAX - 1));
    this.#grants.push({ shard, at: now });
  }

  #leave(waiter: Waiter): void {
    if (waiter.over) return;
    this.#unplace(waiter);
    this.#end(waiter);
    const { clock, returnWithin } = this.#deps;
    if (waiter.since === undefined || returnWithin <= 0 || this.#kept >= this.#callersMax) return;
    this.#kept++;
    const place: Place = { shard: waiter.shard, since: waiter.since, until: plus(clock.now(), returnWithin) };
    const places = this.#places.get(waiter.shard);
    if (places === undefined) this.#places.set(waiter.shard, [place]);
    else places.push(place);
    this.#expiring.push(place);
  }

  #end(waiter: Waiter): void {
    waiter.over = true;
    waiter.cancelRetry?.();
    this.#waiting.delete(waiter);
  }

  /** The place of the shard that was left first, if one is kept. */
  #placeOf(shard: number): Arrival | undefined {
    const places = this.#places.get(shard);
    if (places === undefined) return undefined;
    const now = this.#deps.clock.now();
    const place = places.find(({ until }) => until > now);
    if (place === undefined) return undefined;
    this.#forget(place);
    return place.since;
  }

  #forget(place: Place): void {
    const places = this.#places.get(place.shard);
    const index = places?.indexOf(place) ?? -1;
    if (places === undefined || index < 0) return;
    this.#kept--;
    places.splice(index, 1);
    if (places.length === 0) this.#places.delete(place.shard);
  }
}

function keyOf(shard: number, buckets: number): string {
  return buckets === 0 ? '' : String(shard % buckets);
}
