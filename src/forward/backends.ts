import { after, type Instant, LONG_AGO } from '../core/time.ts';
import type { BackendSpec } from './route.ts';

/** How a request to a URL ended, as far as the URL's health goes. */
export type Health = 'well' | 'failed' | 'unknown';

/** A request that wants a URL, or has one. */
export interface Turn {
  /** Takes the wish back, or gives the URL back; once. `unknown` where nothing was sent. */
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
  /** The one request that finds out whether it is back. */
  probing: boolean;
}

/** Who wants a URL. */
export interface UrlTaker {
  /** It has this one. */
  onUrl(url: number): void;
}

/** One wish for a URL, and the URL it was given. */
class Wish implements Turn {
  readonly taker: UrlTaker;
  readonly avoid: ReadonlySet<number>;
  target: Target | undefined;
  over = false;
  readonly #ended: (now: Instant, wish: Wish, health: Health) => void;

  constructor(taker: UrlTaker, avoid: ReadonlySet<number>, ended: (now: Instant, wish: Wish, health: Health) => void) {
    this.taker = taker;
    this.avoid = avoid;
    this.#ended = ended;
  }

  end(now: Instant, health: Health): void {
    if (this.over) return;
    this.over = true;
    this.#ended(now, this, health);
  }
}

/** What happened to a URL. */
export type TargetEvent = { readonly kind: 'ejected' | 'restored'; readonly url: number };

/**
 * Which URL of a backend: the one with the fewest requests in flight, of those not ejected. Where every URL has as many as
 * `concurrency` allows, requests wait, first in, first out. A URL that fails some times in a row is ejected for a while;
 * then one request probes it. The last one is never ejected. Told the time; no timers.
 */
export class Backends {
  readonly #spec: Pick<BackendSpec, 'concurrency' | 'eject'>;
  readonly #targets: readonly Target[];
  readonly #tell: (event: TargetEvent) => void;
  readonly #waiting = new Set<Wish>();
  /** Where the search begins, so that equals take turns. */
  #next = 0;

  constructor(spec: Pick<BackendSpec, 'urls' | 'concurrency' | 'eject'>, tell: (event: TargetEvent) => void) {
    this.#spec = spec;
    this.#tell = tell;
    this.#targets = spec.urls.map((_, index) => ({ index, inFlight: 0, failures: 0, ejectedUntil: LONG_AGO, probing: false }));
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
    return this.#targets.filter(({ ejectedUntil }) => ejectedUntil !== LONG_AGO).map(({ index }) => index);
  }

  /** Asks for a URL, not one of `avoid` unless there is no other; the taker may be told before this returns. */
  take(now: Instant, avoid: ReadonlySet<number>, taker: UrlTaker): Turn {
    const wish = new Wish(taker, avoid, this.#ended);
    const target = this.#waiting.size === 0 ? this.#best(now, avoid) : undefined;
    if (target === undefined) this.#waiting.add(wish);
    else this.#give(wish, target);
    return wish;
  }

  readonly #ended = (now: Instant, wish: Wish, health: Health): void => {
    const { target } = wish;
    if (target === undefined) {
      this.#waiting.delete(wish);
      return;
    }
    target.inFlight--;
    this.#judge(now, target, health);
    if (this.#waiting.size > 0) this.#serve(now);
  };

  #judge(now: Instant, target: Target, health: Health): void {
    const wasProbe = target.probing;
    target.probing = false;
    if (health === 'well') {
      if (target.ejectedUntil !== LONG_AGO) this.#tell({ kind: 'restored', url: target.index });
      target.failures = 0;
      target.ejectedUntil = LONG_AGO;
      return;
    }
    if (health === 'unknown') return;
    target.failures++;
    const { failures, for: time } = this.#spec.eject;
    if (wasProbe) target.ejectedUntil = after(now, time);
    else if (target.ejectedUntil === LONG_AGO && target.failures >= failures && this.#others(target)) {
      target.ejectedUntil = after(now, time);
      this.#tell({ kind: 'ejected', url: target.index });
    }
  }

  #others(target: Target): boolean {
    return this.#targets.some((other) => other !== target && other.ejectedUntil === LONG_AGO);
  }

  #serve(now: Instant): void {
    for (const wish of this.#waiting) {
      const target = this.#best(now, wish.avoid);
      if (target === undefined) return;
      this.#waiting.delete(wish);
      this.#give(wish, target);
    }
  }

  #give(wish: Wish, target: Target): void {
    target.inFlight++;
    if (target.ejectedUntil !== LONG_AGO) target.probing = true;
    wish.target = target;
    this.#next = (target.index + 1) % this.#targets.length;
    wish.taker.onUrl(target.index);
  }

  /** undefined: all are full. */
  #best(now: Instant, avoid: ReadonlySet<number>): Target | undefined {
    const { concurrency } = this.#spec;
    const count = this.#targets.length;
    let best: Target | undefined;
    let second: Target | undefined;
    for (let i = 0; i < count; i++) {
      const target = this.#targets[(this.#next + i) % count] as Target;
      if (concurrency !== undefined && target.inFlight >= concurrency) continue;
      if (target.ejectedUntil !== LONG_AGO) {
        if (target.probing || now < target.ejectedUntil || avoid.has(target.index)) continue;
        // Its time is over: this request finds out.
        return target;
      }
      if (avoid.has(target.index)) second = fewer(target, second);
      else best = fewer(target, best);
    }
    return best ?? second;
  }
}

function fewer(target: Target, than: Target | undefined): Target {
  return than === undefined || target.inFlight < than.inFlight ? target : than;
}
