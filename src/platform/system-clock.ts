import { readFileSync } from 'node:fs';
import type { Clock } from '../admission/clock.ts';
import { type ClockReading, type ClockRecord, ShardClock } from '../coordination/clocks/shard-clock.ts';
import { type EpochMs, type Instant, MILLISECOND, type Micros, NEVER } from '../core/time.ts';
import { type TimerEntry, TimerHeap } from './timer-heap.ts';

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
}

/** `Clock` with what a coordinator needs beside it. */
export interface SystemClock extends Clock {
  /** Shard time with the machine's clocks at the same moment, for a register. */
  record(): ClockRecord;
  /** Cancels all timers. */
  stop(): void;
}

/** A timer sleeps until this long before the moment, then the event loop spins: setTimeout fires up to 1.9 ms early, and up to a millisecond late. */
const SPIN: Micros = 1_500;

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

/** The clock of a running server. One Node timer serves all entries; `wake` is never called early. */
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

  constructor(options: SystemClockOptions) {
    this.#sources = options.sources;
    this.#unref = options.unref ?? false;
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
  }

  #arm(): void {
    this.#disarm();
    const first = this.#timers.first;
    if (first === undefined) return;
    this.#armedFor = first.when;
    const sleepMs = Math.floor((first.when - this.now() - SPIN) / MILLISECOND);
    if (sleepMs >= 1) {
      this.#timer = setTimeout(this.#ring, Math.min(sleepMs, SLEEP_MS_MAX));
      if (this.#unref) this.#timer.unref();
    } else {
      this.#spin = setImmediate(this.#ring);
      if (this.#unref) this.#spin.unref();
    }
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
    this.#waking = true;
    try {
      // Only entries added before: one for "now" made by a wake must let the event loop turn.
      const made = this.#timers.made;
      for (let wake = this.#timers.due(now, made); wake !== undefined; wake = this.#timers.due(now, made)) wake();
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
