import { readFileSync } from 'node:fs';
import type { Clock } from '../admission/clock.ts';
import { type ClockReading, type ClockRecord, ShardClock } from '../coordination/clocks/shard-clock.ts';
import { type EpochMs, type Instant, MILLISECOND, type Micros, NEVER, plus } from '../core/time.ts';
import { type TimerEntry, TimerHeap } from './timer-heap.ts';
import type { Waker, WakeThreadOptions } from './wake-thread.ts';

/** The machine's clocks, passed in because only main uses `process`. */
export interface ClockSources {
  /** CLOCK_MONOTONIC in nanoseconds: `process.hrtime.bigint`. */
  readonly monotonic: () => bigint;
  /** The wall clock in milliseconds since 1970: `Date.now`. */
  readonly wall: () => number;
  /** Names this boot; '' where it is unknown. */
  readonly boot: string;
}

/** What a system clock starts from. */
export interface SystemClockOptions {
  readonly sources: ClockSources;
  /** Where the process before left shard time; undefined: a first start. */
  readonly record: ClockRecord | undefined;
  /** true: an armed timer alone does not keep the process alive. */
  readonly unref?: boolean;
  /** Opens what wakes the event loop exactly; asked once, when it is first of use. Without it, or once it is lost, the loop spins before each moment. */
  readonly openWaker?: (called: Pick<WakeThreadOptions, 'wake' | 'lost'>) => Waker;
}

/** `Clock` with what a coordinator needs beside it. */
export interface SystemClock extends Clock {
  /** Shard time with the machine's clocks at the same moment, for a register. */
  record(): ClockRecord;
  /** Cancels all timers. */
  stop(): void;
}

/** setTimeout fires up to 1.9 ms early, and up to a millisecond late. Where nothing better is at hand it ends this long before the moment, and the event loop spins. */
const SPIN: Micros = 1_500;

/** A moment that is further away is waited for by setTimeout until this long before it, so that the many timers that are cancelled early cost the thread nothing. */
const NEAR: Micros = 20 * MILLISECOND;

/** A moment is looked at by a timer, too, so much after it, should the thread not have woken the loop by then. */
const BEHIND_MS = 2;

/** The thread wakes the loop at most once in this time for each armed timer, up to the second: with thousands of them the moments are called in groups. */
const WAKE_EVERY: Micros = 10;
const WAKE_EVERY_MAX: Micros = 250;

/** A turn of the event loop calls wakes for about this long; what else is due comes in the next turn. */
const TURN_MAX: Micros = 2 * MILLISECOND;

/** setTimeout turns a longer delay into 1 ms. */
const SLEEP_MS_MAX = 2 ** 31 - 1;

/**
 * This boot's name from the kernel, '' where there is none (not Linux). A container sees its host's, which is right: they
 * share the monotonic clock.
 */
export function bootId(path = '/proc/sys/kernel/random/boot_id'): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

/**
 * The clock of a running server; `wake` is never called early. One timer serves all entries: setTimeout far from a moment, the
 * waker near it, and what the waker leaves, some 20 us, is spun.
 */
export function createSystemClock(options: SystemClockOptions): SystemClock {
  return new TimerClock(options);
}

class TimerClock implements SystemClock {
  readonly #sources: ClockSources;
  readonly #shard: ShardClock;
  readonly #unref: boolean;
  readonly #timers = new TimerHeap();
  #timer: NodeJS.Timeout | undefined;
  #spin: NodeJS.Immediate | undefined;
  /** What the timer or the spin is set for. */
  #armedFor: Instant = NEVER;
  #waking = false;
  /** undefined: not yet opened, or lost. */
  #waker: Waker | undefined;
  #openWaker: SystemClockOptions['openWaker'];
  /** When the waker may wake the loop again. */
  #wakeFrom: Instant = 0 as Instant;

  constructor(options: SystemClockOptions) {
    this.#sources = options.sources;
    this.#unref = options.unref ?? false;
    this.#openWaker = options.openWaker;
    this.#shard = new ShardClock(this.#reading(), options.record);
  }

