import { DISTANT_PAST, type Instant, plus } from '../../core/time.ts';
import type { BackendSpec } from '../route.ts';

/** How a request to a URL ended, as far as the URL's health goes. */
export type Health = 'well' | 'failed' | 'unknown';

/** A request that wants a URL, or has one. */
export interface UrlReservation {
  /** Reports that the head of an answer came. Settles a probe: its URL is restored now, however long the answer takes. */
  responding(): void;
  /** Cancels the reservation, or returns the URL; once. `unknown` where nothing was sent. */
  end(now: Instant, health: Health): void;
}

/** One URL of a backend. */
interface Target {
  readonly index: number;
  inFlight: number;
  /** Consecutive. */
  failures: number;
  /** LONG_AGO: not ejected. */
  ejectedUntil: Instant;
  /** The request that finds out whether it is back; another may after `probeUntil`, so that none keeps it out for ever. */
  probe: PendingReservation | undefined;
  probeUntil: Instant;
}

/** Who wants a URL. */
export interface UrlWaiter {
  /** It has this one. */
  onUrl(url: number): void;
  /** Reports, while it waited in line, that every URL it may still use was ejected. Its turn is over. */
  onNoUrl(): void;
}

const NO_URLS: ReadonlySet<number> = new Set();

/** One request for a URL, and the URL it was given. */
class PendingReservation implements UrlReservation {
  readonly taker: UrlWaiter;
  readonly avoid: ReadonlySet<number>;
  readonly refused: ReadonlySet<number>;
  target: Target | undefined;
  over = false;
  readonly #of: ReservationOwner;

  constructor(taker: UrlWaiter, avoid: ReadonlySet<number>, refused: ReadonlySet<number>, of: ReservationOwner) {
    this.taker = taker;
    this.avoid = avoid;
    this.refused = refused;
    this.#of = of;
  }

  responding(): void {
    if (this.target?.probe === this) this.#of.responded(this.target);
  }

  end(now: Instant, health: Health): void {
    if (this.over) return;
    this.over = true;
    this.#of.ended(now, this, health);
  }
}

/** What a reservation reports to. */
interface ReservationOwner {
  responded(target: Target): void;
  ended(now: Instant, reservation: PendingReservation, health: Health): void;
}

/** What happened to a URL. */
export type TargetEvent = { readonly kind: 'ejected' | 'restored'; readonly url: number };

/**
 * Chooses a URL of a backend: the one with the fewest requests in flight, of those not ejected. Where every URL has as many as
 * `concurrency` allows, requests wait, first in, first out. A URL that fails some times in a row is ejected for a while;
 * then one request probes it. The last one is never ejected. Callers pass the time; it has no timers.
 */
export class LoadBalancer {
  readonly #spec: Pick<BackendSpec, 'concurrency' | 'eject'>;
  readonly #targets: readonly Target[];
  readonly #report: (event: TargetEvent) => void;
  readonly #waiting = new Set<PendingReservation>();
  /** Where the search begins, so that equals take turns. */
  #next = 0;
  #serving = false;
  #serveAgain = false;

  constructor(spec: Pick<BackendSpec, 'urls' | 'concurrency' | 'eject'>, report: (event: TargetEvent) => void) {
    this.#spec = spec;
    this.#report = report;
    this.#targets = spec.urls.map((_, index) => ({ index, inFlight: 0, failures: 0, ejectedUntil: DISTANT_PAST, probe: undefined, probeUntil: DISTANT_PAST }));
  }

