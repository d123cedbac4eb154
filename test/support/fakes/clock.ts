import type { Clock } from '../../../src/admission/clock.ts';
import type { ClockRecord } from '../../../src/coordination/clocks/shard-clock.ts';
import { type EpochMs, type Instant, type Micros, plus } from '../../../src/core/time.ts';
import { TimerHeap } from '../../../src/platform/timer-heap.ts';

/**
 * A clock that moves only when told. Wakes run in order of time, each at its own moment, those made on the way included;
 * after each the microtasks get a turn in `advanceAsync`.
 */
export class FakeClock implements Clock {
  #now: Instant;
  readonly #timers = new TimerHeap();
  /** Of the boot: a test that reboots the machine changes it. */
  boot = 'boot-1';
  /** CLOCK_MONOTONIC at shard time 0 of this clock; a reboot changes it. */
  monoBase: Micros;
  /** What a person added to the wall clock. */
  wallShift: Micros = 0;

  constructor(start = 1_800_000_000_000_000) {
    this.#now = start as Instant;
    this.monoBase = -start;
  }

  now(): Instant {
    return this.#now;
  }

  epoch(at: Instant): EpochMs {
    return Math.floor(at / 1_000) as EpochMs;
  }

  record(): ClockRecord {
    return { at: this.#now, mono: this.#now + this.monoBase, wall: this.#now + this.wallShift, boot: this.boot };
  }

  /** Wakes not yet run and not taken back. */
  get pending(): number {
    return this.#timers.size;
  }

  /** The moment of the earliest pending wake. */
  get nextAt(): Instant | undefined {
    return this.#timers.first?.when;
  }

  at(when: Instant, wake: () => void): () => void {
    if (when === Number.POSITIVE_INFINITY) return () => {};
    const entry = this.#timers.add(when, wake);
    return () => this.#timers.cancel(entry);
  }

  /** Moves on by `by`, running what falls due. */
  advance(by: Micros): void {
    this.advanceTo(plus(this.#now, by));
  }

  /** Moves on to `at`, running what falls due; a moment in the past runs only what is due now. */
  advanceTo(at: Instant): void {
    const end = at > this.#now ? at : this.#now;
    while (this.#step(end));
    this.#now = end;
  }

  /** As `advance`, but promises settle between one wake and the next. */
  async advanceAsync(by: Micros): Promise<void> {
    const end = plus(this.#now, by);
    await settled();
    while (this.#step(end)) await settled();
    this.#now = end;
    await settled();
  }

  #step(end: Instant): boolean {
    const first = this.#timers.first;
    if (first === undefined || first.when > end) return false;
    if (first.when > this.#now) this.#now = first.when;
    this.#timers.due(this.#now)?.();
    return true;
  }
}

/** Resolves once promises already settled have run what hangs on them, some way down. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
