import type { GateRequest } from '../core/request.ts';
import { earlier, type Instant, later, NEVER, plus, SECOND } from '../core/time.ts';
import type { Clock } from './clock.ts';
import type { PendingAcquire } from './pending-acquire.ts';

/** Even a request without wait timeout waits this long for the right to decide: a leader lease that was idle is renewed by one write. */
const WAIT_LEAST = SECOND;

interface Standing {
  readonly hold: PendingAcquire;
  readonly request: GateRequest;
  readonly until: Instant;
}

/** Requests that arrived before this process held the term, in arrival order. They are submitted together once it does, or refused when their wait timeout ends. */
export class PendingArrivals {
  readonly #clock: Clock;
  readonly #tooLate: (hold: PendingAcquire) => void;
  #line: Standing[] = [];
  #checkAt: Instant = NEVER;
  #cancel: (() => void) | undefined;

  constructor(deps: { clock: Clock; tooLate: (hold: PendingAcquire) => void }) {
    this.#clock = deps.clock;
    this.#tooLate = deps.tooLate;
  }

  get length(): number {
    return this.#line.length;
  }

  push(now: Instant, hold: PendingAcquire, request: GateRequest): void {
    const until = later(hold.waitUntil, plus(now, WAIT_LEAST));
    this.#line.push({ hold, request, until });
    if (until < this.#checkAt) this.#check(until);
  }

  /** All of them, who leave the line. */
  takeAll(): readonly { readonly hold: PendingAcquire; readonly request: GateRequest }[] {
    const line = this.#line.filter((one) => one.hold.phase === 'before');
    this.#line = [];
    this.#cancel?.();
    this.#cancel = undefined;
    this.#checkAt = NEVER;
    return line;
  }

  #check(at: Instant): void {
    this.#cancel?.();
    this.#checkAt = at;
    this.#cancel = this.#clock.at(at, () => this.#expire());
  }

  #expire(): void {
    const now = this.#clock.now();
    const line = this.#line;
    this.#line = [];
    this.#cancel = undefined;
    this.#checkAt = NEVER;
    let next: Instant = NEVER;
    for (const one of line) {
      if (one.hold.phase !== 'before') continue;
      if (one.until <= now) this.#tooLate(one.hold);
      else {
        this.#line.push(one);
        next = earlier(next, one.until);
      }
    }
    if (next !== NEVER) this.#check(next);
  }
}
