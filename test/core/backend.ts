import type { GroupSpec } from '../../src/core/group.ts';
import { HOUR, MILLISECOND, type Micros, SECOND } from '../../src/core/time.ts';
import { Dice } from '../sim/dice.ts';
import { Driver } from './driver.ts';
import type { Handle } from './handle.ts';
import { START } from './specs.ts';

/** What a backend is like; functions are told microseconds since the start. */
export interface BackendOptions {
  /** Requests it works on at once; the rest stand in its own line, first in, first out. */
  readonly servers: (at: Micros) => number;
  /** Mean of the exponential time that one takes. */
  readonly each: (at: Micros) => Micros;
  /** How much slower everything is for each request beyond its servers, in parts of all servers. */
  readonly thrash?: number;
  /** It has no line: beyond so many it pushes back at once. */
  readonly room?: (at: Micros) => number;
  /** Requests per second by chance; undefined: there is always somebody who waits. */
  readonly arrivals?: number;
}

/** What a backend did in a stretch of time. */
export interface Stretch {
  /** Requests answered per second. */
  readonly rate: number;
  /** Mean and worst of 99 in 100 of the times at the backend, in seconds. */
  readonly mean: number;
  readonly p99: number;
  /** The limit: least, greatest, and what it was on average of time. */
  readonly least: number;
  readonly most: number;
  readonly average: number;
}

interface Job {
  readonly handle: Handle;
  readonly since: number;
  /** Infinity: it stands in line. */
  end: number;
  pushedBack: boolean;
}

/**
 * Requests that wait at a gate and work at a backend (M/M/c with the dice of a seed), by a virtual clock. The first of
 * `groups` is asked, and its permits come back when the backend is done.
 */
export class Backend {
  readonly driver: Driver;
  readonly #parts: BackendOptions;
  readonly #dice: Dice;
  #jobs: Job[] = [];
  #nextArrival: number;
  #done: number[] = [];
  #limits: { readonly at: number; readonly capacity: number }[] = [];

  constructor(groups: readonly GroupSpec[], parts: BackendOptions, seed = 1) {
    this.#parts = parts;
    this.#dice = new Dice(seed);
    this.driver = new Driver({ groups });
    this.driver.onAdmitted = (handle) => this.#begin(handle);
    this.#nextArrival = parts.arrivals === undefined ? Number.POSITIVE_INFINITY : START;
  }

  get limit(): number {
    return this.driver.gate.limits(this.driver.now, 0, '')[0]?.capacity ?? 0;
  }

  /** So many seconds pass; tells what happened in them. */
  run(seconds: number): Stretch {
    const until = this.driver.now + seconds * SECOND;
    this.#done = [];
    this.#limits = [{ at: this.driver.now, capacity: this.limit }];
    for (;;) {
      this.#fill();
      const next = Math.min(this.#nextArrival, this.driver.gate.wakeAt(this.driver.now), ...this.#jobs.map((job) => job.end));
      if (next > until) break;
      this.driver.runTo(next as Driver['now']);
      if (next === this.#nextArrival) this.#arrive();
      const over = this.#jobs.find((job) => job.end === next);
      if (over !== undefined) this.#end(over);
      if (this.limit !== this.#limits.at(-1)?.capacity) this.#limits.push({ at: this.driver.now, capacity: this.limit });
    }
    this.driver.runTo(until as Driver['now']);
    return this.#told(seconds, until);
  }

  #fill(): void {
    if (this.#parts.arrivals === undefined) while (this.driver.gate.status(this.driver.now, 0).waiting < 2) this.driver.ask({ lease: HOUR });
  }

  #arrive(): void {
    this.driver.ask({ lease: HOUR, ttl: 2 * SECOND });
    this.#nextArrival += Math.max(1, this.#dice.exponential(SECOND / (this.#parts.arrivals ?? 1)));
  }

  #begin(handle: Handle): void {
    const job: Job = { handle, since: this.driver.now, end: Number.POSITIVE_INFINITY, pushedBack: false };
    job.pushedBack = this.#jobs.filter((each) => !each.pushedBack).length >= (this.#parts.room?.(this.#at) ?? Number.POSITIVE_INFINITY);
    if (job.pushedBack) job.end = this.driver.now + MILLISECOND;
    this.#jobs.push(job);
    this.#serve();
  }

  /** Whoever is first in line is worked on, as long as a server is free. */
  #serve(): void {
    const servers = this.#parts.servers(this.#at);
    let free = servers - this.#jobs.filter((job) => Number.isFinite(job.end) && !job.pushedBack).length;
    const slower = 1 + ((this.#parts.thrash ?? 0) * Math.max(0, this.#jobs.length - servers)) / servers;
    for (const job of this.#jobs) {
      if (free <= 0) return;
      if (Number.isFinite(job.end)) continue;
      job.end = this.driver.now + Math.max(1, this.#dice.exponential(this.#parts.each(this.#at) * slower));
      free -= 1;
    }
  }

  #end(job: Job): void {
    this.#jobs = this.#jobs.filter((each) => each !== job);
    if (!job.pushedBack) this.#done.push((this.driver.now - job.since) / SECOND);
    this.#serve();
    this.driver.release(job.handle, job.pushedBack ? 'dropped' : 'used');
  }

  get #at(): Micros {
    return this.driver.now - START;
  }

  #told(seconds: number, until: number): Stretch {
    const times = [...this.#done].sort((a, b) => a - b);
    const capacities = this.#limits.map(({ capacity }) => capacity);
    let area = 0;
    for (const [index, { at, capacity }] of this.#limits.entries()) area += capacity * ((this.#limits[index + 1]?.at ?? until) - at);
    return {
      rate: times.length / seconds,
      mean: times.reduce((sum, time) => sum + time, 0) / Math.max(1, times.length),
      p99: times[Math.floor(times.length * 0.99)] ?? 0,
      least: Math.min(...capacities),
      most: Math.max(...capacities),
      average: area / (seconds * SECOND),
    };
  }
}
