import { type EpochMs, MILLISECOND, type Micros, SECOND } from '../../core/time.ts';
import type { Timers } from '../replica.ts';
import { AGREED_WITHIN, type ClockReading } from './shard-clock.ts';

/** Between two questions for the time. */
const ASK_EVERY: Micros = 5 * SECOND;

/** An answer that took longer says too little. */
const WITHIN: Micros = 200 * MILLISECOND;

/** What was learnt longer ago counts no more. */
const KEEP: Micros = 60 * SECOND;

/** What an agreed time is made of. */
export interface AgreedClockOptions {
  readonly reading: () => ClockReading;
  readonly serverTime: (() => Promise<EpochMs>) | undefined;
  readonly timers: Timers;
}

/**
 * The time that the registers' own clock and this machine's wall clock agree on (docs/design/coordination.md 2.4): off by the way of the
 * question and by drift, far less than {@link AGREED_WITHIN}, as long as the registers' clock is not set.
 */
export class AgreedClock {
  readonly #options: AgreedClockOptions;
  /** Server time less own monotonic time, and when that was learnt. */
  #known: { readonly offset: Micros; readonly mono: Micros } | undefined;
  #cancelTimer: () => void = () => {};
  #stopped = false;

  constructor(options: AgreedClockOptions) {
    this.#options = options;
  }

  /** Asks now, and from now on. */
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

  /** The same look at the clocks, with what they agree on. */
  with(reading: ClockReading): ClockReading {
    const known = this.#known;
    if (known === undefined || reading.mono - known.mono > KEEP) return reading;
    const agreed = Math.round(reading.mono + known.offset);
    return Math.abs(reading.wall - agreed) <= AGREED_WITHIN ? { ...reading, agreed } : reading;
  }

  /** A server that does not answer leaves what was known, for a while. */
  async #ask(serverTime: () => Promise<EpochMs>): Promise<void> {
    const asked = this.#options.reading().mono;
    const time = await serverTime().catch(() => undefined);
    const { mono } = this.#options.reading();
    if (time === undefined || mono - asked > WITHIN) return;
    this.#known = { offset: time * MILLISECOND - (asked + mono) / 2, mono };
  }
}
