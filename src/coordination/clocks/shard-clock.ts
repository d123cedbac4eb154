import { type EpochMs, type Instant, later, MILLISECOND, type Micros, plus, SECOND } from '../../core/time.ts';

/** One look at the machine's clocks. */
export interface ClockReading {
  /** CLOCK_MONOTONIC in whole microseconds; starts anew with every boot. */
  readonly mono: Micros;
  /** The wall clock in microseconds since 1970; people and NTP move it. */
  readonly wall: Micros;
  /** Names this boot of the machine; '' where the system tells none, which counts as another boot every time. */
  readonly boot: string;
  /** The registers' own time in microseconds since 1970, where the wall clock says the same within {@link AGREED_WITHIN}; undefined: not known, or they disagree. */
  readonly agreed?: Micros | undefined;
}

/** Two clocks that differ by no more than this agree (docs/design/coordination.md 2.4); what is `agreed` is off by this much at most. */
export const AGREED_WITHIN: Micros = 250 * MILLISECOND;

/** A reading together with the shard time that belonged to it: what a register keeps, so that the next process goes on from there. */
export interface ClockRecord extends ClockReading {
  readonly at: Instant;
}

/** Shard time leaves the monotonic clock by at most this many parts in a million to come back to the wall clock. */
export const SLEW_PPM_MAX = 200;

/** How often the distance to the wall clock is looked at. */
const ADJUST_EVERY: Micros = SECOND;

/** Nearer than this the clocks count as equal: the wall clock is read in whole milliseconds. */
const DEADBAND: Micros = 5 * MILLISECOND;

/** A distance is to be gone in about this many adjustments. */
const SLEW_OVER = 10;

/**
 * Shard time (docs/design/coordination.md 2.5): the wall clock when it first starts, from then on moved by the monotonic clock only,
 * drifting back to the wall clock by at most {@link SLEW_PPM_MAX}. A state machine that is handed readings.
 *
 * It is one line through all restarts, so stored instants need no translation: on the same boot it goes on by the
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

  /** Is it time to hand in a whole reading with `adjust`? */
  wantsReading(mono: Micros): boolean {
    return mono - this.#baseMono >= ADJUST_EVERY;
  }

  /** Shard time at this moment of the monotonic clock; never goes back. */
  at(mono: Micros): Instant {
    const elapsed = mono - this.#baseMono;
    const at = plus(this.#baseAt, elapsed + Math.floor((elapsed * this.#ppm) / 1e6));
    if (at > this.#last) this.#last = at;
    return this.#last;
  }

  /** Looks at the wall clock: the speed until the next reading brings shard time nearer to it. */
  adjust(reading: ClockReading): void {
    this.#baseAt = this.at(reading.mono);
    this.#baseMono = reading.mono;
    this.#adjust(reading);
  }

  /** The wall clock's milliseconds for an instant, as far as it is known now. */
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
