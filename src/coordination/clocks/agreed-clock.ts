import { type EpochMs, MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import type { Timers } from '../replica.ts';
import { AGREED_WITHIN, type ClockReading } from './shard-clock.ts';

/** Interval of requests for the server time. */
const ASK_EVERY: Micros = 5 * SECOND;

/** A response that took longer is too inexact, and ignored. */
const WITHIN: Micros = 200 * MILLISECOND;

/** A response older than this is not used any more. */
const KEEP: Micros = 60 * SECOND;

/** Options of {@link AgreedClock}. */
export interface AgreedClockOptions {
  readonly reading: () => ClockReading;
  readonly serverTime: (() => Promise<EpochMs>) | undefined;
  readonly timers: Timers;
}

/**
 * The time that the registers' own clock and this machine's wall clock agree on (docs/design/coordination.md 2.4): off by the way of the
 * request and by drift, far less than {@link AGREED_WITHIN}, as long as the registers' clock is not set.
 */
export class AgreedClock {
  readonly #options: AgreedClockOptions;
  /** Server time minus own monotonic time, and when that was measured. */
  #known: { readonly offset: Micros; readonly mono: Micros } | undefined;
  #cancelTimer: () => void = () => {};
  #stopped = false;

  constructor(options: AgreedClockOptions) {
    this.#options = options;
  }

  /** Requests the time now, and every 5 s until `stop`. */
  start(): void {
    const { serverTime, timers } = this.#options;
    if (serverTime === undefined || this.#stopped) return;
    this.#cancelTimer = timers.after(ASK_EVERY, () => this.start());
    void this.#ask(serverTime);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
  }

  /** Returns the same reading, with the agreed time if there is one. */
  with(reading: ClockReading): ClockReading {
    const known = this.#known;
    if (known === undefined || reading.mono - known.mono > KEEP) return reading;
    const agreed = Math.round(reading.mono + known.offset);
    return Math.abs(reading.wall - agreed) <= AGREED_WITHIN ? { ...reading, agreed } : reading;
  }

  /** Requests the time once. Without a response, what is known stays in use for 60 s. */
  async #ask(serverTime: () => Promise<EpochMs>): Promise<void> {
    const asked = this.#options.reading().mono;
    const time = await serverTime().catch(() => undefined);
    const { mono } = this.#options.reading();
    if (time === undefined || mono - asked > WITHIN) return;
    this.#known = { offset: time * MILLISECOND - (asked + mono) / 2, mono };
  }
}