  now(): Instant {
    const mono = this.#mono();
    if (this.#shard.wantsReading(mono)) this.#shard.adjust(this.#reading());
    return this.#shard.at(mono);
  }

  epoch(at: Instant): EpochMs {
    return this.#shard.epoch(at);
  }

  record(): ClockRecord {
    const reading = this.#reading();
    return { ...reading, at: this.#shard.at(reading.mono) };
  }

  at(when: Instant, wake: () => void): () => void {
    if (when === NEVER) return nothing;
    const entry: TimerEntry = this.#timers.add(when, wake);
    if (!this.#waking && when < this.#armedFor) this.#arm();
    return () => this.#timers.cancel(entry);
  }

  stop(): void {
    for (let first = this.#timers.first; first !== undefined; first = this.#timers.first) this.#timers.cancel(first);
    this.#disarm();
    this.#openWaker = undefined;
    this.#waker?.stop();
    this.#waker = undefined;
  }

  #arm(): void {
    this.#disarm();
    const first = this.#timers.first;
    if (first === undefined) return;
    this.#armedFor = first.when;
    const now = this.now();
    const left = first.when - now;
    if (this.#openWaker === undefined && this.#waker === undefined) this.#sleep(left - SPIN);
    else if (left > 2 * NEAR) this.#sleep(left - NEAR);
    else if (left <= 0) this.#sleep(0);
    else this.#wakeIn(Math.max(left, this.#wakeFrom - now), left);
  }

  /** Wakes the loop in `left`, or in `again` at the latest where that is not yet possible. */
  #wakeIn(left: Micros, again: Micros): void {
    if (this.#waker === undefined) this.#open();
    const lead = this.#waker?.lead ?? 0;
    if (left <= lead) return this.#sleep(0);
    if (this.#waker?.wakeAfter(left - lead) !== true) return this.#sleep(again - SPIN);
    // Should the thread be late: it competes for a processor as any other does.
    this.#timeout(Math.ceil(left / MILLISECOND) + BEHIND_MS);
  }

  #open(): void {
    const open = this.#openWaker;
    this.#openWaker = undefined;
    this.#waker = open?.({
      wake: this.#ring,
      lost: () => {
        this.#waker = undefined;
        this.#arm();
      },
    });
  }

  /** Looks again after `time`, or up to 1.9 ms before; at the next turn of the loop where that is less than a millisecond. */
  #sleep(time: Micros): void {
    const sleepMs = Math.floor(time / MILLISECOND);
    if (sleepMs >= 1) this.#timeout(Math.min(sleepMs, SLEEP_MS_MAX));
    else {
      this.#spin = setImmediate(this.#ring);
      if (this.#unref) this.#spin.unref();
    }
  }

  #timeout(ms: number): void {
    this.#timer = setTimeout(this.#ring, ms);
    if (this.#unref) this.#timer.unref();
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#spin);
    this.#timer = undefined;
    this.#spin = undefined;
    this.#armedFor = NEVER;
  }

  readonly #ring = (): void => {
    const now = this.now();
    const end = plus(now, TURN_MAX);
    if ((this.#timers.first?.when ?? NEVER) <= now) this.#wakeFrom = plus(now, Math.min(WAKE_EVERY_MAX, this.#timers.size * WAKE_EVERY));
    this.#waking = true;
    try {
      // Only entries added before: one for "now" made by a wake must let the event loop turn.
      const made = this.#timers.made;
      for (let wake = this.#timers.due(now, made); wake !== undefined; wake = this.now() < end ? this.#timers.due(now, made) : undefined) wake();
    } finally {
      this.#waking = false;
      this.#arm();
    }
  };

  #mono(): Micros {
    return Number(this.#sources.monotonic() / 1_000n);
  }

  #reading(): ClockReading {
    return { mono: this.#mono(), wall: Math.floor(this.#sources.wall()) * MILLISECOND, boot: this.#sources.boot };
  }
}

function nothing(): void {}