  /** Requests that wait for room. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Requests on their way. */
  get inFlight(): number {
    return this.#targets.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** URLs that get no requests, or one to find out. */
  get ejected(): readonly number[] {
    return this.#targets.filter(({ ejectedUntil }) => ejectedUntil !== DISTANT_PAST).map(({ index }) => index);
  }

  /**
   * Reserves a URL: not one of `avoid` unless there is no other, and never one of `refused`, which this request could not connect to.
   * The taker may get its URL before this returns. Where all others refused, one request at a time gets an ejected URL early.
   * Returns undefined if there is no URL left for it.
   */
  take(now: Instant, avoid: ReadonlySet<number>, taker: UrlWaiter, refused = NO_URLS): UrlReservation | undefined {
    const reservation = new PendingReservation(taker, avoid, refused, this);
    const found = this.#best(now, reservation);
    if (found === 'none') return undefined;
    if (found !== 'full' && this.#waiting.size === 0) this.#give(now, reservation, found);
    else {
      this.#waiting.add(reservation);
      // Those before it may wait for URLs that it does not need.
      if (found !== 'full') this.#serve(now);
    }
    return reservation;
  }

  /** Called by a reservation: the probe of a URL got the head of a response. */
  responded(target: Target): void {
    target.probe = undefined;
    this.#restore(target);
    // Until a whole answer came one more failure is enough.
    target.failures = this.#spec.eject.failures - 1;
  }

  /** Called by each reservation, once. */
  ended(now: Instant, reservation: PendingReservation, health: Health): void {
    const { target } = reservation;
    if (target === undefined) {
      this.#waiting.delete(reservation);
      return;
    }
    target.inFlight--;
    this.#judge(now, target, reservation, health);
    if (this.#waiting.size > 0) this.#serve(now);
  }

  #judge(now: Instant, target: Target, reservation: PendingReservation, health: Health): void {
    const wasProbe = target.probe === reservation;
    if (wasProbe) target.probe = undefined;
    if (health === 'well') {
      this.#restore(target);
      target.failures = 0;
      return;
    }
    if (health === 'unknown') return;
    target.failures++;
    const { failures, for: time } = this.#spec.eject;
    if (wasProbe) target.ejectedUntil = plus(now, time);
    else if (target.ejectedUntil === DISTANT_PAST && target.failures >= failures && this.#others(target)) {
      target.ejectedUntil = plus(now, time);
      this.#report({ kind: 'ejected', url: target.index });
    }
  }

  #restore(target: Target): void {
    if (target.ejectedUntil === DISTANT_PAST) return;
    target.ejectedUntil = DISTANT_PAST;
    this.#report({ kind: 'restored', url: target.index });
  }

  #others(target: Target): boolean {
    return this.#targets.some((other) => other !== target && other.ejectedUntil === DISTANT_PAST);
  }

  /** Serves the line, not within itself: a request that ends as it is sent would go deeper with each in line. */
  #serve(now: Instant): void {
    this.#serveAgain = true;
    if (this.#serving) return;
    this.#serving = true;
    try {
      while (this.#serveAgain) {
        this.#serveAgain = false;
        this.#serveLine(now);
      }
    } finally {
      this.#serving = false;
    }
  }

  #serveLine(now: Instant): void {
    for (const reservation of this.#waiting) {
      const found = this.#best(now, reservation);
      if (found === 'full') {
        // Nor is there room for any other, unless this one only lacks what refused it.
        if (reservation.refused.size === 0) return;
        continue;
      }
      this.#waiting.delete(reservation);
      if (found !== 'none') this.#give(now, reservation, found);
      else {
        reservation.over = true;
        reservation.taker.onNoUrl();
      }
    }
  }

  #give(now: Instant, reservation: PendingReservation, target: Target): void {
    target.inFlight++;
    if (target.ejectedUntil !== DISTANT_PAST) {
      target.probe = reservation;
      target.probeUntil = plus(now, this.#spec.eject.for);
    }
    reservation.target = target;
    this.#next = (target.index + 1) % this.#targets.length;
    reservation.taker.onUrl(target.index);
  }

  /** `full`: one it may use will have room again; `none`: there is none it may use. */
  #best(now: Instant, { avoid, refused }: PendingReservation): Target | 'full' | 'none' {
    const { concurrency = Number.POSITIVE_INFINITY } = this.#spec;
    const count = this.#targets.length;
    let best: Target | undefined;
    let second: Target | undefined;
    let early: Target | undefined;
    let full = false;
    for (let i = 0; i < count; i++) {
      const target = this.#targets[(this.#next + i) % count] as Target;
      const { index, ejectedUntil } = target;
      if (refused.has(index)) continue;
      const room = target.inFlight < concurrency;
      if (ejectedUntil !== DISTANT_PAST) {
        if (!room || (target.probe !== undefined && now < target.probeUntil)) continue;
        // Its time is over: this request finds out.
        if (now >= ejectedUntil && !avoid.has(index)) return target;
        early ??= target;
      } else if (!room) full = true;
      else if (avoid.has(index)) second = fewer(target, second);
      else best = fewer(target, best);
    }
    return best ?? second ?? (full ? 'full' : refused.size > 0 ? early : undefined) ?? 'none';
  }
}

function fewer(target: Target, than: Target | undefined): Target {
  return than === undefined || target.inFlight < than.inFlight ? target : than;
}
