import { type EpochMs, type Instant, later, MILLISECOND, type Micros, plus, SECOND } from '../../core/time.ts';

/** The machine's clocks at one moment. */
export interface ClockReading {
  /** CLOCK_MONOTONIC in whole microseconds; starts anew with every boot. */
  readonly mono: Micros;
  /** The wall clock in microseconds since 1970; people and NTP move it. */
  readonly wall: Micros;
  /** Names this boot of the machine; '' if the system has no boot id, which counts as another boot every time. */
  readonly boot: string;
  /** The registers' own time in microseconds since 1970, if the wall clock agrees within {@link AGREED_WITHIN}; undefined if it is not known, or they disagree. */
  readonly agreed?: Micros | undefined;
}

/** Two clocks that differ by no more than this agree (docs/design/coordination.md 2.4); what is `agreed` is off by this much at most. */
export const AGREED_WITHIN: Micros = 250 * MILLISECOND;

/** A reading together with the shard time that belonged to it: what a register keeps, so that the next process continues from there. */
export interface ClockRecord extends ClockReading {
  readonly at: Instant;
}

/** Shard time leaves the monotonic clock by at most this many parts in a million to come back to the wall clock. */
export const SLEW_PPM_MAX = 200;

/** Interval at which the distance to the wall clock is measured. */
const ADJUST_EVERY: Micros = SECOND;

/** Nearer than this the clocks count as equal: the wall clock is read in whole milliseconds. */
const DEADBAND: Micros = 5 * MILLISECOND;

/** A distance is corrected in about this many adjustments. */
const SLEW_OVER = 10;

/**
 * Shard time (docs/design/coordination.md 2.5): the wall clock when it first starts, from then on moved by the monotonic clock only,
 * drifting back to the wall clock by at most {@link SLEW_PPM_MAX}. A state machine that receives readings.
 *
 * It is one line through all restarts, so stored instants need no translation: on the same boot it continues by the
 * monotonic difference; after another boot it is the wall clock, but never before the last instant on record.
 */
export class ShardClock {
  #baseAt: Instant;
  #baseMono: Micros;
  #ppm = 0;
  #offset: Micros = 0;
  #last: Instant;

  constructor(reading: ClockReading, record: ClockRecord | undefined) {
    this.#baseAt = startOf(reading, record);
    this.#baseMono = reading.mono;
    this.#last = this.#baseAt;
    this.#adjust(reading);
  }

  /** Returns true if `adjust` is due. */
  wantsReading(mono: Micros): boolean {
    return mono - this.#baseMono >= ADJUST_EVERY;
  }

  /** Returns shard time at this moment of the monotonic clock; it never goes back. */
  at(mono: Micros): Instant {
    const elapsed = mono - this.#baseMono;
    const at = plus(this.#baseAt, elapsed + Math.floor((elapsed * this.#ppm) / 1e6));
    if (at > this.#last) this.#last = at;
    return this.#last;
  }

  /** Sets the speed until the next reading, so that shard time comes nearer to the wall clock. */
  adjust(reading: ClockReading): void {
    this.#baseAt = this.at(reading.mono);
    this.#baseMono = reading.mono;
    this.#adjust(reading);
  }

  /** Returns the wall clock's milliseconds for an instant, by the last reading. */
  epoch(at: Instant): EpochMs {
    return Math.floor((at + this.#offset) / MILLISECOND) as EpochMs;
  }

  #adjust(reading: ClockReading): void {
    const behind = reading.wall - this.#baseAt;
    const near = Math.abs(behind) < DEADBAND;
    this.#offset = near ? 0 : behind;
    const wanted = near ? 0 : ((behind / ADJUST_EVERY) * 1e6) / SLEW_OVER;
    this.#ppm = Math.max(-SLEW_PPM_MAX, Math.min(SLEW_PPM_MAX, wanted));
  }
}

function startOf(reading: ClockReading, record: ClockRecord | undefined): Instant {
  const wall = Math.floor(reading.wall) as Instant;
  if (record === undefined) return wall;
  const sameBoot = reading.boot !== '' && reading.boot === record.boot && reading.mono >= record.mono;
  if (sameBoot) return plus(record.at, reading.mono - record.mono);
  return later(wall, record.at);
}
